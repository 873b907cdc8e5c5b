"""Packages beyond the core, imported when they are first needed."""

import importlib
import io
from collections.abc import Callable
from types import ModuleType
from typing import Any


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """The module, imported.

    Raises:
        ModuleNotFoundError: it isn't installed; the message says what needs it and which extra installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # installed, but something that it needs is not
        raise ModuleNotFoundError(f"{purpose} needs {package}: pip install 'velo[{extra}]'", name=module) from None


def png(plot: Callable[[], Any]) -> bytes | None:
    """The picture of `plot` for a notebook to show; None without matplotlib."""
    try:
        figure = plot()
    except ModuleNotFoundError:
        return None
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return buffer.getvalue()
