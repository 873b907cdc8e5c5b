"""Data sets by name: arrays that install with the dependencies, loaded once a process."""

from tasks.data.registry import SOURCES, Source, load

__all__ = ["SOURCES", "Source", "load"]
