"""What a report shows, computed once; the HTML page, Markdown and terminal only lay it out."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from evaluation.curves import Results
from evaluation.report import figures, learning_curves, score_tables
from evaluation.report.drawing import Drawing, table_csv
from evaluation.report.score_tables import Row, Summary, Time
from evaluation.saved_evaluation import SavedEvaluation
from evaluation.settings import Procedure


@dataclasses.dataclass(frozen=True, eq=False)
class Content:
    """Tables and figures of an evaluation; each is computed on first use and cached."""

    saved: SavedEvaluation

    @property
    def results(self) -> Results:
        """The curves."""
        return self.saved.results

    @property
    def suite(self) -> str:
        """What the report calls the tasks."""
        return self.saved.suite

    @property
    def procedure(self) -> Procedure:
        """How contenders were compared."""
        return self.saved.procedure

    @functools.cached_property
    def rows(self) -> list[Row]:
        """The scores of each optimizer on each task."""
        return score_tables.rows(self.results)

    @functools.cached_property
    def times(self) -> list[Time]:
        """The times of each optimizer on each task."""
        return score_tables.times(self.results)

    @functools.cached_property
    def summaries(self) -> list[Summary]:
        """The scores of each optimizer over all tasks."""
        return score_tables.summaries(self.results, self.rows)

    @property
    def num_reference_trials(self) -> int:
        """How many settings of the reference were tried per task."""
        return next(found.num_trials for found in self.summaries if found.optimizer == self.results.reference)

    @functools.cached_property
    def overview(self) -> list[Drawing]:
        """The four figures over all tasks."""
        return [
            figures.sorted_speed_ups(self.results, self.rows, stretch=self.procedure.stretch),
            figures.forest(self.results, self.summaries),
            figures.profile(self.results),
            figures.tuning_cost(self.results),
        ]

    @functools.cached_property
    def meta_loss(self) -> Drawing | None:
        """The figure of meta-training; None if there is nothing to draw."""
        points = self.saved.meta_training
        return figures.meta_loss(points) if points else None

    @functools.cached_property
    def curves(self) -> list[Drawing]:
        """The learning curves of each task."""
        return [learning_curves.training_curves(self.results, task) for task in self.results.tasks]

    @functools.cached_property
    def sensitivity(self) -> list[Drawing]:
        """Final loss against learning rate, for each task."""
        return [figures.sensitivity(self.results, task) for task in self.results.tasks]

    @functools.cached_property
    def step_sizes(self) -> list[Drawing]:
        """The step sizes of each learned optimizer on each task, where they were recorded."""
        found = [
            figures.step_sizes(self.results, task, optimizer)
            for optimizer in self.results.learned
            for task in self.results.tasks
        ]
        return [drawing for drawing in found if drawing is not None]

    @functools.cached_property
    def time_profile(self) -> Drawing:
        """The performance profiles in seconds."""
        return figures.profile(self.results, in_seconds=True)

    @property
    def drawings(self) -> list[Drawing]:
        """All figures of the page, in the order of the page."""
        meta = [self.meta_loss] if self.meta_loss else []
        return [*meta, *self.overview, *self.curves, *self.sensitivity, *self.step_sizes, self.time_profile]

    @functools.cached_property
    def files(self) -> list[Drawing]:
        """All figures that are written as files: those of the page, and one with the learning curves of all tasks."""
        return [learning_curves.all_training_curves(self.results), *self.drawings]

    @property
    def rows_csv(self) -> str:
        """`rows` as the text of a CSV file."""
        return _dataclasses_csv(self.rows)

    @property
    def summaries_csv(self) -> str:
        """`summaries` as the text of a CSV file."""
        return _dataclasses_csv(self.summaries)

    @property
    def times_csv(self) -> str:
        """`times` as the text of a CSV file."""
        return _dataclasses_csv(self.times)

    def times_on(self, task: str) -> list[Time]:
        """The times of each optimizer on one task, in the order of the optimizers."""
        return [time for time in self.times if time.task == task]

    def speed(self, optimizer: str) -> dict[str, float]:
        """An optimizer's times over all tasks: medians of the ratios to the reference, and sums of the seconds."""
        mine = [time for time in self.times if time.optimizer == optimizer]
        reference = [time for time in self.times if time.optimizer == self.results.reference]
        pace = [a.milliseconds_per_step / b.milliseconds_per_step for a, b in zip(mine, reference, strict=True)]
        cpu = [a.cpu_milliseconds_per_step / b.cpu_milliseconds_per_step for a, b in zip(mine, reference, strict=True)]
        return {
            "pace": float(np.median(pace)),
            "cpu_pace": float(np.median(cpu)),
            "envelope_speed_up": float(np.quantile([time.envelope_speed_up for time in mine], 0.5, method="lower")),
            "ratio": float(np.median([time.ratio for time in mine])),
            "compile_seconds": sum(time.compile_seconds for time in mine),
            "tuning_seconds": sum(time.tuning_seconds for time in mine),
        }


def _dataclasses_csv(items: Sequence) -> str:
    """A row for each dataclass; named tuples become a column for each field, hyperparameters become text."""
    columns: list[str] = []
    rows = []
    for item in items:
        row: dict = {}
        for field in dataclasses.fields(item):
            value = getattr(item, field.name)
            if hasattr(value, "_fields"):
                row |= {f"{field.name}_{name}": part for name, part in zip(value._fields, value, strict=True)}
            elif isinstance(value, tuple):
                row[field.name] = " ".join(f"{name}={part:.6g}" for name, part in value)
            else:
                row[field.name] = value
        columns = list(row)
        rows.append(tuple(row.values()))
    return table_csv(columns, rows)
