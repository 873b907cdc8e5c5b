"""One meta-training run: from settings to a weights file, resumable at every checkpoint."""

import functools
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from meta_train import initial_theta, learner, run_folder, validation, worker
from meta_train.checkpoint import Checkpoints
from meta_train.executor import Executor, LocalExecutor, WorkerStates
from meta_train.export import export, export_if_best
from meta_train.mirror import Mirror
from meta_train.run_log import RunLog
from meta_train.set_aside import NothingWorksError
from meta_train.settings import MetaTraining
from tasks.wrappers.wrapper import innermost
from velo.architectures.velo import kernel
from velo.weights import check_saveable

CHECKPOINTS_FOLDER = "checkpoints"
MAX_USELESS_STEPS = 10
"""Outer steps in a row without a finite estimate after which a run gives up. Before the first finite estimate, it gives
up at once after an outer step without any contribution."""
MAX_ZERO_STEPS = 10
"""Outer steps in a row with a meta-gradient of exactly zero after which the log says so."""

GOOD_NEWS = ("worker_started", "started_from", "imitation_teacher", "imitated")
"""Events that the progress bar doesn't count as problems."""


def run(settings: MetaTraining, out: Path, *, resume: bool = False, console: Console | None = None) -> Path:
    """Meta-trains for `settings.num_steps` outer steps and returns the path of the exported weights.

    On SIGINT or SIGTERM it finishes the outer step, writes a checkpoint and the weights, and returns. A second signal
    raises `KeyboardInterrupt` at once.

    Args:
        settings: everything that determines the run.
        out: folder of the run.
        resume: go on from the last checkpoint in `out`, or in the mirror if `out` holds no run.
        console: for the progress; None makes a new one.

    Raises:
        WeightsError: the weights of `settings.optimizer` can't be saved, or `start_weights` don't fit. Nothing has
            been written.
        ValueError: the folder can't hold this run, its checkpoint can't be read, the mirror's URL is not valid, or no
            task can be carried out.
        OSError: `start_weights` don't exist, or the settings, the last checkpoint or the weights can't be written.
        RuntimeError: Ray's worker processes can't start, or an asynchronous run has set every task aside.
    """
    console = console or Console()
    check_saveable(settings.optimizer)  # now, and not at the first export
    mirror = settings.execution.mirror
    copy = Mirror(mirror) if mirror else None  # so that a mistake in the URL leaves no folder behind
    if resume and copy and not (out / run_folder.SETTINGS_FILE).exists():
        copy.fetch(out)
    if not resume and settings.start_weights:
        initial_theta.load(settings)  # so that a mistake in it leaves no folder behind
    run_folder.prepare(out, settings, resume=resume)
    with run_folder.locked(out):
        restored = _restore(settings, out) if resume else None
        if restored is not None:
            console.print(f"resuming {out} after outer step {restored[0].step}")
        log = RunLog(out, restored[0].step if restored else 0)
        return Run(settings, out, console, log).go(restored)


Restored = tuple[learner.LearnerState, WorkerStates]


def _restore(settings: MetaTraining, out: Path) -> Restored | None:
    """The last checkpoint of a folder, or None.

    It runs before the log is opened, which deletes the lines after the checkpoint: a damaged checkpoint leaves the log
    as it was.
    """
    checkpoints = Checkpoints(out / CHECKPOINTS_FOLDER, settings)
    try:
        if checkpoints.latest_step() is None:
            return None
        return checkpoints.restore(learner.init(settings.outer.build(), initial_theta.template(settings)))
    finally:
        checkpoints.close()


