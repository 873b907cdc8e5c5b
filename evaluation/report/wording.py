"""Wording of the report: numbers, findings and failures as text, the same in the terminal and on the page."""

import math

import numpy as np

from evaluation import scores
from evaluation.curves import Results
from evaluation.report.score_tables import Row, Summary, Time
from evaluation.scores import Interval, Record

NEVER = "not reached"


def number(value: float) -> str:
    """Three significant digits; `diverged` for inf, a dash for nan."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "diverged"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:#.3g}".rstrip(".")
    return f"{value:.2e}"


def interval(value: Interval) -> str:
    """`low to high`; empty if there is no interval."""
    if math.isnan(value.low) or math.isnan(value.high):
        return ""
    return f"{number(value.low)} to {number(value.high)}"


def ratio(value: float) -> str:
    """`1.23x`."""
    return f"{number(value)}x" if math.isfinite(value) else number(value)


def speed_up(value: float) -> str:
    """`1.23x`; 0 means that the loss was never reached."""
    return NEVER if value == 0 else ratio(value)


def speed_up_interval(value: Interval) -> str:
    """Empty if there is no interval; a low end of 0 means that some resamples never reach the loss."""
    if math.isnan(value.low) or value.low == value.high == 0:
        return ""
    return f"{'never' if value.low == 0 else number(value.low)} to {number(value.high)}"


def envelope_speed_up(value: float, stretch: int) -> str:
    """A speed-up over the longer runs of the reference: `> 4x` for inf, `diverged` for 0."""
    if math.isinf(value):
        return f"> {stretch}x"
    return "diverged" if value == 0 else ratio(value)


def both_speed_ups(found: Time, stretch: int) -> str:
    """A speed-up in steps and in seconds: `2.00x / 1.50x`, `> 4x / > 2.1x`, `diverged`."""
    steps = envelope_speed_up(found.steps_speed_up, stretch)
    if found.steps_speed_up == 0:
        return steps
    return f"{steps} / {'> ' if math.isinf(found.steps_speed_up) else ''}{ratio(found.envelope_speed_up)}"


def trials(value: float, num_trials: int) -> str:
    """How many of the reference's `num_trials` trials an optimizer is worth: `> 15` for inf, `diverged` for 0."""
    if math.isinf(value):
        return f"> {num_trials}"
    return "diverged" if value == 0 else f"{value:.0f}"


def p_value(value: float) -> str:
    """Two digits; `< 0.001` below that."""
    if math.isnan(value):
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def percent(value: float) -> str:
    """`57 %`."""
    return "-" if math.isnan(value) else f"{100 * value:.0f} %"


def percent_interval(value: Interval) -> str:
    """`40 to 60 %`; empty if there is no interval."""
    if math.isnan(value.low) or math.isnan(value.high):
        return ""
    return f"{100 * value.low:.0f} to {100 * value.high:.0f} %"


def record(value: Record) -> str:
    """`wins-ties-losses`."""
    return f"{value.wins}-{value.ties}-{value.losses}"


def rate(value: float) -> str:
    """A learning rate: `3.7e-4`."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def hyperparameters(row: Row) -> str:
    """The chosen hyperparameters, or the learning rate alone if only it was tuned; `(edge)` if at the edge."""
    if not row.hyperparameters:
        return "none"
    values = dict(row.hyperparameters)
    if "rates" in row.tuning and "learning_rate" in values:
        values = {"learning_rate": values["learning_rate"]}
    text = ", ".join(f"{_short(name)}{rate(value)}" for name, value in values.items())
    return f"{text} (edge)" if row.at_edge else text


def _short(name: str) -> str:
    """The name of a hyperparameter, to precede its value; empty for the learning rate."""
    return "" if name == "learning_rate" else f"{name} "


def count(number: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def in_short(found: Summary, reference: str) -> str:
    """One line: an optimizer's geometric mean ratio with its interval, and the share of tasks on which it is faster."""
    text = f"{found.optimizer}: geometric mean of final loss / {reference}'s {ratio(found.geometric_ratio)}"
    if around := interval(found.geometric_interval):
        text += f", 95 % over tasks and seeds {around}"
    text += f"; faster than tuned {reference} on {percent(found.share_faster)} of the tasks"
    return text if math.isnan(found.share_fast) else f"{text}, by 4x on {percent(found.share_fast)}"


