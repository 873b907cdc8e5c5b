"""All studies by name."""

from evaluation.studies.study import Study

STUDIES: dict[str, type[Study]] = {study.name: study for study in ()}
"""In the order in which they are listed."""
