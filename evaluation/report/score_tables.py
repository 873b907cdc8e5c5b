"""The tables of the report: scores and times of each optimizer on each task, and scores over all tasks."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evaluation import scores
from evaluation.curves import Cost, Entry, Results
from evaluation.scores import Interval, Record

FAST = 4.0
"""Threshold for a large speed-up: VeLO's article (2211.09760) reports the share of tasks above it."""
NO_INTERVAL = Interval(np.nan, np.nan)


@dataclasses.dataclass(frozen=True)
class Row:
    """The scores of one optimizer on one task, against the reference, tuned Adam."""

    task: str
    optimizer: str
    is_learned: bool
    hyperparameters: tuple[tuple[str, float], ...]
    tuning: str
    num_trials: int
    """Settings tried to choose the hyperparameters; 0 if nothing was tuned."""
    at_edge: bool
    train_loss: float
    train_interval: Interval
    valid_loss: float
    ratio: float
    """Final training loss / the reference's, see `scores.loss_ratio`."""
    ratio_interval: Interval
    valid_ratio: float
    """The same for the final validation losses."""
    envelope_speed_up: float
    """See `scores.envelope_speed_up`, over the reference's runs on the reporting seeds, the longer ones included."""
    speed_up: float
    """See `scores.speed_up`."""
    speed_up_interval: Interval
    worth_trials: float
    """See `scores.worth_trials`: trials of the reference, on the tuning seeds."""
    num_diverged: int
    """Reported runs that diverged."""
    num_diverged_trials: int
    """Tuning runs that diverged."""


@dataclasses.dataclass(frozen=True)
class Time:
    """The times of one optimizer on one task; they differ from run to run and from machine to machine."""

    task: str
    optimizer: str
    milliseconds_per_step: float
    cpu_milliseconds_per_step: float
    steps_speed_up: float
    """`Row.envelope_speed_up`."""
    envelope_speed_up: float
    """The same in seconds, see `scores.in_seconds`. If the reference never gets as low, this is a lower bound,
    as if the reference got there with the last step of its longest runs."""
    speed_up: float
    ratio: float
    """Ratio of final losses after the time that the faster of the two takes, see `scores.equal_time_losses`."""
    compile_seconds: float
    tuning_seconds: float


@dataclasses.dataclass(frozen=True)
class Summary:
    """The scores of one optimizer over all tasks."""

    optimizer: str
    is_learned: bool
    tuning: str
    num_trials: int
    num_tuning_runs: int
    tuning_steps: int
    ratio: float
    """Interquartile mean over tasks and seeds of final loss / the reference's under the same seed."""
    ratio_interval: Interval
    geometric_ratio: float
    """Geometric mean over tasks and seeds of final loss / the reference's under the same seed."""
    geometric_interval: Interval
    """See `scores.nested_interval`: over tasks and seeds."""
    improvement: float
    """See `scores.probability_of_improvement`, over the reference."""
    improvement_interval: Interval
    record: Record
    """Wins, ties and losses against the reference over tasks, by mean final loss."""
    p_value: float
    """See `scores.paired_p_value`, with Holm's correction for the number of optimizers."""
    envelope_speed_up: float
    """Median over tasks; a run that diverged counts as 0, a loss that the reference never reached as inf."""
    share_faster: float
    """Share of tasks on which the speed-up is above 1, see `scores.share_faster`."""
    share_fast: float
    """Share of tasks with a speed-up above `FAST`; nan if the reference's runs were too short to tell."""
    profile_score: float
    """See `scores.profile_score`, in steps."""
    worth_trials: float
    """Median over tasks."""
    num_runs: int
    num_diverged: int
    num_diverged_trials: int
    state_ratio: float
    """Size of the optimizer's state / the reference's, mean over tasks."""


class Match(NamedTuple):
    """A learned optimizer against another one: `scores.geometric_mean_ratio`, with `scores.nested_interval`."""

    ratio: float
    interval: Interval


def rows(results: Results) -> list[Row]:
    """A row for each optimizer on each task, task by task, in the order of the report."""
    return [
        _row(results.entry(task, optimizer), results.entry(task, results.reference))
        for task in results.tasks
        for optimizer in results.optimizers
    ]


