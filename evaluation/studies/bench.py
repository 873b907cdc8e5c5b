"""What a study measures with: every result is stored on disk before the study gets it, and read the next time."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from evaluation import entry_point, ray_workers
from evaluation.curve_store import CurveStore
from evaluation.curves import Curve, Results
from evaluation.record_store import Arrays, RecordStore
from evaluation.resumable_sweep import Sweep
from evaluation.saved_evaluation import CURVES_FOLDER
from evaluation.settings import Contender, Evaluation, Procedure
from evaluation.training import Trainer
from evaluation.tuning import Setting
from tasks.fixed import FixedTask

RECORDS_FOLDER = "records"
LONG_SECONDS = 1.0
"""Measurements that take longer are reported in the terminal."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """The stores of a folder, and the compiled programs of this process."""

    out: Path
    console: Console = dataclasses.field(default_factory=Console)
    trainer: Trainer = dataclasses.field(default_factory=Trainer)

    def results(self, evaluation: Evaluation) -> Results:
        """The results of an evaluation: every contender tuned on every task, on Ray workers if it asks for them.

        Raises:
            ValueError: in one line, if the evaluation asks for Ray and it isn't installed.
        """
        if evaluation.num_workers:
            ray_workers.fill(evaluation, self.out / CURVES_FOLDER, self.console)
        sweep = self._sweep(evaluation.procedure, evaluation.reference)
        return Results(
            tasks=tuple(task.name for task in evaluation.tasks),
            optimizers=tuple(contender.name for contender in evaluation.contenders),
            reference=evaluation.reference,
            entries=tuple(entry_point.swept(sweep, evaluation, self.console)),
        )

    def curves(
        self,
        task: FixedTask,
        contender: Contender,
        settings: Sequence[Setting],
        seeds: Sequence[int],
        procedure: Procedure = Procedure(),  # noqa: B008, frozen
    ) -> list[tuple[Curve, ...]]:
        """Training runs of one contender: [settings][seeds].

        Args:
            settings: hyperparameters of a baseline (`evaluation.tuning.as_setting`); `[()]` for a learned optimizer.
            procedure: gives the numbers of checkpoints, validation batches and lanes.
        """
        begin = time.perf_counter()
        found = self._sweep(procedure).runs(task, contender, settings, seeds, lambda num_steps: None)
        self._tell(f"{task.name}: {contender.name}, {len(settings) * len(seeds)} runs", begin)
        return found

    def record(self, function: Callable[..., Arrays], **arguments: Any) -> dict[str, np.ndarray]:
        """`function(**arguments)`, a measurement other than a curve (`evaluation.record_store`)."""
        begin = time.perf_counter()
        found = RecordStore(self.out / RECORDS_FOLDER).get(function, **arguments)
        self._tell(function.__name__.strip("_").replace("_", " "), begin)
        return found

    def _sweep(self, procedure: Procedure, reference: str = "") -> Sweep:
        return Sweep(procedure, reference, CurveStore(self.out / CURVES_FOLDER), self.trainer)

    def _tell(self, what: str, begin: float) -> None:
        seconds = time.perf_counter() - begin
        if seconds > LONG_SECONDS:
            self.console.print(f"{what}: {seconds:.0f} s", style="dim")
