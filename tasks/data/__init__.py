"""Data sets by name: arrays that install with the dependencies, loaded once a process."""

from tasks.data.registry import SOURCES, Source, is_here, load

__all__ = ["SOURCES", "Source", "is_here", "load"]
