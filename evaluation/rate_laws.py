"""How the best learning rate depends on the batch size: fits of laws to measurements, and how well each fits.

McCandlish et al. (1812.06162) relate the steps S and the examples E = B S that reach a loss at the best rate of each
batch size B by (S / S_min - 1) (E / E_min - 1) = 1. This is a line: 1/S = 1/S_min - B_noise / E with
B_noise = E_min / S_min. Surge (2405.14578) gives the best rate itself as a function of the batch size.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from velo.shapes import Float


class StepsLaw(NamedTuple):
    """The line of 1/S against 1/E."""

    noise_batch: float  # B_noise, in examples
    min_steps: float  # S_min
    r_squared: float


def fit_steps(batch_sizes: Float[np.ndarray, " sizes"], num_steps: Float[np.ndarray, " sizes"]) -> StepsLaw:
    """Least squares on (1/E, 1/S); batch sizes that never reached the loss (inf) are left out.

    Raises:
        ValueError: fewer than three batch sizes are left.
    """
    batch_sizes, num_steps = np.asarray(batch_sizes, float), np.asarray(num_steps, float)
    reached = np.isfinite(num_steps)
    if reached.sum() < 3:
        raise ValueError(f"fit_steps: needs 3 batch sizes that reach the loss, got {reached.sum()}")
    examples = batch_sizes[reached] * num_steps[reached]
    slope, intercept, correlation = np.asarray(stats.linregress(1 / examples, 1 / num_steps[reached]))[:3]
    return StepsLaw(-slope, 1 / intercept, correlation**2)


def surge(batch_sizes: np.ndarray, noise_batch: float | np.ndarray) -> np.ndarray:
    """Surge's law for Adam, 1 at its peak: 1 / (0.5 (sqrt(B_noise / B) + sqrt(B / B_noise))).

    Args:
        batch_sizes: of any shape that broadcasts against `noise_batch`.
    """
    ratio = np.sqrt(np.asarray(batch_sizes, float) / noise_batch)
    return 2 / (1 / ratio + ratio)


def saturation(batch_sizes: Float[np.ndarray, " sizes"], noise_batch: float) -> Float[np.ndarray, " sizes"]:
    """The law for SGD (1812.06162), 1 for infinite batches: 1 / (1 + B_noise / B)."""
    return 1 / (1 + noise_batch / np.asarray(batch_sizes, float))


def power(batch_sizes: Float[np.ndarray, " sizes"], exponent: float) -> Float[np.ndarray, " sizes"]:
    """B ** exponent: Surge's law is compared with the exponents .5 and 1."""
    return np.asarray(batch_sizes, float) ** exponent


def scale(rates: Float[np.ndarray, " sizes"], shape: Float[np.ndarray, " sizes"]) -> float:
    """The factor by which a law fits best in logarithms: the geometric mean of rates / shape."""
    return float(np.exp(np.mean(np.log(rates / shape))))


def log_error(rates: Float[np.ndarray, " sizes"], shape: Float[np.ndarray, " sizes"]) -> float:
    """Root mean square of log(rates / law), for the law of this shape with the best factor."""
    return float(np.std(np.log(rates / shape)))


def refined_argmax(rates: Float[np.ndarray, " rates"], gains: Float[np.ndarray, " rates"]) -> float:
    """The rate of the greatest gain, interpolated between the rates that were tried, which are sorted.

    It is the vertex of the parabola in log(rate) through the best rate and its neighbours. It is the best rate itself
    if that is the first or the last, or if a neighbour diverged. Non-finite gains never win.
    """
    gains = np.where(np.isfinite(gains), gains, -np.inf)
    best = int(np.argmax(gains))
    if best in (0, len(rates) - 1) or not np.isfinite(gains[best - 1 : best + 2]).all():
        return float(rates[best])
    x, y = np.log(rates[best - 1 : best + 2]), gains[best - 1 : best + 2]
    square, linear, _ = np.polyfit(x - x[1], y, 2)
    if square >= 0:
        return float(rates[best])
    return float(np.exp(x[1] + np.clip(-linear / (2 * square), x[0] - x[1], x[2] - x[1])))
