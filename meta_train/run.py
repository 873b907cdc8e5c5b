"""One meta-training run from settings to a weights file, resumable at every checkpoint."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import velo
from meta_train import learner, run_folder, worker
from meta_train.checkpoint import Checkpoints
from meta_train.executor import Executor, LocalExecutor
from meta_train.run_log import RunLog
from meta_train.settings import MetaTraining


def run(settings: MetaTraining, out: Path, *, resume: bool = False, console: Console | None = None) -> Path:
    """Meta-trains until `settings.num_steps` outer steps are done and returns the path of the exported weights.

    An interrupt or a request to terminate finishes the outer step, writes a checkpoint and returns as well; a second
    one interrupts at once.

    Raises:
        ValueError: the folder can't hold this run, or its checkpoint can't be read; nothing was changed.
    """
    run_folder.prepare(out, settings, resume=resume)
    with run_folder.locked(out):
        return _run(settings, out, resume, console or Console())


def _run(settings: MetaTraining, out: Path, resume: bool, console: Console) -> Path:
    outer_tx = settings.outer.build()
    theta = settings.optimizer.init(jax.random.fold_in(jax.random.key(settings.seed), 2**31))
    state = learner.init(outer_tx, theta)
    checkpoints = Checkpoints(out / "checkpoints", settings)
    states = None
    if resume and checkpoints.latest_step() is not None:
        state, states = checkpoints.restore(state)
        console.print(f"resuming {out} after outer step {state.step}")
    executor = _executor(settings)
    log = RunLog(out, state.step)
    try:
        if states is not None:
            executor.restore(states)
        with _terminated() as terminated, _progress(console) as progress:
            bar = progress.add_task("meta-training", total=settings.num_steps, completed=state.step, status="compiling")
            while state.step < settings.num_steps and not terminated:
                state = _outer_step(settings, executor, outer_tx, state, log, progress, bar)
                due = state.step % settings.execution.checkpoint_every == 0
                if due or state.step == settings.num_steps or terminated:
                    checkpoints.save(state, executor.states())
                    _export(settings, state, out)
        if state.step < settings.num_steps:
            console.print(
                f"stopped after outer step {state.step}; go on with the same command and --resume --out {out}"
            )
        return _export(settings, state, out)
    finally:
        executor.close()
        checkpoints.close()
        log.close()


def _outer_step(settings, executor: Executor, outer_tx, state, log: RunLog, progress: Progress, bar):
    started = time.perf_counter()
    contributions = executor.compute(state.theta, state.step)
    state, metrics = learner.update(outer_tx, state, contributions, settings.outer.average_decay)
    seconds = time.perf_counter() - started
    busy_seconds = sum(contribution.seconds for contribution in contributions)
    rate = metrics.num_inner_steps / busy_seconds
    log.write(
        state.step - 1,
        metrics._asdict()
        | {
            "seconds": seconds,
            "inner_steps_per_core_second": rate,
            "families": [
                type(worker.family_of(settings, index, state.step - 1)).__name__
                for index in range(settings.num_workers)
            ],
            "losses": [c.loss for c in sorted(contributions, key=lambda c: c.worker)],
        },
    )
    problems = f", {metrics.num_nonfinite} non-finite losses bounded" if metrics.num_nonfinite else ""
    status = f"meta-loss {metrics.loss:+.3f}, {rate:,.0f} inner steps/s/core{problems}"
    progress.update(bar, completed=state.step, status=status)
    return state


def _executor(settings: MetaTraining) -> Executor:
    if settings.execution.executor == "local":
        return LocalExecutor(settings)
    from meta_train.ray_executor import RayExecutor  # Ray is an extra that the local executor does not need

    return RayExecutor(settings)


def _export(settings: MetaTraining, state: learner.LearnerState, out: Path) -> Path:
    """Writes the averaged theta as a weights file that says how it came about."""
    path = out / run_folder.WEIGHTS_FILE
    described = run_folder.describe(settings)
    record = {"outer_steps": state.step, "settings": {k: v for k, v in described.items() if k != "execution"}}
    velo.save_weights(path, settings.optimizer, state.average, record)
    return path


@contextmanager
def _terminated() -> Iterator[list[int]]:
    """A list that receives the number of an interrupting signal; the loop looks at it after each outer step."""
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
