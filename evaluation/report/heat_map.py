"""Heat maps: a matrix as coloured cells with their numbers, with named rows and columns."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import TwoSlopeNorm

from evaluation.report.drawing import STYLE, Drawing, panel, style_axes
from velo.shapes import Float

INCHES = (5.6, 5.0)
COLUMNS = ("row", "column", "value")
DARK = 0.6
"""Share of `limit` above which a cell's number is white, since its colour is dark."""


def heat_map(
    name: str,
    title: str,
    x_label: str,
    y_label: str,
    columns: Sequence[str],
    rows: Sequence[str],
    values: Float[np.ndarray, "rows columns"],
    *,
    limit: float,
) -> Drawing:
    """Cells from red (negative) over white (zero) to blue (positive).

    Args:
        name: name of the figure's files.
        values: an infinite cell has the colour of its sign, a nan cell has none.
        limit: the magnitude from which colours no longer change, positive.

    Raises:
        ValueError: the limit isn't positive, or the numbers of names don't fit the matrix.
    """
    if limit <= 0:
        raise ValueError(f"heat_map: limit must be positive, got {limit}")
    if values.shape != (len(rows), len(columns)):
        raise ValueError(f"heat_map: values must have shape {(len(rows), len(columns))}, got {values.shape}")
    with matplotlib.rc_context(STYLE):
        figure, axes = panel(x_label, y_label, INCHES)
        style_axes(axes)
        axes.grid(False)
        clipped = np.clip(values, -limit, limit)
        axes.imshow(clipped, cmap="RdBu", norm=TwoSlopeNorm(0.0, -limit, limit), aspect="auto")
        axes.set_xticks(range(len(columns)), columns, rotation=90)
        axes.set_yticks(range(len(rows)), rows)
        for row, column in np.ndindex(*values.shape):
            value = float(values[row, column])
            color = "white" if abs(clipped[row, column]) > DARK * limit else "black"
            axes.text(column, row, _words(value), ha="center", va="center", fontsize=8, color=color)
    cells = [
        (rows[row], columns[column], float(values[row, column])) for row, column in np.ndindex(*values.shape)
    ]  # fmt: skip
    return Drawing(name, title, figure, COLUMNS, cells)


def _words(value: float) -> str:
    """A cell's number with at most one decimal, and none from 10 on; empty for nan."""
    if np.isnan(value):
        return ""
    if not np.isfinite(value):
        return "∞" if value > 0 else "-∞"
    rounded = round(value, 0 if abs(value) >= 10 else 1) + 0.0  # + 0.0 makes a negative zero positive
    return f"{rounded:.0f}" if rounded == round(rounded) else f"{rounded:.1f}"
