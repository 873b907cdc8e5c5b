"""What the study of Surge derives from the measurements of one optimizer: laws, criteria, figures."""

from typing import NamedTuple

import numpy as np

from evaluation import rate_laws
from evaluation.report.charts import Series, chart
from evaluation.report.drawing import BASELINE_COLORS, Drawing
from evaluation.studies.study import Criterion

NUM_RESAMPLES = 2000
ENOUGH_SIZES = 6
"""With fewer batch sizes, criteria have no verdict."""


class Rule(NamedTuple):
    """An optimizer of the study."""

    label: str
    baseline: str
    setting: tuple[tuple[str, float], ...]
    low: float
    high: float  # rates are log-spaced from low to high
    settles: bool  # whether it has averages, which have to settle first


RULES = {
    "sign": Rule("sign descent", "adam", (("b1", 0.0), ("b2", 0.0)), 1e-4, 3e-2, False),
    "adam": Rule("Adam", "adam", (("b1", 0.9), ("b2", 0.999)), 2e-4, 6e-2, True),
    "sgd": Rule("SGD", "sgd", (), 4e-3, 8.0, False),
}
"""The paper's model of Adam (both decays zero), Adam, and the control."""


class Measured(NamedTuple):
    """The measurements of one rule."""

    rule: Rule
    sizes: np.ndarray  # [sizes] batch sizes
    targets: tuple[float, ...]
    rates: np.ndarray  # [rates]
    steps: np.ndarray  # [sizes, targets] steps to the target at the fastest rate
    best: np.ndarray  # [sizes, targets] best rates
    best_by_seed: np.ndarray  # [sizes, targets, seeds]


def fit_peak(batch_sizes: np.ndarray, rates: np.ndarray) -> float:
    """B_noise for which Surge's law fits best in logarithms, searched from half the least size to twice the largest."""
    candidates = np.geomspace(batch_sizes[0] / 2, 2 * batch_sizes[-1], 400)
    shapes = rate_laws.surge(batch_sizes[None], candidates[:, None])
    return float(candidates[int(np.argmin(np.std(np.log(rates[None] / shapes), axis=1)))])


def fit_laws(found: Measured) -> list[rate_laws.StepsLaw | None]:
    """The law of steps and examples at each target; None if too few batch sizes reached the target."""
    return [
        rate_laws.fit_steps(found.sizes, steps) if np.isfinite(steps).sum() >= 3 else None for steps in found.steps.T
    ]


def judge(found: Measured, laws: list[rate_laws.StepsLaw | None]) -> list[Criterion]:
    """Whether a rule's rates and steps follow the paper."""
    sizes = found.sizes
    label, factor = found.rule.label, found.rates[1] / found.rates[0]
    enough = len(sizes) >= ENOUGH_SIZES
    criteria = [_judge_line(label, laws, enough)]
    if found.rule.baseline == "sgd":
        gaps = [rates[1:] / np.maximum.accumulate(rates)[:-1] for rates in found.best.T]
        least = min(gap.min() for gap in gaps)
        return [
            *criteria,
            Criterion(
                f"{label}: best rates never fall by a grid step (factor {factor:.2g}) below an earlier one",
                "rises to saturation", f"least ratio {least:.2f}", bool(least > 1 / factor) if enough else None,
            ),
        ]  # fmt: skip
    rises = [np.log(rates.max() / rates[0]) / np.log(factor) for rates in found.best.T]
    falls = [np.log(rates.max() / rates[-1]) / np.log(factor) for rates in found.best.T]
    peaks = np.array([fit_peak(sizes, rates) for rates in found.best.T])
    criteria += [
        Criterion(
            f"{label}: best rate rises by 2 grid steps (factor {factor:.2g}) and falls by 1 beyond its peak, "
            "at every target",
            "rises, peaks, falls",
            "; ".join(f"+{up:.1f}, -{down:.1f}" for up, down in zip(rises, falls, strict=True)),
            bool(min(rises) >= 2 and min(falls) >= 1) if enough else None,
        ),
        _judge_laws(found, peaks, enough),
        _judge_peaks(found, peaks, enough),
    ]
    ratios = np.array([law.noise_batch for law in laws if law is not None]) / peaks[[bool(law) for law in laws]]
    criteria.append(
        Criterion(
            f"{label}: B_noise from steps and examples within 2x of the observed peak", "the same number",
            "; ".join(f"{ratio:.2g}x" for ratio in ratios) or "no fit",
            bool(len(ratios) and np.all(np.abs(np.log2(ratios)) <= 1)) if enough else None,
        )
    )  # fmt: skip
    return criteria


