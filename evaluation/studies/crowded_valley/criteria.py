"""Criteria for reproducing the benchmark's results, and tables of the results."""

from collections.abc import Iterator, Sequence

import numpy as np

from evaluation.studies.crowded_valley import published, scores
from evaluation.studies.crowded_valley.problems import QUADRATIC
from evaluation.studies.crowded_valley.search import UNTUNED, Found
from evaluation.studies.study import Criterion, Table
from velo.shapes import Float

TOLERANCE = 0.01
"""Relative tolerance of P1's losses."""
ENOUGH_OPTIMIZERS, ENOUGH_DRAWS, ENOUGH_PROBLEMS = 14, 25, 4
"""With fewer, criteria over all problems have no verdict."""


def of_quadratic(found: Found, budgets: Sequence[int]) -> Iterator[Criterion]:
    """Compares P1 without a schedule with the benchmark's log."""
    here = {name: found.typical(name, "none", UNTUNED) for name, _, budget in found.reported if budget == UNTUNED}
    compared = [name for name in published.COMPARED if name in here]
    off = {name: here[name] / published.FINAL_LOSSES[name] - 1 for name in compared}
    yield Criterion(
        "P1: untuned SGD, Adam, Nadam, AdaBound, Adagrad and Adadelta end within 1 % of the log",
        ", ".join(f"{name} {published.FINAL_LOSSES[name]:.2f}" for name in compared),
        ", ".join(f"{name} {here[name]:.2f} ({off[name]:+.2%})" for name in compared),
        all(abs(value) <= TOLERANCE for value in off.values())
        if len(compared) == len(published.COMPARED)
        else None,
    )  # fmt: skip
    known = [name for name in published.FINAL_LOSSES if name in here]
    if len(known) > 2:

        def correlation(names: Sequence[str]) -> float:
            losses = [published.FINAL_LOSSES[name] for name in names]
            return scores.rank_correlation(np.array(losses), np.array([here[name] for name in names]))

        same_data = [name for name in known if name not in published.OTHER_DATA]
        yield Criterion(
            "P1: the untuned optimizers' ranks correlate with those of the log by .9",
            "1 by definition",
            f"{correlation(known):.2f} of {len(known)}; {correlation(same_data):.2f} of the {len(same_data)} whose "
            "logs are of the same data",
            correlation(known) >= 0.9 if len(known) == len(published.FINAL_LOSSES) else None,
        )
    if 75 in budgets and "adam" in here:
        tuned = found.typical("adam", "none", 75)
        yield Criterion(
            "P1: Adam at the best of 75 draws ends within 1 % of the log",
            f"{published.TUNED_ADAM:.2f}, where SGD as it comes has {published.FINAL_LOSSES['sgd']:.2f}",
            f"{tuned:.2f} ({tuned / published.TUNED_ADAM - 1:+.2%})",
            abs(tuned / published.TUNED_ADAM - 1) <= TOLERANCE,
        )


def median_improvements(
    found: dict[str, Found], optimizers: Sequence[str], schedule: str, budget: int
) -> Float[np.ndarray, "untuned tuned"]:
    """Median over the problems of `scores.improvements`."""
    return np.median(
        [
            scores.improvements(*(
                np.array([one.typical(name, schedule, size) for name in optimizers]) for size in (UNTUNED, budget)
            ))
            for one in found.values()
        ],
        axis=0,
    )  # fmt: skip


