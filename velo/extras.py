"""Packages beyond the core, imported when they are first needed."""

import importlib
from types import ModuleType


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """The module, imported.

    Raises:
        ModuleNotFoundError: it isn't installed; says for what it is needed and which extra brings it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # installed, but something that it needs is not
        raise ModuleNotFoundError(f"{purpose} needs {package}: pip install 'velo[{extra}]'", name=module) from None
