"""Everything that a report shows, computed once: the page, the Markdown and the terminal only set it."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from evaluation.report import figures as overview_figures
from evaluation.report import learning_curves as task_figures
from evaluation.report import score_tables as summary
from evaluation.report.drawing import Drawing, table_csv
from evaluation.report.score_tables import Row, Summary, Time
from evaluation.results import Results
from evaluation.saved_evaluation import Manifest
from evaluation.settings import Evaluation


@dataclasses.dataclass(frozen=True, eq=False)
class Content:
    manifest: Manifest

    @property
    def results(self) -> Results:
        return self.manifest.results

    @property
    def settings(self) -> Evaluation:
        return self.manifest.settings

    @functools.cached_property
    def rows(self) -> list[Row]:
        return summary.rows(self.results)

    @functools.cached_property
    def times(self) -> list[Time]:
        return summary.times(self.results)

    @functools.cached_property
    def summaries(self) -> list[Summary]:
        return summary.summaries(self.results, self.rows)

    @property
    def num_reference_trials(self) -> int:
        return next(found.num_trials for found in self.summaries if found.optimizer == self.results.reference)

    @functools.cached_property
    def overview(self) -> list[Drawing]:
        return [
            overview_figures.forest(self.results, self.summaries),
            overview_figures.profile(self.results),
            overview_figures.tuning_cost(self.results),
        ]

    @functools.cached_property
    def meta_loss(self) -> Drawing | None:
        points = self.manifest.meta_training
        return overview_figures.meta_loss(points) if points else None

    @functools.cached_property
    def curves(self) -> list[Drawing]:
        return [task_figures.training_curves(self.results, task) for task in self.results.tasks]

    @functools.cached_property
    def sensitivity(self) -> list[Drawing]:
        return [task_figures.sensitivity(self.results, task) for task in self.results.tasks]

    @functools.cached_property
    def step_sizes(self) -> list[Drawing]:
        found = [
            task_figures.step_sizes(self.results, task, optimizer)
            for optimizer in self.results.learned
            for task in self.results.tasks
        ]
        return [drawing for drawing in found if drawing is not None]

    @functools.cached_property
    def time_profile(self) -> Drawing:
        return overview_figures.profile(self.results, in_seconds=True)

    @property
    def drawings(self) -> list[Drawing]:
        """All of them, in the order of the page."""
        meta = [self.meta_loss] if self.meta_loss else []
        return [*meta, *self.overview, *self.curves, *self.sensitivity, *self.step_sizes, self.time_profile]

    @functools.cached_property
    def files(self) -> list[Drawing]:
        """Those that are written as files, the training curves of all tasks in one picture among them."""
        return [overview_figures.all_training_curves(self.results), *self.drawings]

    @property
    def rows_csv(self) -> str:
        return _dataclasses_csv(self.rows)

    @property
    def summaries_csv(self) -> str:
        return _dataclasses_csv(self.summaries)

    @property
    def times_csv(self) -> str:
        return _dataclasses_csv(self.times)

    def speed(self, optimizer: str) -> dict[str, float]:
        """Medians over tasks of what the clock says, sums of what was spent."""
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
    """Tuples become columns of their own, where they are of numbers."""
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
