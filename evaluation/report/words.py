"""Numbers and findings in words, the same in the terminal and on the page."""

import math

import numpy as np

from evaluation import scores
from evaluation.results import Results, Row
from evaluation.scores import Interval

NEVER = "not reached"


def number(value: float) -> str:
    """Three significant digits; `diverged` for inf, a dash for nan."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "diverged"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:#.3g}".rstrip(".")
    return f"{value:.2e}"


def interval(value: Interval) -> str:
    """`low – high`; empty where there is none."""
    if math.isnan(value.low) or math.isnan(value.high):
        return ""
    return f"{number(value.low)} – {number(value.high)}"


def ratio(value: float) -> str:
    return f"{number(value)}×" if math.isfinite(value) else number(value)


def speed_up(value: float) -> str:
    return NEVER if value == 0 else ratio(value)


def speed_up_interval(value: Interval) -> str:
    """Empty where there is none; a low end of 0 says that some resamples never reach the loss."""
    if math.isnan(value.low) or value.low == value.high == 0:
        return ""
    return f"{'never' if value.low == 0 else number(value.low)} – {number(value.high)}"


def envelope_speed_up(value: float) -> str:
    if math.isinf(value):
        return "> 1×"
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


def summary(results: Results, rows: list[Row]) -> list[str]:
    """One paragraph for each learned optimizer against every baseline, counting over tasks and seeds."""
    return [_finding(results, rows, name) for name in results.learned]


def _finding(results: Results, rows: list[Row], optimizer: str) -> str:
    mine = [row for row in rows if row.optimizer == optimizer]
    reached = [row for row in mine if row.speed_up > 0]
    num_tasks = count(len(mine), "task")
    text = (
        f"{optimizer}, without any tuning, reached tuned {results.reference}'s final training loss "
        f"on {len(reached)} of {num_tasks}"
    )
    if reached:
        median = float(np.median([row.speed_up for row in reached]))
        text += f" (speed-up in steps: {median:.2f}×, the median of those)"
    ratios = np.array([row.ratio for row in mine])
    if np.isfinite(ratios).all() and (ratios > 0).all():
        mean = float(np.exp(np.mean(np.log(ratios))))
        direction = "lower" if mean < 1 else "higher"
        text += f"; over all tasks its final loss was {100 * abs(1 - mean):.0f} % {direction} (geometric mean)"
    text += ". "
    duels = [
        _duel(results, optimizer, other) for other in results.optimizers if other not in (optimizer, *results.learned)
    ]
    text += "Wins, ties and losses over tasks and seeds: " + "; ".join(duels) + "."
    num_diverged = sum(row.num_diverged for row in mine)
    if num_diverged:
        text += f" {count(num_diverged, 'run')} diverged."
    return text


def _duel(results: Results, optimizer: str, other: str) -> str:
    finals = [
        (scores.final_loss(results.entry(task, optimizer).train_loss),
         scores.final_loss(results.entry(task, other).train_loss))
        for task in results.tasks
    ]  # fmt: skip
    record = scores.compare(np.concatenate([a for a, _ in finals]), np.concatenate([b for _, b in finals]))
    tuned = "tuned " if results.entry(results.tasks[0], other).is_tuned else ""
    return f"{record.wins}-{record.ties}-{record.losses} against {tuned}{other}"