def _row(entry: Entry, reference: Entry) -> Row:
    """The scores of one entry."""
    losses, reference_losses = entry.train_loss, reference.train_loss
    final, reference_final = scores.final_loss(losses), scores.final_loss(reference_losses)
    valid, reference_valid = _finite(entry.valid_loss), _finite(reference.valid_loss)
    is_reference = entry is reference
    interval = (lambda *_: NO_INTERVAL) if is_reference else scores.bootstrap_interval
    chosen_losses = entry.tuning_loss[entry.chosen]
    # A run that diverged to a finite loss is worth 0 trials, even if half of the reference's trials ended higher.
    tuning_loss = np.inf if scores.diverged(chosen_losses).any() else float(scores.final_loss(chosen_losses).mean())
    return Row(
        task=entry.task,
        optimizer=entry.optimizer,
        is_learned=entry.is_learned,
        hyperparameters=tuple(sorted(entry.hyperparameters.items())),
        tuning=entry.tuning,
        num_trials=len(entry.trials) if entry.is_tuned else 0,
        at_edge=entry.at_edge,
        train_loss=float(final.mean()),
        train_interval=scores.bootstrap_interval(lambda final: float(final.mean()), final),
        valid_loss=float(valid.mean()),
        ratio=scores.loss_ratio(final, reference_final),
        ratio_interval=interval(scores.loss_ratio, final, reference_final),
        valid_ratio=scores.loss_ratio(valid, reference_valid),
        envelope_speed_up=scores.envelope_speed_up(losses, [reference_losses, *reference.stretched_loss]),
        speed_up=scores.speed_up(losses, reference_losses),
        speed_up_interval=interval(scores.speed_up, losses, reference_losses),
        worth_trials=scores.worth_trials(tuning_loss, scores.final_loss(reference.tuning_loss).mean(axis=1)),
        num_diverged=int(scores.diverged(losses).sum()),
        num_diverged_trials=_num_diverged_trials(entry),
    )


def times(results: Results) -> list[Time]:
    """The times of each row, in the order of `rows`."""
    return [
        _time(results.entry(task, optimizer), results.entry(task, results.reference))
        for task in results.tasks
        for optimizer in results.optimizers
    ]


def _time(entry: Entry, reference: Entry) -> Time:
    """The times of one entry."""
    pace = entry.seconds_per_step, reference.seconds_per_step
    losses, reference_losses = entry.train_loss, reference.train_loss
    envelope = scores.envelope_speed_up(losses, [reference_losses, *reference.stretched_loss])
    stretch = reference.longest_steps / entry.reported[0].num_steps
    return Time(
        task=entry.task,
        optimizer=entry.optimizer,
        milliseconds_per_step=1e3 * pace[0],
        cpu_milliseconds_per_step=1e3
        * sum(curve.cost.cpu_seconds for curve in entry.reported)
        / sum(curve.num_steps for curve in entry.reported),
        steps_speed_up=envelope,
        envelope_speed_up=scores.in_seconds(stretch if np.isinf(envelope) else envelope, *pace),
        speed_up=scores.in_seconds(scores.speed_up(losses, reference_losses), *pace),
        ratio=scores.loss_ratio(*scores.equal_time_losses(losses, reference_losses, *pace)),
        compile_seconds=entry.reported[0].cost.compile_seconds,
        tuning_seconds=sum(curve.cost.seconds for trial in entry.trials for curve in trial) if entry.is_tuned else 0.0,
    )


def times_to_target(results: Results, *, in_seconds: bool = False) -> np.ndarray:
    """[tasks, optimizers] times to the reference's final loss, see `scores.times_to_target`."""
    return np.array(
        [
            [
                scores.times_to_target(
                    entry.train_loss,
                    results.entry(task, results.reference).train_loss,
                    entry.seconds_per_step if in_seconds else 1.0,
                )
                for entry in (results.entry(task, optimizer) for optimizer in results.optimizers)
            ]
            for task in results.tasks
        ]
    )


def summaries(results: Results, rows: list[Row]) -> list[Summary]:
    """A summary for each optimizer, in the order of the report."""
    profile_scores = scores.profile_score(times_to_target(results))
    others = [name for name in results.optimizers if name != results.reference]
    reference = _mean_losses(rows, results.reference)
    p_values = dict(
        zip(
            others,
            scores.holm([scores.paired_p_value(_mean_losses(rows, name), reference) for name in others]),
            strict=True,
        )
    )
    return [
        _summary(
            results, name, [row for row in rows if row.optimizer == name], reference, p_values.get(name, np.nan), score
        )
        for name, score in zip(results.optimizers, profile_scores, strict=True)
    ]


