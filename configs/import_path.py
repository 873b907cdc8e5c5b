"""The import path of a command: finds the user's modules, and keeps them from hiding a package of ours.

A command finds modules in the folder where it is typed. That folder is put last on the path, after our packages were
imported, so a folder that holds `tasks/` or `evaluation.py` does no harm. (`python -m` puts the folder first, and an
editable installation comes after every folder of the path.)
"""

import importlib
import importlib.util
import sys
from pathlib import Path

PACKAGES = ("configs", "evaluation", "meta_train", "tasks", "velo")
HOME = Path(__file__).resolve().parents[1]
"""The folder that holds our packages."""


class ShadowedError(Exception):
    """A module of somebody else has the name of one of our packages; the message is one line."""


def leave_working_folder() -> None:
    """Takes the working folder off the path, unless it holds our packages, and locates them. Imports nothing.

    Raises:
        ShadowedError: something on PYTHONPATH, or a module that was imported before, hides one of our packages.
    """
    here = Path.cwd().resolve()
    if here != HOME:
        sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None:  # a partial installation
            continue
        found = Path(spec.origin) if spec.origin else Path(next(iter(spec.submodule_search_locations or ()), name))
        if found.resolve() not in (HOME / name / "__init__.py", HOME / name):
            raise ShadowedError(
                f"{found} hides the package {name} of this installation, {HOME / name}: rename it, or take its folder "
                "off PYTHONPATH"
            )


def append_working_folder() -> None:
    """Imports our packages, and JAX with them, then puts the working folder at the end of the path."""
    for name in PACKAGES:
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
    here = str(Path.cwd().resolve())
    if here not in sys.path:
        sys.path.append(here)
