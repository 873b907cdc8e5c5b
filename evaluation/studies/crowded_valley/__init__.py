"""The study of Descending through a Crowded Valley (2007.01547): its problems, optimizers, procedure and page."""

from evaluation.studies.crowded_valley.study import CrowdedValley

__all__ = ["CrowdedValley"]