def of_all(found: dict[str, Found], optimizers: Sequence[str], schedule: str, budget: int) -> Iterator[Criterion]:
    """The benchmark's claims over all problems, under one schedule and one budget."""
    enough = len(optimizers) >= ENOUGH_OPTIMIZERS and budget >= ENOUGH_DRAWS
    matrix = median_improvements(found, optimizers, schedule, budget)
    rows = int((np.median(matrix, axis=1) > 0).sum())
    yield Criterion(
        "tuning improves on an untuned optimizer, in the median of the tuned ones, in 12 of 14 rows",
        "improves in almost all",
        f"in {rows} of {len(optimizers)}",
        bool(rows >= 12 / 14 * len(optimizers)) if enough else None,
    )
    diagonal = np.diag(matrix)
    others = matrix[~np.eye(len(matrix), dtype=bool)]
    low, high = np.quantile(diagonal, [0.25, 0.75])
    typical = float(np.median(others)) if len(others) else 0.0
    yield Criterion(
        "another tuned optimizer improves on an untuned one as much as its own tuning does, within the quartiles",
        "about equally",
        f"another {typical:.1%}; its own {np.median(diagonal):.1%} ({low:.1%} to {high:.1%})",
        bool(typical >= low) if enough else None,
    )
    reached = []
    for one in found.values():
        tuned = np.array([one.typical(name, schedule, budget) for name in optimizers])
        pick = min(optimizers, key=lambda name: one.untuned_choice[name, schedule])
        reached.append(bool(one.typical(pick, schedule, UNTUNED) <= scores.median_interval(tuned)[1]))
    yield Criterion(
        f"the best of {len(optimizers)} untuned optimizers reaches the median tuned one, within its 95 % interval, on "
        "half of the problems",
        "about as good as tuning one",
        f"on {sum(reached)} of {len(reached)}",
        2 * sum(reached) >= len(reached) if enough else None,
    )
    metrics = np.array([[one.typical(name, schedule, budget) for name in optimizers] for one in found.values()])
    winners = [optimizers[int(row.argmin())] for row in metrics]
    most = max(winners.count(name) for name in winners)
    enough = enough and len(found) >= ENOUGH_PROBLEMS
    yield Criterion(
        "no tuned optimizer is first on more than half of the problems",
        "no clear winner",
        ", ".join(f"{name} on {winners.count(name)}" for name in dict.fromkeys(winners)),
        2 * most <= len(winners) if enough else None,
    )
    if "adam" in optimizers:
        close = int((metrics[:, list(optimizers).index("adam")] <= 1.05 * metrics.min(axis=1)).sum())
        yield Criterion(
            "tuned Adam is within 5 % of the best on half of the problems",
            "remains a strong contender",
            f"on {close} of {len(metrics)}",
            2 * close >= len(metrics) if enough else None,
        )
    ours = np.array([np.median(one.velo) for one in found.values()])
    below = int((ours <= np.median(metrics, axis=1)).sum())
    yield Criterion(
        "ours: VeLO, untuned, is at or below the median of the tuned optimizers on half of the problems",
        "no claim of the paper",
        f"on {below} of {len(ours)}",
        2 * below >= len(ours) if enough else None,
    )


def table_of_quadratic(found: Found) -> Table:
    """P1 without tuning or schedule beside all entries of the log, also those of other data."""
    rows = []
    for name, loss in published.FINAL_LOSSES.items():
        if (name, "none", UNTUNED) in found.reported:
            losses = found.reported[name, "none", UNTUNED]
            note = "of other data" if name in published.OTHER_DATA else ""
            rows.append(
                (name, f"{loss:.2f}", f"{np.median(losses):.2f}", f"{losses.min():.2f} to {losses.max():.2f}",
                 f"{np.median(losses) / loss - 1:+.2%}", note)
            )  # fmt: skip
    columns = ("optimizer", "log, one seed", "here, median", "seeds", "difference", "the log is")
    return Table("quadratic_deep", f"{QUADRATIC}: test losses, untuned", columns, tuple(rows))


def table_of_all(found: dict[str, Found], schedules: Sequence[str], budgets: Sequence[int]) -> Table:
    """Median metrics of every optimizer on every problem, under every schedule and budget."""
    rows = []
    for problem, one in found.items():
        for schedule in schedules:
            names = [name for name, other, budget in one.reported if (other, budget) == (schedule, UNTUNED)]
            for name in names:
                values = [one.typical(name, schedule, budget) for budget in (UNTUNED, *budgets)]
                rows.append((problem, schedule, name, *(f"{value:.4g}" for value in values)))
        rows.append((problem, "", "velo", f"{np.median(one.velo):.4g}", *("" for _ in budgets)))
    columns = ("problem", "schedule", "optimizer", "untuned", *(f"best of {budget}" for budget in budgets))
    return Table("metrics", "Final test loss or error rate, median over the seeds", columns, tuple(rows))
