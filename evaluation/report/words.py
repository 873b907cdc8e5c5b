"""Numbers and findings in words, the same in the terminal and on the page."""

import math

import numpy as np

from evaluation import scores
from evaluation.results import Results, Row
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
    """`low to high`; empty where there is none."""
    if math.isnan(value.low) or math.isnan(value.high):
        return ""
    return f"{number(value.low)} to {number(value.high)}"


def ratio(value: float) -> str:
    return f"{number(value)}x" if math.isfinite(value) else number(value)


def speed_up(value: float) -> str:
    return NEVER if value == 0 else ratio(value)


def speed_up_interval(value: Interval) -> str:
    """Empty where there is none; a low end of 0 says that some resamples never reach the loss."""
    if math.isnan(value.low) or value.low == value.high == 0:
        return ""
    return f"{'never' if value.low == 0 else number(value.low)} to {number(value.high)}"


def envelope_speed_up(value: float) -> str:
    if math.isinf(value):
        return "> 1x"
    return "diverged" if value == 0 else ratio(value)


def rate(value: float) -> str:
    """A learning rate: `3.7e-4`."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def hyperparameters(row: Row) -> str:
    if not row.hyperparameters:
        return "none"
    return ", ".join(f"{rate(value)}{' (edge of the grid)' if row.at_edge else ''}" for _, value in row.hyperparameters)


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def finding(rows: list[Row], optimizer: str, reference: str) -> str:
    """How a learned optimizer did against the tuned reference, without its name."""
    mine = [row for row in rows if row.optimizer == optimizer]
    theirs = [row for row in rows if row.optimizer == reference]
    record = scores.compare(
        np.array([row.train_loss for row in mine]), np.array([row.train_loss for row in theirs])
    )  # fmt: skip
    text = (
        f"ended below tuned {reference}'s final training loss on {record.wins} of {count(len(mine), 'task')}, "
        f"within 1 % of it on {record.ties}, above it on {record.losses}"
    )
    reached = [row.speed_up for row in mine if row.speed_up > 0]
    if reached:
        text += f". It got to that loss at some time on {len(reached)}, there with a median speed-up of "
        text += f"{np.median(reached):.2f}x in steps"
    ratios = np.array([row.ratio for row in mine])
    if np.isfinite(ratios).all():
        change = 100 * (float(np.exp(np.mean(np.log(ratios)))) - 1)
        size = f"{abs(change):.1f} % {'below' if change < 0 else 'above'}" if abs(change) >= 0.05 else "level with"
        text += f". Its final loss was {size} tuned {reference}'s on average (geometric mean over tasks)"
    num_diverged = sum(row.num_diverged for row in mine)
    return f"{text}. {count(num_diverged, 'run').capitalize() if num_diverged else 'No run'} diverged."


def duels(results: Results) -> list[tuple[str, list[Record | None]]]:
    """(learned optimizer, its record against each optimizer in their order) over tasks and seeds; None for itself."""
    return [
        (name, [None if other == name else _duel(results, name, other) for other in results.optimizers])
        for name in results.learned
    ]


def _duel(results: Results, optimizer: str, other: str) -> Record:
    mine, theirs = (
        np.concatenate([scores.final_loss(results.entry(task, name).train_loss) for task in results.tasks])
        for name in (optimizer, other)
    )
    return scores.compare(mine, theirs)
