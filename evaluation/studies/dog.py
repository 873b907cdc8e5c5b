"""DoG (2302.12022): SGD whose step size is the distance from the start over the root of summed squared gradients."""

import dataclasses

import numpy as np

from evaluation.iterate_runs import iterate_runs
from evaluation.studies import dog_pictures
from evaluation.studies.bench import Bench
from evaluation.studies.dog_tasks import (
    BATCH_NORM,
    BATCH_NORM_REPS,
    FREE,
    LARGE_REPS,
    REFERENCE,
    REPS,
    SQUARES,
    SWEPT,
    TAILS,
    TASKS,
    TUNED,
    Losses,
)
from evaluation.studies.study import Criterion, Findings, Study, Table
from evaluation.tuning import as_setting
from tasks.family import TaskFamily

ENOUGH_STEPS = 500


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoG(Study):
    """Compares DoG, L-DoG and T-DoG, with and without averaging, with tuned SGD and Adam."""

    name, title, paper = "dog", "DoG: SGD without a learning rate", "2302.12022"
    claim = (
        "With averaged iterates DoG comes within 5 % of SGD with a tuned rate and cosine decay, within 1 % on convex "
        "problems; its first distance estimate hardly matters; and T-DoG's iterates are bounded with high probability."
    )

    tasks: tuple[str, ...] = tuple(TASKS)
    """Names in `evaluation.studies.dog_tasks.TASKS`."""
    num_seeds: int = 3
    """Number of seeds, each with its own task draw, initialisation and data order."""
    num_steps: int = 1000
    """Training steps of every run."""
    num_rates: int = 15
    """Number of learning rates of SGD and Adam, half a decade apart."""
    num_decades: int = 7
    """Number of first distance estimates from 1e-8 on, a decade apart."""

    def __post_init__(self):
        if not self.tasks or set(self.tasks) - set(TASKS):
            raise ValueError(f"DoG: tasks must be some of {', '.join(TASKS)}, got {', '.join(self.tasks)}")
        if self.num_rates < 2 or self.num_seeds < 1 or self.num_steps < 10 or self.num_decades < 2:
            raise ValueError("DoG: needs 2 rates, 1 seed, 10 steps and 2 decades at least")

    @classmethod
    def quick(cls):
        return cls(tasks=("logistic_digits", "least_squares"), num_seeds=2, num_steps=60, num_rates=3, num_decades=3)

    def run(self, bench: Bench) -> Findings:
        losses = {name: self._losses(bench, name) for name in self.tasks}
        sweeps = {name: self._sweep(bench, name) for name in SWEPT if name in self.tasks}
        reds = {name: found.best(REFERENCE) / found.free["dog"][1] - 1 for name, found in losses.items()}
        bound_criteria, bound_table = self._bound(bench)
        return Findings(
            ran=(
                f"{len(self.tasks)} tasks, {self.num_steps} steps, {self.num_seeds} seeds: DoG, L-DoG and T-DoG, and "
                f"SGD, SGD with momentum (constant and cosine) and Adam (cosine) at {self.num_rates} rates, each at "
                "its last iterate and at the polynomial average. Losses are those of the validation split."
            ),
            criteria=(
                *self._judge_reds(reds),
                self._judge_single_rate(losses),
                *self._judge_sweeps(sweeps, losses),
                *self._judge_averages(losses),
                *self._judge_batch_norm(bench),
                *bound_criteria,
            ),
            drawings=(
                dog_pictures.losses_drawing(losses),
                *(dog_pictures.sweep_drawing(name, self.reps, found) for name, found in sweeps.items()),
                *(dog_pictures.steps_drawing(name, self.reps, found) for name, found in sweeps.items()),
            ),
            tables=(dog_pictures.losses_table(losses, self.rates), bound_table),
            notes=NOTES,
        )

    # What is measured.

    @property
    def rates(self) -> np.ndarray:
        """[num_rates] learning rates of SGD and Adam, half a decade apart, the largest 10."""
        return 10.0 ** (1 - 0.5 * np.arange(self.num_rates)[::-1])

    @property
    def reps(self) -> np.ndarray:
        """[num_decades] first distance estimates, divided by 1 + |x_0|."""
        return 10.0 ** (-8.0 + np.arange(self.num_decades))

    def _runs(self, bench: Bench, family: TaskFamily, optimizer: str, name: str, values) -> dict[str, np.ndarray]:
        return bench.record(
            iterate_runs, family=family, optimizer=optimizer, num_seeds=self.num_seeds, num_steps=self.num_steps,
            settings=tuple(as_setting({name: float(f"{value:.6g}")}) for value in values),
        )  # fmt: skip

    def _losses(self, bench: Bench, name: str) -> Losses:
        task = TASKS[name]

        def points(optimizer: str, hyperparameter: str, values) -> np.ndarray:
            found = self._runs(bench, task.family, optimizer, hyperparameter, values)
            both = np.stack([found["last"], found["average"]])
            return np.where(np.isfinite(both), both, np.inf)

        tuned = {optimizer: points(optimizer, "learning_rate", self.rates) for optimizer in TUNED}
        free = {optimizer: points(optimizer, "reps_rel", [task.reps])[:, 0] for optimizer in FREE}
        return Losses(tuned, free)

    def _sweep(self, bench: Bench, name: str) -> dict[str, np.ndarray]:
        return self._runs(bench, TASKS[name].family, "dog", "reps_rel", self.reps)

    # What is judged.

    def _judge_reds(self, reds: dict[str, np.ndarray]) -> list[Criterion]:
        convex = [np.abs(red) for name, red in reds.items() if TASKS[name].is_convex]
        others = [np.abs(red) for name, red in reds.items() if not TASKS[name].is_convex]
        criteria = []
        if convex:
            median = float(np.median(np.concatenate(convex)))
            criteria.append(
                Criterion(
                    "convex: median |relative difference| of tuned SGD with cosine decay to averaged DoG at most 1 %",
                    "at most 1 %", f"{median:.2%}", self._if_enough(median <= 0.01),
                )
            )  # fmt: skip
        if others:
            share = float(np.mean(np.concatenate(others) <= 0.05))
            criteria.append(
                Criterion(
                    "networks: |relative difference| at most 5 % in 80 % of runs", "rarely over 5 %",
                    f"in {share:.0%} of runs", self._if_enough(share >= 0.8),
                )
            )  # fmt: skip
        return criteria

    def _judge_single_rate(self, losses: dict[str, Losses]) -> Criterion:
        """Compares SGD at its single best rate for all tasks with DoG, each by its worst loss relative to tuned SGD."""
        tuned = np.stack([found.tuned[REFERENCE][0].mean(axis=1) for found in losses.values()])  # [tasks, rates]
        best = tuned.min(axis=1, keepdims=True)
        worst = (tuned / best - 1).max(axis=0)
        dog = np.array([found.free["dog"][1].mean() for found in losses.values()])
        worst_dog = float((dog / best[:, 0] - 1).max())
        rate = self.rates[int(np.argmin(worst))]
        return Criterion(
            "SGD's single best rate over all tasks is further from tuned SGD, on its worst task, than averaged DoG",
            "a single rate is worse",
            f"SGD {worst.min():+.0%} at rate {rate:.2g}, DoG {worst_dog:+.0%}",
            self._if_enough(bool(worst.min() > worst_dog)),
        )

    def _judge_sweeps(self, sweeps: dict[str, dict[str, np.ndarray]], losses: dict[str, Losses]) -> list[Criterion]:
        criteria = []
        for name, found in sweeps.items():
            averages = found["average"].mean(axis=1)
            close = averages <= 1.05 * averages.min()
            longest = _longest(close) - 1
            ends = _plateau(found["step_sizes"])
            best = self.rates[int(np.argmin(losses[name].tuned["sgd"][0].mean(axis=1)))]
            inside = ends[close]
            spread = float(inside.max() / inside.min())
            factor = float(np.exp(np.abs(np.log(np.median(inside) / best))))
            criteria += [
                Criterion(
                    f"{name}: validation loss moves by 5 % at most over 4 decades of the first distance estimate",
                    "robust over decades", f"over {longest} decades", self._if_enough(longest >= 4),
                ),
                Criterion(
                    f"{name}: the step sizes of these estimates end within a factor of 2 of each other",
                    "the same plateau", f"factor {spread:.2f}", self._if_enough(spread <= 2),
                ),
                Criterion(
                    f"{name}: the plateau is within a factor of 3 of SGD's best constant rate", "close to it",
                    f"{np.median(inside):.2g} and {best:.2g}", self._if_enough(factor <= 3),
                ),
            ]  # fmt: skip
        return criteria

    def _judge_averages(self, losses: dict[str, Losses]) -> list[Criterion]:
        gains = np.concatenate(
            [found.free[name][1] < found.free[name][0] for found in losses.values() for name in ("dog", "ldog")]
        )
        criteria = [
            Criterion(
                "DoG and L-DoG: the average beats the last iterate in 80 % of runs", "it should be averaged",
                f"in {gains.mean():.0%}", self._if_enough(bool(gains.mean() >= 0.8)),
            )
        ]  # fmt: skip
        layers = [
            found.free["ldog"][1].mean() <= found.free["dog"][1].mean()
            for name, found in losses.items()
            if not TASKS[name].is_convex
        ]
        if layers:
            criteria.append(
                Criterion(
                    "networks: averaged L-DoG is at or below averaged DoG on half of them", "L-DoG usually better",
                    f"on {sum(layers)} of {len(layers)}", self._if_enough(2 * sum(layers) >= len(layers)),
                )
            )  # fmt: skip
        return criteria

    def _judge_batch_norm(self, bench: Bench) -> list[Criterion]:
        if BATCH_NORM not in self.tasks:
            return []
        steps = self._runs(bench, TASKS[BATCH_NORM].family, "dog", "reps_rel", [REPS, BATCH_NORM_REPS])["step_sizes"]
        at = min(300, self.num_steps - 1)
        growth = np.median(steps[:, :, at] / steps[:, :, 0], axis=1)
        return [
            Criterion(
                "batch norm: with 1e-6 the step size is within 10x of its start after 300 steps, with 1e-4 it is not",
                "1e-6 stalls, 1e-4 cures", f"{growth[0]:.3g}x and {growth[1]:.3g}x",
                self._if_enough(bool(growth[0] <= 10 < growth[1])),
            )
        ]  # fmt: skip

    def _bound(self, bench: Bench) -> tuple[list[Criterion], Table]:
        """T-DoG's distances from the start and step sizes on least squares, with normal and heavy-tailed noise."""
        radius = float(np.linalg.norm(SQUARES.solution()))
        rows, distances = [], []
        steps = {}
        for tails, family in (("normal", SQUARES), ("heavy", TAILS)):
            for optimizer in ("dog", "tdog"):
                for reps in (REPS, LARGE_REPS):
                    found = self._runs(bench, family, optimizer, "reps_rel", [reps])
                    far = found["distance"][0] / radius
                    if optimizer == "tdog":
                        distances.append(far.max())
                    steps[tails, optimizer, reps] = np.median(found["step_sizes"])
                    rows.append((tails, optimizer, f"{reps:g}", f"{far.max():.3g}", f"{found['last'].mean():.3g}"))
        ratio = steps["normal", "dog", REPS] / steps["normal", "tdog", REPS]
        criteria = [
            Criterion(
                "least squares: T-DoG never is further from x_0 than 3 |x_0 - x*|, in every seed, heavy tails included",
                "3 |x_0 - x*| with high probability", f"{max(distances):.3g} |x_0 - x*| at most",
                bool(max(distances) <= 3),
            ),
            Criterion(
                "least squares: T-DoG's steps are 100 times smaller than DoG's at least", "much smaller",
                f"{ratio:.3g} times", bool(ratio >= 100),
            ),
        ]  # fmt: skip
        columns = ("noise", "optimizer", "reps_rel", "greatest distance / |x_0 - x*|", "validation loss")
        return criteria, Table("bound", "Distances from the start on least squares", columns, tuple(rows))

    def _if_enough(self, met: bool) -> bool | None:
        """`met`, or None if runs are too short for DoG to get from its first estimate to its plateau."""
        return bool(met) if self.num_steps >= ENOUGH_STEPS else None


def _longest(flags: np.ndarray) -> int:
    """Length of the longest run of true values."""
    longest = current = 0
    for flag in flags:
        current = current + 1 if flag else 0
        longest = max(longest, current)
    return longest


def _plateau(step_sizes: np.ndarray) -> np.ndarray:
    """[settings] median step size over the last tenth of the steps and over seeds."""
    return np.median(step_sizes[..., -max(1, step_sizes.shape[-1] // 10) :], axis=(1, 2))


NOTES = (
    "The paper fine-tunes transformers and convolutional networks of up to hundreds of millions of weights; here the "
    "tasks train in seconds, on scikit-learn's digits and the standard library's source. Differences are of validation "
    "losses, not of error rates: 359 digits resolve an error of 5 % in steps of 5 %.",
    "Rates are chosen on the validation losses that are then reported, which favours SGD and Adam.",
    "Below 1e-7 a first step is lost in the rounding of weights of single precision, so that DoG can't start; the "
    "paper goes down to 1e-8.",
    "The paper's theorem is of convex losses with gradients that are bounded at every point; the greatest norm so far "
    "stands in for that bound.",
)