def finding(found: Summary, rows: list[Row], reference: str, stretch: int) -> str:
    """The result of an optimizer against the tuned reference, in sentences without their subject."""
    mine = [row for row in rows if row.optimizer == found.optimizer]
    wins, ties, losses = found.record
    text = (
        f"ended below tuned {reference}'s final training loss on {wins} of {count(len(mine), 'task')}, "
        f"within 1 % of it on {ties}, above it on {losses}"
    )
    reached = [row.speed_up for row in mine if row.speed_up > 0]
    if reached:
        text += f". It got to that loss at some time on {len(reached)}, there with a median speed-up of "
        text += f"{np.median(reached):.2f}x in steps"
    if math.isfinite(found.geometric_ratio):
        change = 100 * (found.geometric_ratio - 1)
        size = f"{abs(change):.1f} % {'below' if change < 0 else 'above'}" if abs(change) >= 0.05 else "level with"
        text += f". Its final loss was {size} tuned {reference}'s on average (geometric mean over tasks)"
    diverged = count(found.num_diverged, "run").capitalize() if found.num_diverged else "No run"
    return f"{text}. {diverged} diverged."


def failures(results: Results, rows: list[Row]) -> list[str]:
    """A line for each reported run that diverged, and for each chosen learning rate at the edge of those tried."""
    lines = []
    for row in rows:
        entry = results.entry(row.task, row.optimizer)
        for curve in entry.reported:
            if scores.diverged(curve.train_loss):
                broken = np.flatnonzero(~np.isfinite(curve.train_loss))
                how = (
                    f"its loss was no number from step {broken[0] + 1}"
                    if len(broken)
                    else f"it ended at {number(float(scores.final_loss(curve.train_loss)))}, "
                    f"from {number(float(curve.train_loss[0]))}"
                )
                lines.append(f"{row.task}, {row.optimizer}, seed {curve.seed}: {how}.")
        if row.at_edge:
            best = rate(dict(row.hyperparameters)["learning_rate"])
            lines.append(
                f"{row.task}, {row.optimizer}: the best learning rate, {best}, is the last that was tried; a better "
                "one may lie outside."
            )
    return lines


def clock(results: Results) -> str:
    """How the times were measured, in sentences."""
    paces = results.paces
    num_clocked = len({pace.task for pace in paces})
    if not num_clocked:
        return "By the clock of the machine that ran this, whatever else it was doing."
    where = "" if num_clocked == len(results.tasks) else f"On {num_clocked} of {count(len(results.tasks), 'task')}: "
    least = min(1.0, *(pace.core_share for pace in paces))  # the share may exceed 1 a little, as two clocks differ
    text = (
        f"{where}measured on one core, the optimizers in turns, the least of several repetitions; "
        f"the process had {percent(least)} of the core or more."
    )
    return text[0].upper() + text[1:]


def duels(results: Results) -> list[tuple[str, list[Record | None]]]:
    """(learned optimizer, its record against each optimizer in the order of the report); None against itself.

    Records count wins, ties and losses over tasks and seeds.
    """
    return [
        (name, [None if other == name else _duel(results, name, other) for other in results.optimizers])
        for name in results.learned
    ]


def _duel(results: Results, optimizer: str, other: str) -> Record:
    """The record of one optimizer against another over all tasks and seeds."""
    mine, theirs = (
        np.concatenate([scores.final_loss(results.entry(task, name).train_loss) for task in results.tasks])
        for name in (optimizer, other)
    )
    return scores.compare(mine, theirs)
