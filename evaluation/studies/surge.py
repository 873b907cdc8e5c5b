"""Surge (2405.14578): with sign-like optimizers the best learning rate rises with the batch size, peaks, and falls."""

import dataclasses
from typing import Any

import numpy as np

from evaluation import baselines, rate_laws, rate_probe, sign_descent
from evaluation.report.charts import Series, chart
from evaluation.report.drawing import BASELINE_COLORS, LEARNED_COLORS, REFERENCE_COLOR, Drawing
from evaluation.settings import Contender, Evaluation
from evaluation.studies import surge_findings
from evaluation.studies.bench import Bench
from evaluation.studies.study import Criterion, Findings, Study
from evaluation.studies.surge_findings import RULES, Measured, Rule
from evaluation.tuning import LogGrid
from tasks.families.conv_classifier import ConvClassifier
from tasks.families.mlp_classifier import MLPClassifier
from tasks.family import TaskFamily
from tasks.fixed import FixedTask
from tasks.wrappers.undisturbed import Undisturbed
from velo.transformation import resolve_weights

NETWORKS = {
    "mlp": MLPClassifier(dataset="digits", widths=(32, 32)),
    "conv": ConvClassifier(dataset="digits", channels=(6, 12, 12, 12)),
}
"""Networks by name. `conv` has the paper's five layers and takes ten times as long."""
ORIGIN_RATE = 1e-3
ORIGIN_BATCH = 64
TIE = 1.05
"""Ratio of VeLO's loss to Adam's up to which VeLO counts as equal."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surge(Study):
    """Measures an exactly solvable layer, a small network under three optimizers, and VeLO in comparison."""

    name, title, paper = "surge", "The best learning rate over batch sizes", "2405.14578"
    claim = (
        "For Adam and other sign-like optimizers the best learning rate rises with the square root of the batch size, "
        "peaks at B_noise, and falls beyond; the peak moves to larger batches as the loss falls. For SGD it saturates."
    )

    network: str = "mlp"
    """mlp or conv."""
    rules: tuple[str, ...] = tuple(RULES)
    """Optimizers: sign, adam, sgd."""
    batch_sizes: tuple[int, ...] = (2, 8, 32, 128, 512, 2048)
    """Batch sizes of the network, rising."""
    num_rates: int = 12
    """Number of log-spaced learning rates."""
    targets: tuple[float, ...] = (0.6, 0.3, 0.15)
    """Training losses to reach, falling."""
    num_seeds: int = 3
    """Initialisations of the network, each with its own data order."""
    num_rounds: int = 16
    """Data orders behind each best rate for small batches; large batches, whose gradients vary less, use fewer."""
    probe_steps: int = 10
    """Steps at every rate from the state at a target: the paper's k."""
    settle_steps: int = 100
    """Steps at a rate of zero before the probe steps, in which Adam's averages settle."""
    max_examples: int = 20_000
    """A run that doesn't reach the targets ends after this many examples, or after 400 steps if that is later."""
    judge_size: int = 1024
    """Number of training examples on which losses are measured."""
    num_samples: int = 100_000
    """Simulated steps of the exact layer, for each batch size."""
    exact_batch_sizes: tuple[int, ...] = tuple(2**power for power in range(13))
    """Batch sizes of the exact layer."""
    fixed_batch_sizes: tuple[int, ...] = (4, 32, 256, 1024)
    """Batch sizes at which VeLO and Adam train for the same number of steps."""
    fixed_steps: int = 200
    """Training steps of VeLO and Adam in that comparison."""

    def __post_init__(self):
        if self.network not in NETWORKS:
            raise ValueError(f"Surge: network must be one of {', '.join(NETWORKS)}, got {self.network!r}")
        if not self.rules or set(self.rules) - set(RULES):
            raise ValueError(f"Surge: rules must be some of {', '.join(RULES)}, got {', '.join(self.rules)}")
        for name, least in (("batch_sizes", 3), ("targets", 1), ("exact_batch_sizes", 3), ("fixed_batch_sizes", 1)):
            if len(getattr(self, name)) < least:
                raise ValueError(f"Surge: {name} must have {least} entries at least, got {getattr(self, name)}")
        for name in ("batch_sizes", "exact_batch_sizes", "fixed_batch_sizes"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"Surge: {name} must be at least 1, got {getattr(self, name)}")
        if list(self.targets) != sorted(self.targets, reverse=True):
            raise ValueError(f"Surge: targets must fall, got {self.targets}")

    @classmethod
    def quick(cls):
        return cls(
            rules=("sign", "sgd"), batch_sizes=(4, 32, 256), num_rates=4, targets=(1.2, 0.8), num_seeds=2,
            num_rounds=2, max_examples=4000, num_samples=20_000, fixed_batch_sizes=(16,), fixed_steps=50,
        )  # fmt: skip

    def family(self, batch_size: int) -> TaskFamily:
        """The network at a batch size, on its data as stored."""
        return Undisturbed(dataclasses.replace(NETWORKS[self.network], batch_size=batch_size))

    def run(self, bench: Bench) -> Findings:
        exact_criteria, exact_drawing = self._exact(bench)
        measured = [self._measure(bench, RULES[name]) for name in self.rules]
        laws = {found.rule.label: surge_findings.fit_laws(found) for found in measured}
        fixed_criteria, fixed_drawing = self._fixed(bench)
        criteria = list(exact_criteria)
        for found in measured:
            criteria += surge_findings.judge(found, laws[found.rule.label])
        return Findings(
            ran=(
                f"The exact layer: one step of sign descent on a quadratic, {self.num_samples:,} times for each batch "
                f"size. The network ({self.network}, digits): {self.num_rates} rates, batches of "
                f"{self.batch_sizes[0]} to {self.batch_sizes[-1]}, {self.num_seeds} seeds, targets "
                f"{', '.join(map(str, self.targets))}; the best rate is that of the greatest fall of the training loss "
                f"over {self.probe_steps} steps. VeLO and Adam at its best rate train for {self.fixed_steps} steps."
            ),
            criteria=(*criteria, *fixed_criteria),
            drawings=(
                exact_drawing,
                *(surge_findings.rates_drawing(found, laws[found.rule.label]) for found in measured),
                *(surge_findings.steps_drawing(found, laws[found.rule.label]) for found in measured),
                fixed_drawing,
            ),
            notes=NOTES,
        )

    # The exact layer.

    def _exact(self, bench: Bench) -> tuple[list[Criterion], Drawing]:
        problem = sign_descent.coupled_quadratic()
        sizes = np.array(self.exact_batch_sizes, float)
        simulated = bench.record(
            sign_descent.simulated_rates,
            problem_seed=0, batch_sizes=self.exact_batch_sizes, num_samples=self.num_samples,
        )["rates"]  # fmt: skip
        exact, rooted = (
            np.array([sign_descent.best_rate(problem, signs(problem, size)) for size in sizes])
            for signs in (sign_descent.exact_signs, sign_descent.approximate_signs)
        )
        peak_rate, noise_batch = sign_descent.small_batch_law(problem)
        law = peak_rate * rate_laws.surge(sizes, noise_batch)
        of_exact, of_rooted = (np.abs(simulated / other - 1).max() for other in (exact, rooted))
        steps = abs(int(np.argmax(simulated)) - int(np.argmin(np.abs(np.log(sizes / noise_batch)))))
        criteria = [
            Criterion(
                "exact layer: simulated best rates within 5 % of the form with erf, at all batch sizes",
                "exact", f"{of_exact:.1%} at most", bool(of_exact <= 0.05),
            ),
            Criterion(
                "exact layer: within 15 % of the paper's form with square roots",
                "approximate", f"{of_rooted:.1%} at most", bool(of_rooted <= 0.15),
            ),
            Criterion(
                "exact layer: the peak within one batch size of B_noise", "peak at B_noise",
                f"peak at {sizes[np.argmax(simulated)]:.0f}, B_noise {noise_batch:.0f}", steps <= 1,
            ),
        ]  # fmt: skip
        series = [
            Series("simulated", sizes, simulated, style="points", color=REFERENCE_COLOR),
            Series("with erf", sizes, exact, color=BASELINE_COLORS[0], width=2.0),
            Series("with square roots", sizes, rooted, color=LEARNED_COLORS[0], style="dashed"),
            Series("small-batch law", sizes, law, color=BASELINE_COLORS[1], style="dotted"),
        ]
        return criteria, chart(
            "exact", "Exact layer: best rate of sign descent", "batch size", "best learning rate", series
        )

    # The network.

    def _measure(self, bench: Bench, rule: Rule) -> Measured:
        rates = tuple(float(f"{rate:.6g}") for rate in np.geomspace(rule.low, rule.high, self.num_rates))
        shared: dict[str, Any] = {
            "judge": self.family(self.judge_size), "optimizer": rule.baseline, "setting": rule.setting,
            "rates": rates, "targets": self.targets, "num_seeds": self.num_seeds,
        }  # fmt: skip
        steps, best, by_seed = [], [], []
        for size in self.batch_sizes:
            found = bench.record(
                rate_probe.steps_to_targets, family=self.family(size), **shared,
                max_steps=max(400, self.max_examples // size), check_every=max(1, 64 // size),
            )["steps"]  # fmt: skip
            steps.append(found.mean(axis=2).min(axis=1))
            falls = bench.record(
                rate_probe.falls, family=self.family(size), **shared,
                origin=self.family(ORIGIN_BATCH), origin_rate=ORIGIN_RATE,
                settle_steps=self.settle_steps if rule.settles else 0, probe_steps=self.probe_steps,
                num_rounds=max(2, min(self.num_rounds, 8 * self.num_rounds // size)),
            )["falls"]  # fmt: skip
            best.append([rate_laws.refined_argmax(np.array(rates), row) for row in falls.mean(axis=2)])
            by_seed.append([[rate_laws.refined_argmax(np.array(rates), one) for one in row.T] for row in falls])
        return Measured(
            rule, np.array(self.batch_sizes, float), self.targets, np.array(rates), np.array(steps), np.array(best),
            np.array(by_seed),
        )  # fmt: skip

    # VeLO, about which the paper claims nothing.

    def _fixed(self, bench: Bench) -> tuple[list[Criterion], Drawing]:
        """Compares VeLO and tuned Adam after the same number of steps at every batch size."""
        tasks = tuple(
            FixedTask(f"batch_{size}", self.family(size), self.fixed_steps) for size in self.fixed_batch_sizes
        )
        adam = Contender("adam", baselines.get("adam"), tuner=LogGrid(max(3, self.num_rates)))
        velo = Contender("velo", *resolve_weights("default"))
        results = bench.results(
            Evaluation(contenders=(velo, adam), tasks=tasks, num_seeds=self.num_seeds, stretch=1, num_checkpoints=1)
        )
        losses = {
            name: np.array([results.entry(task.name, name).valid_loss.mean() for task in tasks])
            for name in results.optimizers
        }
        entries = [results.entry(task.name, "adam") for task in tasks]
        final = np.array([[np.mean([curve.valid_loss[-1] for curve in trial]) for trial in entry.trials]
                          for entry in entries])  # fmt: skip
        final = np.where(np.isfinite(final), final, np.inf)
        relative = np.log(final / final.min(axis=1, keepdims=True)).mean(axis=0)
        single = int(np.argmin(relative))
        rates = entries[0].rates
        assert rates is not None
        sizes = np.array(self.fixed_batch_sizes, float)
        ratios = losses["velo"] / losses["adam"]
        wins = int(np.sum(ratios <= TIE))
        criterion = Criterion(
            f"ours: VeLO, without a rate, ends within {TIE - 1:.0%} of Adam at the best rate of each batch size "
            "or below, at every size",
            "no claim of the paper",
            f"at {wins} of {len(sizes)}; ratios {', '.join(f'{ratio:.2f}' for ratio in ratios)}",
            wins == len(sizes),
        )
        series = [
            Series("VeLO, no rate", sizes, losses["velo"], color=LEARNED_COLORS[0], width=2.0),
            Series("Adam, best rate of each size", sizes, losses["adam"], color=REFERENCE_COLOR),
            Series(
                f"Adam, one rate for all ({rates[single]:.2g})", sizes, final[:, single],
                color=REFERENCE_COLOR, style="dashed",
            ),
        ]  # fmt: skip
        drawing = chart(
            "fixed", f"Validation loss after {self.fixed_steps} steps", "batch size", "validation loss", series
        )
        return [criterion], drawing


NOTES = (
    "Data and network: the paper trains a CNN on FashionMNIST, ResNet18 on Tiny-ImageNet and a small GPT; here it is a "
    "network of scikit-learn's digits.",
    "The state from which best rates are measured: the paper's differ between batch sizes. Here all batch sizes start "
    "from the same parameters, of a run of Adam, so that nothing but the batch differs; Adam's averages settle at a "
    "rate of zero first. From states of each batch size's own fastest run the best rate follows how noisy that run "
    "was: a fast run hovers above its valley and asks for small rates.",
    "The observed peak is the B_noise at which Surge's law fits the measured rates best; the greatest of a dozen noisy "
    "rates is a poor estimate of where a flat top lies.",
)
