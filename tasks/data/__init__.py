"""Data sets by name, loaded once per process; only those of `downloads` have to be downloaded."""

from tasks.data.registry import SOURCES, Source, is_here, load

__all__ = ["SOURCES", "Source", "is_here", "load"]
