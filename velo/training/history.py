"""The history of a run: losses, metrics and evaluations by step, as a table and as a picture."""

import json
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from velo.extras import png, require

MIN_STALLED = 100
"""Minimum number of steps to judge whether a run has stalled."""
MAX_POINTS = 500
"""Points of a drawn curve; longer runs are averaged over neighbours."""


class History:
    """What a run recorded; `losses[k]` is the training loss before update k + 1, on its own batch."""

    def __init__(self, num_steps: int):
        self.num_steps = num_steps
        self.losses: list[float] = []
        self.step_sizes: list[float] = []
        """Root mean square of each update, over all parameters."""
        self.distances: list[float] = []
        """VeLO's estimate of the distance to the solution after each update; empty for other optimizers."""
        self.metrics: dict[str, list[float]] = {}
        self.evaluations: list[dict[str, Any]] = []
        """Each with its `step`: the number of updates done."""

    def __len__(self) -> int:
        return len(self.losses)

    def __repr__(self) -> str:
        if not self.losses:
            return f"History: 0 of {self.num_steps} steps"
        last = "".join(f", {name} {value:.4g}" for name, value in self.last_evaluation.items() if name != "step")
        return (
            f"History: {len(self)} of {self.num_steps} steps, loss {self.losses[0]:.4g} -> {self.last_loss:.4g}{last}"
        )

    @property
    def last_loss(self) -> float:
        """Mean over the last twentieth of the steps, since single batches are noisy."""
        return float(np.mean(self.losses[-max(1, len(self.losses) // 20) :]))

    @property
    def has_stalled(self) -> bool:
        """Whether the last tenth of the steps has no lower mean loss than the first tenth; False below 100 steps."""
        tenth = len(self) // 10
        return len(self) >= MIN_STALLED and bool(np.mean(self.losses[-tenth:]) >= np.mean(self.losses[:tenth]))

    @property
    def last_evaluation(self) -> Mapping[str, Any]:
        """The latest evaluation with its `step`; empty before the first."""
        return self.evaluations[-1] if self.evaluations else {}

    def append(self, loss: float, metrics: Mapping[str, float], step_size: float, distance: float | None) -> None:
        """Adds one step: its loss, its metrics by name, its step size, and the distance estimate if there is one."""
        self.losses.append(loss)
        self.step_sizes.append(step_size)
        if distance is not None:
            self.distances.append(distance)
        for name, value in metrics.items():
            self.metrics.setdefault(name, []).append(value)

    def table(self) -> dict[str, np.ndarray]:
        """Columns of equal length, one row per step: `pandas.DataFrame(history.table())`.

        `step` counts from 1; `step_size` is the root mean square of the update, `distance` VeLO's estimate; an
        evaluation's columns, `evaluation/NAME`, are NaN at steps without one.
        """
        columns = {"step": np.arange(1, len(self) + 1), "loss": np.array(self.losses)}
        columns |= {"step_size": np.array(self.step_sizes)} | self._metric_columns()
        if self.distances:
            columns["distance"] = np.array(self.distances)
        for entry in self.evaluations:
            for name, value in entry.items():
                if name != "step":
                    column = columns.setdefault(f"evaluation/{name}", np.full(len(self), np.nan))
                    column[int(entry["step"]) - 1] = value
        return columns

    def _metric_columns(self) -> dict[str, np.ndarray]:
        return {name: np.array(values) for name, values in self.metrics.items()}

    def plot(self, path: str | PathLike | None = None) -> Any:
        """A matplotlib figure: the training loss, and a panel for each quantity of the evaluations.

        With `path` it is written there too; the suffix chooses the format.
        """
        figure_module = require("matplotlib.figure", "fit", "a picture of the history")
        names = list(dict.fromkeys(name for entry in self.evaluations for name in entry if name != "step"))
        figure = figure_module.Figure(figsize=(5.0 * (1 + len(names)), 3.4), layout="constrained")
        axes = figure.subplots(1, 1 + len(names), squeeze=False)[0]
        losses = np.array(self.losses)
        axes[0].plot(*_thinned(losses), color="#1f6f8b", linewidth=1.2)
        axes[0].set(title="training loss", xlabel="step", xlim=(0, self.num_steps))
        if losses.size and np.nanmin(losses) > 0:
            axes[0].set_yscale("log")
        for axis, name in zip(axes[1:], names, strict=True):
            entries = [(entry["step"], entry[name]) for entry in self.evaluations if name in entry]
            axis.plot(*zip(*entries, strict=True), color="#b5542c", marker="o", markersize=3, linewidth=1.2)
            axis.set(title=name, xlabel="step", xlim=(0, self.num_steps))
        for axis in axes:
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(alpha=0.25)
        if path is not None:
            figure.savefig(path, dpi=120)
        return figure

    def _repr_png_(self) -> bytes | None:
        """The picture, for notebooks."""
        return png(self.plot)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "num_steps": self.num_steps,
            "losses": list(self.losses),
            "step_sizes": list(self.step_sizes),
            "distances": list(self.distances),
            "metrics": {name: list(values) for name, values in self.metrics.items()},
            "evaluations": [dict(entry) for entry in self.evaluations],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "History":
        """The inverse of `to_json`."""
        history = cls(record["num_steps"])
        history.losses = list(record["losses"])
        history.step_sizes = list(record["step_sizes"])
        history.distances = list(record["distances"])
        history.metrics = {name: list(values) for name, values in record["metrics"].items()}
        history.evaluations = [dict(entry) for entry in record["evaluations"]]
        return history

    def save(self, path: str | PathLike) -> None:
        """Writes the history as JSON."""
        with open(path, "w") as file:
            json.dump(self.to_json(), file)


def _thinned(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(last steps, means) of at most MAX_POINTS intervals."""
    chunks = np.array_split(values, min(MAX_POINTS, max(1, len(values))))
    ends = np.cumsum([len(chunk) for chunk in chunks])
    return ends, np.array([chunk.mean() if len(chunk) else np.nan for chunk in chunks])
