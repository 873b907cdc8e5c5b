"""All studies by name."""

from evaluation.studies.crowded_valley import CrowdedValley
from evaluation.studies.dog import DoG
from evaluation.studies.second_order_width import SecondOrderWidth
from evaluation.studies.study import Study
from evaluation.studies.surge import Surge
from evaluation.studies.workloads import Workloads

STUDIES: dict[str, type[Study]] = {
    study.name: study for study in (CrowdedValley, DoG, SecondOrderWidth, Surge, Workloads)
}
"""Studies by name, in the order in which they are listed."""
