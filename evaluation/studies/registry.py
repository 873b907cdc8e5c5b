"""All studies by name."""

from evaluation.studies.second_order_width import SecondOrderWidth
from evaluation.studies.study import Study

STUDIES: dict[str, type[Study]] = {study.name: study for study in (SecondOrderWidth,)}
"""In the order in which they are listed."""
