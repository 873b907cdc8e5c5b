"""Figures with their data (SVG for the page, PNG and CSV as files), and the style that all figures share."""

import base64
import contextlib
import csv
import dataclasses
import hashlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from evaluation.curves import Results
from velo.atomic_file import write_atomically

LEARNED_COLORS = ("#d55e00", "#e69f00", "#cc79a7", "#8c510a")
BASELINE_COLORS = ("#0072b2", "#009e73", "#56b4e9", "#7f7f7f", "#6a3d9a", "#b2182b", "#b8860b", "#1b7837")
REFERENCE_COLOR = "#1a1a1a"
DASHES = ("6 2", "2 2", "6 2 2 2", "8 3", "3 1")
PANEL_INCHES = (4.0, 2.75)  # a panel is 300-400 px wide on a page, so 9 pt are about 11 px
MAX_POINTS = 150
"""Maximum number of points of a line."""
MAX_LABEL = 32
"""Maximum number of characters of a name in a figure."""
MAX_FILE_NAME = 150
PNG_DOTS_PER_INCH = 200
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "velo",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": "#9aa0a6",
    "axes.labelcolor": "#3c4043",
    "xtick.color": "#9aa0a6",
    "ytick.color": "#9aa0a6",
    "xtick.labelcolor": "#3c4043",
    "ytick.labelcolor": "#3c4043",
}


@dataclasses.dataclass(frozen=True)
class Stroke:
    """The line style of an optimizer, the same in every figure and in the legend."""

    color: str
    dashes: str
    """SVG `stroke-dasharray`; empty for a solid line."""
    width: float

    @property
    def line(self) -> dict:
        """Keyword arguments of matplotlib's `plot`."""
        pattern = [float(part) for part in self.dashes.split()]
        return {
            "color": self.color,
            "linewidth": self.width,
            "linestyle": (0, tuple(length / self.width for length in pattern)) if pattern else "solid",
        }


def strokes(results: Results) -> dict[str, Stroke]:
    """The line style of each optimizer.

    Learned optimizers have warm colours and thick lines, the reference is black, other baselines are cool and dashed.
    """
    result = {}
    num_baselines = 0
    for name in results.optimizers:
        if name in results.learned:
            color = LEARNED_COLORS[results.learned.index(name) % len(LEARNED_COLORS)]
            result[name] = Stroke(color, "", 2.0)
        elif name == results.reference:
            result[name] = Stroke(REFERENCE_COLOR, "", 1.3)
        else:
            color = BASELINE_COLORS[num_baselines % len(BASELINE_COLORS)]
            result[name] = Stroke(color, DASHES[num_baselines % len(DASHES)], 1.4)
            num_baselines += 1
    return result


@dataclasses.dataclass(frozen=True, eq=False)
class Drawing:
    """A figure and the numbers that it shows."""

    name: str
    """Name of the figure's files, without a suffix."""
    title: str
    figure: Figure
    columns: tuple[str, ...]
    rows: list[tuple]

    @property
    def file_name(self) -> str:
        """`name` as a file name without a suffix; with a digest appended if characters had to be replaced or cut."""
        kept = re.sub(r"[^A-Za-z0-9_.-]+", "_", self.name)[:MAX_FILE_NAME]
        return kept if kept == self.name else f"{kept}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"

    @property
    def csv(self) -> str:
        """The data as the text of a CSV file."""
        return table_csv(self.columns, self.rows)

    @property
    def svg(self) -> str:
        """The figure as an `<svg>` element that scales with its container and has a label for screen readers."""
        buffer = io.StringIO()
        with _drawing({"svg.hashsalt": self.name}):  # ids must differ between the figures of a page
            self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        text = re.sub(r' (xmlns:xlink|xmlns)="[^"]*"', "", text)
        text = re.sub(r'\bwidth="[^"]*pt" ', "", re.sub(r'\bheight="[^"]*pt" ', "", text, count=1), count=1)
        title = self.title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
        return text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1).replace("xlink:href", "href")

    def save(self, folder: Path) -> None:
        """Writes NAME.png and NAME.csv into an existing folder, each atomically."""
        picture = io.BytesIO()
        with _drawing({"font.sans-serif": ["DejaVu Sans"]}):
            self.figure.savefig(
                picture, format="png", dpi=PNG_DOTS_PER_INCH, facecolor="white", metadata={"Software": None}
            )
        write_atomically(folder / f"{self.file_name}.png", picture.getvalue())
        write_atomically(folder / f"{self.file_name}.csv", self.csv)


@contextlib.contextmanager
def _drawing(style: dict) -> Iterator[None]:
    """Sets the report's style for `savefig`. Characters that the fonts lack become boxes, without a warning."""
    with matplotlib.rc_context({**STYLE, **style}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


def label(name: str) -> str:
    """A name as text in a figure: shortened, not parsed as a formula, and never hidden from a legend."""
    text = name if len(name) <= MAX_LABEL else name[: MAX_LABEL - 1] + "…"
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def table_csv(columns: Sequence[str], rows: Sequence[Sequence]) -> str:
    """The text of a CSV file; floats have six significant digits."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([f"{cell:.6g}" if isinstance(cell, float | np.floating) else cell for cell in row])
    return buffer.getvalue()


def data_address(text: str, kind: str = "text/csv") -> str:
    """The text as a `data:` URL, which a browser can save without a server."""
    return f"data:{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def panel(x_label: str, y_label: str, inches: tuple[float, float] = PANEL_INCHES) -> tuple[Figure, Axes]:
    """A figure with one pair of axes in the report's style."""
    figure = Figure(figsize=inches, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    style_axes(axes)
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    return figure, axes


def style_axes(axes: Axes) -> None:
    """Applies the report's style: a light grid, no frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e8eaed", linewidth=0.8)
    axes.set_axisbelow(True)


def subsample(num_points: int) -> np.ndarray:
    """At most `MAX_POINTS` evenly spaced indices, including the first and the last."""
    return np.unique(np.round(np.linspace(0, num_points - 1, MAX_POINTS)).astype(int))


def set_loss_limits(axes: Axes, lowest: list[float], highest: list[float]) -> None:
    """Sets limits from the best loss to a little above the starting loss; logarithmic if all losses are positive."""
    low, high = (min(lowest), max(highest)) if lowest else (0.0, 1.0)
    if not np.isfinite(high) or high <= low:
        high = low + max(abs(low), 1e-12)
    if low > 0:
        axes.set_yscale("log")
        axes.set_ylim(low * (low / high) ** 0.06, high * (high / low) ** 0.08)
        if high / low < 30:  # powers of ten alone would give one label or none
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high / low > 5 else MaxNLocator(5))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
