"""Checks on import that the packages that velo computes with are recent enough, and says in one line what to
install.
"""

import importlib.metadata
import re
from collections.abc import Callable, Iterable

REQUIREMENT = re.compile(r"^([\w-]+)>=([\d.]+)$")


def check(requirements: Iterable[str], version: Callable[[str], str]) -> None:
    """Raises an ImportError that says what to install if a requirement such as `jax>=0.6` isn't met."""
    for requirement in requirements:
        if match := REQUIREMENT.match(requirement):
            name, lowest = match.groups()
            found = version(name)
            if _numbers(found) < _numbers(lowest):
                raise ImportError(f"velo needs {name} {lowest} or newer, found {found}: pip install -U '{requirement}'")


def _numbers(version: str) -> tuple[int, ...]:
    """The release: 0.10.2rc1 and 0.10.2.dev3 count as 0.10.2."""
    match = re.match(r"[\d.]*\d", version)
    return tuple(map(int, match.group().split("."))) if match else ()


check(importlib.metadata.requires("velo") or (), importlib.metadata.version)
