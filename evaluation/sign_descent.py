"""Sign descent on a quadratic with Gaussian gradient noise: best rates by simulation, exactly, and by Surge's laws.

Surge (2405.14578) models Adam as x' = x - rate * sign(g), where the gradient g of a batch of B examples is normal with
mean G and variances sigma^2 / B, independent between coordinates. On a loss with Hessian H the best rate of one step is

    rate(B) = sum_i G_i s_i / (sum_i H_ii + sum_{i != j} H_ij s_i s_j),   s_i = E sign(g_i)

since E sign(g_i) sign(g_j) = s_i s_j for i != j and 1 for i = j. The functions below differ in s.
"""

import dataclasses

import numpy as np
from scipy import special

from velo.shapes import Float


@dataclasses.dataclass(frozen=True, eq=False)
class NoisyQuadratic:
    """The loss around the point where the step is taken, and the gradient noise of one example."""

    gradient: Float[np.ndarray, " size"]
    noise: Float[np.ndarray, " size"]
    """Standard deviations of the gradient of one example."""
    hessian: Float[np.ndarray, "size size"]


def coupled_quadratic(
    *, size: int = 64, coupling: float = 0.8, signal: float = 0.03, spread: float = 0.3, seed: int = 0
) -> NoisyQuadratic:
    """A quadratic whose coordinates are positively coupled; otherwise a larger batch would never need a smaller rate.

    Args:
        coupling: size of the Hessian's off-diagonal entries, relative to curvatures of about 1.
        signal: ratio of a coordinate's gradient to the noise of one example.
        spread: standard deviation of the logarithms of gradients, noises and curvatures.
    """
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size)
    gradient, noise, curvature, direction = np.exp(spread * rng.normal(size=(4, size)))
    hessian = np.diag(curvature) + coupling * np.outer(direction * signs, direction * signs)
    return NoisyQuadratic(signal * gradient * signs, noise, hessian)


def exact_signs(problem: NoisyQuadratic, batch_size: float | int) -> Float[np.ndarray, " size"]:
    """E sign(g) = erf(sqrt(B / 2) G / sigma)."""
    return special.erf(np.sqrt(batch_size / 2) * problem.gradient / problem.noise)


def approximate_signs(problem: NoisyQuadratic, batch_size: float | int) -> Float[np.ndarray, " size"]:
    """The paper's form with square roots: sign(G) / sqrt(1 + pi sigma^2 / (2 B G^2))."""
    ratio = problem.noise / problem.gradient
    return np.sign(problem.gradient) / np.sqrt(1 + np.pi * ratio**2 / (2 * batch_size))


def best_rate(problem: NoisyQuadratic, signs: Float[np.ndarray, " size"]) -> float:
    """The rate with the least expected loss after one step, given the expected signs."""
    diagonal = np.diag(problem.hessian)
    return float(problem.gradient @ signs / (signs @ problem.hessian @ signs + diagonal @ (1 - signs**2)))


def small_batch_law(problem: NoisyQuadratic) -> tuple[float, float]:
    """(rate_max, B_noise) of the law for B far below pi sigma^2 / (2 G^2), where expected signs grow as sqrt(B).

    rate(B) = rate_max / (0.5 (sqrt(B_noise / B) + sqrt(B / B_noise)))
    """
    slopes = np.sqrt(2 / np.pi) * problem.gradient / problem.noise  # expected signs / sqrt(B)
    diagonal = np.diag(problem.hessian)
    trace = diagonal.sum()
    coupled = slopes @ problem.hessian @ slopes - diagonal @ slopes**2
    if coupled <= 0:
        raise ValueError(f"small_batch_law: coordinates must pull together, got a coupling of {coupled:.3g}")
    return float(problem.gradient @ slopes / (2 * np.sqrt(trace * coupled))), float(trace / coupled)


def simulated_rates(
    *, problem_seed: int, batch_sizes: tuple[int, ...], num_samples: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Best rates by simulation: the minimum of the parabola through the mean losses after sampled steps at three rates.

    Returns:
        `rates` [batch sizes].
    """
    problem = coupled_quadratic(seed=problem_seed)
    rng = np.random.default_rng(seed)
    rates = []
    for batch_size in batch_sizes:
        scale = problem.noise / np.sqrt(batch_size)
        steps = np.sign(problem.gradient + scale * rng.normal(size=(num_samples, len(scale))))
        tried = best_rate(problem, exact_signs(problem, batch_size)) * np.array([0.5, 1.0, 1.5])
        losses = []
        for rate in tried:
            moves = -rate * steps
            curved = 0.5 * np.einsum("ni,ni->n", moves @ problem.hessian, moves)
            losses.append(np.mean(moves @ problem.gradient + curved))
        square, linear, _ = np.polyfit(tried, losses, 2)
        rates.append(-linear / (2 * square))
    return {"rates": np.array(rates)}