def _judge_laws(found: Measured, peaks: np.ndarray, enough: bool) -> Criterion:
    """Compares the fit of Surge's law, with its fitted peak, with that of two power laws."""
    sizes = found.sizes
    errors = np.array(
        [
            [
                rate_laws.log_error(rates, shape)
                for shape in (
                    rate_laws.surge(sizes, peak), rate_laws.power(sizes, 0.5), rate_laws.power(sizes, 1.0)
                )
            ]
            for rates, peak in zip(found.best.T, peaks, strict=True)
        ]
    )  # fmt: skip
    return Criterion(
        f"{found.rule.label}: log-RMSE of Surge's law below those of powers .5 and 1, at every target",
        "below both",
        "; ".join(f"{one:.2f}, {two:.2f}, {three:.2f}" for one, two, three in errors),
        bool(np.all(errors[:, :1] < errors[:, 1:])) if enough else None,
    )


def _judge_peaks(found: Measured, peaks: np.ndarray, enough: bool) -> Criterion:
    """Whether the peak moves to larger batches as the target falls, also with resampled seeds."""
    sizes = found.sizes
    rng = np.random.default_rng(0)
    logs = np.log(found.best_by_seed)
    num_seeds = logs.shape[2]
    moved = 0
    for _ in range(NUM_RESAMPLES):
        means = np.exp(logs[:, :, rng.integers(num_seeds, size=num_seeds)].mean(axis=2))
        moved += fit_peak(sizes, means[:, -1]) > fit_peak(sizes, means[:, 0])
    chance = 1 - moved / NUM_RESAMPLES
    rising = bool(np.all(np.diff(peaks) > 0))
    return Criterion(
        f"{found.rule.label}: the peak grows as the target falls, at all targets or with a bootstrap p < .05",
        "grows",
        f"{', '.join(f'{peak:.0f}' for peak in peaks)} (p {chance:.3f})",
        bool(rising or chance < 0.05) if enough and len(peaks) > 1 else None,
    )


def _judge_line(label: str, laws: list[rate_laws.StepsLaw | None], enough: bool) -> Criterion:
    """Whether steps and examples follow their law."""
    fitted = [law for law in laws if law is not None]
    is_line = len(fitted) == len(laws) and all(law.r_squared >= 0.95 and law.noise_batch > 0 for law in fitted)
    return Criterion(
        f"{label}: 1/S is linear in 1/E with R^2 of .95 at least, and B_noise positive, at every target",
        "linear",
        "; ".join(f"R^2 {law.r_squared:.3f}, B_noise {law.noise_batch:.3g}" for law in fitted) or "no fit",
        is_line if enough else None,
    )


def rates_drawing(found: Measured, laws: list[rate_laws.StepsLaw | None]) -> Drawing:
    """Best rates over batch sizes, measured and by the fitted law."""
    sizes = found.sizes
    series = []
    for index, target in enumerate(found.targets):
        color, rates = BASELINE_COLORS[index], found.best[:, index]
        low, high = (np.quantile(found.best_by_seed[:, index], at, axis=1) for at in (0.25, 0.75))
        series.append(Series(f"at loss {target:g}", sizes, rates, low, high, color))
        law = laws[index]
        if found.rule.baseline != "sgd":
            shape = rate_laws.surge(sizes, fit_peak(sizes, rates))
        elif law is not None:
            shape = rate_laws.saturation(sizes, law.noise_batch)
        else:
            continue
        series.append(Series("", sizes, rate_laws.scale(rates, shape) * shape, color=color, style="dashed"))
    name = found.rule.label.replace(" ", "-").lower()
    law_name = "SGD's law" if found.rule.baseline == "sgd" else "Surge's law"
    return chart(
        f"rates-{name}", f"{found.rule.label}: best rate, and {law_name} (dashed)", "batch size",
        "best learning rate", series,
    )  # fmt: skip


def steps_drawing(found: Measured, laws: list[rate_laws.StepsLaw | None]) -> Drawing:
    """Steps against examples to each target, and the fitted law."""
    sizes = found.sizes
    series = []
    for index, (target, law) in enumerate(zip(found.targets, laws, strict=True)):
        steps, color = found.steps[:, index], BASELINE_COLORS[index]
        series.append(Series(f"to loss {target:g}", sizes * steps, steps, color=color, style="points"))
        if law is not None and law.noise_batch > 0 and law.min_steps > 0:
            line = np.geomspace(1.02 * law.min_steps, np.nanmax(np.where(np.isfinite(steps), steps, np.nan)), 50)
            examples = law.noise_batch * law.min_steps / (1 - law.min_steps / line)
            series.append(Series("", examples, line, color=color, style="dashed"))
    name = found.rule.label.replace(" ", "-").lower()
    return chart(
        f"steps-{name}", f"{found.rule.label}: steps and examples, and the fit (dashed)", "examples", "steps",
        series,
    )  # fmt: skip