class Run:
    """A run in progress: its parts, and the loop over outer steps."""

    def __init__(self, settings: MetaTraining, out: Path, console: Console, log: RunLog):
        self._settings = settings
        self._out = out
        self._console = console
        self._outer_tx = settings.outer.build()
        self._log = log
        self._num_useful = self._num_useless = self._num_zero = 0  # outer steps; the last two count those in a row
        self._num_problems = 0
        mirror = Mirror(settings.execution.mirror, self._report) if settings.execution.mirror else None
        if mirror is not None:
            mirror.put_settings(out)
        self._checkpoints = Checkpoints(out / CHECKPOINTS_FOLDER, settings, mirror, self._report)

    def go(self, restored: Restored | None) -> Path:
        """Trains to the end, from a checkpoint or, if it is None, from the start; returns the path of the weights."""
        executor = None
        try:
            if restored is None:
                theta = initial_theta.build(self._settings, self._console, self._report)
                state, workers = learner.init(self._outer_tx, theta), None
            else:
                state, workers = restored
            executor = self._executor()
            if workers is not None:
                executor.restore(workers)
            elif self._settings.imitation.num_steps:  # so that a resume needn't repeat it
                self._checkpoints.save(state, executor.snapshot(), wait=True)
            return self._loop(executor, state)
        finally:
            if executor is not None:
                executor.close()
            self._checkpoints.close()

    def _loop(self, executor: Executor, state: learner.LearnerState) -> Path:
        settings, num_steps = self._settings, self._settings.num_steps
        with _terminated() as terminated, _progress(self._console) as progress:
            bar = progress.add_task("meta-training", total=num_steps, completed=state.step, status="compiling")
            if state.step == 0:
                self._validate(executor, state)
            while state.step < num_steps and not terminated:
                state, status = self._outer_step(executor, state)
                progress.update(bar, completed=state.step, status=status)
                last = state.step == num_steps or bool(terminated)
                if settings.validation.every and (state.step % settings.validation.every == 0 or last):
                    self._validate(executor, state)
                if not last and state.step % settings.execution.checkpoint_every == 0:
                    self._checkpoints.save(state, executor.snapshot())
                    self._try("export", functools.partial(export, settings, state, self._out))
            path = self._finish(executor, state)
        if state.step < num_steps:
            self._console.print(
                f"stopped after outer step {state.step}; go on with the same command and --resume --out {self._out}"
            )
        return path

    def _finish(self, executor: Executor, state: learner.LearnerState) -> Path:
        """Writes the last checkpoint and the weights. A failure of one doesn't prevent the other.

        Raises:
            OSError: in one line, with the paths that could not be written and those that were.
        """
        failures, written = [], []
        try:
            self._checkpoints.save(state, executor.snapshot(), wait=True)
            written.append(f"checkpoint {self._out / CHECKPOINTS_FOLDER / str(state.step)}")
        except OSError as error:
            failures.append(str(error))
        path = self._out / run_folder.WEIGHTS_FILE
        try:
            export(self._settings, state, self._out)
            written.append(f"weights {path}")
        except OSError as error:
            failures.append(str(error))
        if failures:
            raise OSError(
                f"after outer step {state.step}: {'; '.join(failures)}; written: {' and '.join(written) or 'nothing'}"
            )
        return path

    def _outer_step(self, executor: Executor, state: learner.LearnerState) -> tuple[learner.LearnerState, str]:
        settings, theta = self._settings, state.theta
        started = time.perf_counter()
        contributions, account = executor.compute(theta, state.step)
        computed = time.perf_counter()
        complete = functools.partial(worker.complete, settings, theta)
        state, metrics = learner.update(
            self._outer_tx, state, contributions, settings.outer.average_decay, complete
        )  # fmt: skip
        ended = time.perf_counter()
        busy_seconds = sum(contribution.seconds for contribution in contributions)
        rate = metrics.num_inner_steps / busy_seconds if busy_seconds else math.nan
        ordered = sorted(contributions, key=lambda contribution: (contribution.worker, contribution.step))
        self._log.write(
            state.step - 1,
            metrics._asdict()
            | {f"contributions_{name}": count for name, count in vars(account).items()}
            | {
                "seconds": ended - started,
                "learner_seconds": ended - computed,
                "busy_seconds": busy_seconds,
                "inner_steps_per_core_second": rate,
                "bytes_received": sum(learner.num_bytes(contribution) for contribution in contributions),
                "bytes_theta": sum(leaf.nbytes for leaf in jax.tree.leaves(theta)),
                "kernel": kernel.mode(),
                "mean_staleness": _mean([state.step - 1 - c.theta_step for c in contributions]),
                "families": [type(innermost(worker.family_of(settings, c.worker, c.step))).__name__ for c in ordered],
                "losses": [contribution.loss for contribution in ordered],
            },
        )
        self._check_useful(executor, state.step, len(contributions) - metrics.num_rejected, metrics)
        problems = f", {metrics.num_nonfinite} non-finite training losses" if metrics.num_nonfinite else ""
        problems += f", {self._num_problems} events" if self._num_problems else ""
        return state, f"meta-loss {metrics.loss:+.3f}, {rate:,.0f} inner steps/s/core{problems}"

    def _check_useful(self, executor: Executor, step: int, num_usable: int, metrics: learner.UpdateMetrics) -> None:
        """Ends a run that can't learn, and reports one whose meta-gradient is zero."""
        self._num_zero = self._num_zero + 1 if metrics.grad_norm == 0 else 0
        if self._num_zero == MAX_ZERO_STEPS:
            reason = (
                f"the meta-gradient was exactly zero for {MAX_ZERO_STEPS} outer steps: the meta-loss doesn't depend on "
                "theta, for example since every loss lies outside of the bounds of TaskFamily.normalize"
            )
            self._report("zero_gradient", step=step, reason=reason)
        if num_usable:
            self._num_useful, self._num_useless = self._num_useful + 1, 0
            return
        self._num_useless += 1
        hopeless = self._num_useful == 0 and (metrics.num_rejected == 0 or step == self._settings.num_steps)
        if not hopeless and self._num_useless < MAX_USELESS_STEPS:
            return
        if metrics.num_rejected:
            raise NothingWorksError(
                f"no estimate of the meta-gradient was finite in the last {self._num_useless} outer steps: theta "
                f"stayed as it was after outer step {step - self._num_useless}"
            )
        family, reason = next(iter(executor.snapshot().set_aside["reasons"].items()))
        raise NothingWorksError(f"no task can be carried out; the first was {family}: {reason}")

    def _validate(self, executor: Executor, state: learner.LearnerState) -> None:
        if not self._settings.validation.every:
            return
        found = executor.validate(state.average, validation.task_names(self._settings))
        losses = {name: loss for name, loss in found.items() if isinstance(loss, float)}
        for name, loss in found.items():
            if isinstance(loss, str):
                self._report("validation_failed", task=name, reason=loss)
        loss = _mean(list(losses.values()))
        self._log.validation(state.step, loss, losses)
        self._try("export", lambda: export_if_best(self._settings, state, self._out, loss, losses))

    def _report(self, kind: str, **facts) -> None:
        """Writes an event to the log, and counts it for the progress bar."""
        if kind not in GOOD_NEWS:
            self._num_problems += 1
        self._log.event(kind, **facts)
        if kind in ("no_workers", "set_aside", "checkpoint_failed", "mirror_failed", "zero_gradient"):
            self._console.print(f"{kind.replace('_', ' ')}: {facts.get('reason', '')}", markup=False)

    def _try(self, what: str, action) -> None:
        """Calls `action`. A full disk is reported and doesn't end the run: the next checkpoint tries again."""
        try:
            action()
        except OSError as error:
            self._report(f"{what}_failed", reason=str(error))

    def _executor(self) -> Executor:
        if self._settings.execution.executor == "local":
            return LocalExecutor(self._settings, self._report)
        from meta_train.ray_executor import RayExecutor  # Ray is an extra that the local executor does not need

        return RayExecutor(self._settings, self._report)


def _mean(values: list) -> float:
    return float(np.mean(values)) if values else math.nan


@contextmanager
def _terminated() -> Iterator[list[int]]:
    """A list that gets the number of an interrupting signal; the loop reads it after each outer step."""
    received: list[int] = []

    def handle(number, _frame):
        if received:
            raise KeyboardInterrupt
        received.append(number)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[status]}"),
        TimeRemainingColumn(),
        console=console,
    )
