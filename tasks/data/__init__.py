"""Data sets by name: arrays that install with the dependencies, loaded once a process."""

from tasks.data.registry import DATASETS, load

__all__ = ["DATASETS", "load"]