def _summary(
    results: Results, name: str, rows: list[Row], reference_losses: np.ndarray, p_value: float, profile_score: float
) -> Summary:
    """The scores of one optimizer, from its rows and its curves."""
    entries = [results.entry(task, name) for task in results.tasks]
    references = [results.entry(task, results.reference) for task in results.tasks]
    final, reference_final = (
        np.stack([scores.final_loss(entry.train_loss) for entry in found]) for found in (entries, references)
    )
    is_reference = name == results.reference
    tuning = [curve for entry in entries if entry.is_tuned for trial in entry.trials for curve in trial]
    speed_ups = np.array([row.envelope_speed_up for row in rows])
    stretch = min(entry.longest_steps / entry.reported[0].num_steps for entry in references)
    return Summary(
        optimizer=name,
        is_learned=rows[0].is_learned,
        tuning=rows[0].tuning,
        num_trials=max(row.num_trials for row in rows),
        num_tuning_runs=len(tuning),
        tuning_steps=sum(curve.num_steps for curve in tuning),
        ratio=mean_ratio(final, reference_final),
        ratio_interval=NO_INTERVAL if is_reference else scores.stratified_interval(mean_ratio, final, reference_final),
        geometric_ratio=scores.geometric_mean_ratio(final, reference_final),
        geometric_interval=NO_INTERVAL
        if is_reference
        else scores.nested_interval(scores.geometric_mean_ratio, final, reference_final),
        improvement=scores.probability_of_improvement(final, reference_final),
        improvement_interval=NO_INTERVAL
        if is_reference
        else scores.stratified_interval(scores.probability_of_improvement, final, reference_final),
        record=scores.compare(np.array([row.train_loss for row in rows]), reference_losses),
        p_value=p_value,
        envelope_speed_up=_median(speed_ups),
        share_faster=scores.share_faster(speed_ups, 1.0, stretch),
        share_fast=scores.share_faster(speed_ups, FAST, stretch),
        profile_score=float(profile_score),
        worth_trials=_median([row.worth_trials for row in rows]),
        num_runs=final.size,
        num_diverged=sum(row.num_diverged for row in rows),
        num_diverged_trials=sum(row.num_diverged_trials for row in rows),
        state_ratio=float(
            np.mean([mine.state_bytes / theirs.state_bytes for mine, theirs in _costs(entries, references)])
        ),
    )


def matches(results: Results) -> list[tuple[str, list[Match | None]]]:
    """(learned optimizer, its match against each optimizer in the order of the report); None against itself."""
    final = {
        name: np.stack([scores.final_loss(results.entry(task, name).train_loss) for task in results.tasks])
        for name in results.optimizers
    }
    return [
        (name, [None if other == name else _match(final[name], final[other]) for other in results.optimizers])
        for name in results.learned
    ]


def _match(final: np.ndarray, other: np.ndarray) -> Match:
    """The match between two optimizers, from their [tasks, seeds] final losses."""
    interval = scores.nested_interval(scores.geometric_mean_ratio, final, other)
    return Match(scores.geometric_mean_ratio(final, other), interval)


def mean_ratio(final: np.ndarray, reference: np.ndarray) -> float:
    """Interquartile mean of [tasks, seeds] final losses / the reference's; nan if a ratio is undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where((final > 0) & (reference > 0), final / reference, np.nan)
    return scores.interquartile_mean(ratios)


def _mean_losses(rows: list[Row], optimizer: str) -> np.ndarray:
    """[tasks] mean final training losses."""
    return np.array([row.train_loss for row in rows if row.optimizer == optimizer])


def _median(values: Sequence[float] | np.ndarray) -> float:
    """The lower median: always one of the values, so that it is never interpolated with an infinite one."""
    return float(np.quantile(np.asarray(values, np.float64), 0.5, method="lower"))


def _costs(entries: list[Entry], references: list[Entry]) -> list[tuple[Cost, Cost]]:
    """The costs of the first reported run of each pair."""
    return [(mine.reported[0].cost, theirs.reported[0].cost) for mine, theirs in zip(entries, references, strict=True)]


def _num_diverged_trials(entry: Entry) -> int:
    """Number of tuning runs that diverged; 0 if nothing was tuned."""
    return int(scores.diverged(entry.tuning_loss).sum()) if entry.is_tuned else 0


def _finite(losses: np.ndarray) -> np.ndarray:
    """`losses` with inf in place of non-finite entries."""
    return np.where(np.isfinite(losses), losses, np.inf)
