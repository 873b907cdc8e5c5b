"""Smooths the losses of training runs, and derives the final loss, divergence and steps to a target."""

import numpy as np

from velo.shapes import Float

TAIL_STEPS = 10
TAIL_FRACTION = 0.05
"""A final loss averages the last `TAIL_FRACTION` of the training losses, at least `TAIL_STEPS` of them."""


def window(num_steps: int) -> int:
    """Number of steps that a smoothed loss averages: the larger of 10 and 5 % of the run, at most the whole run."""
    return min(num_steps, max(TAIL_STEPS, round(TAIL_FRACTION * num_steps)))


def smooth(losses: Float[np.ndarray, "*runs steps"], width: int | None = None) -> Float[np.ndarray, "*runs steps"]:
    """Trailing mean of `width` losses at each step (default: `window`).

    The first `width - 1` entries average the losses so far. An entry is inf where one of its losses isn't finite.
    """
    losses = np.asarray(losses, np.float64)
    width = width or window(losses.shape[-1])
    finite = np.where(np.isfinite(losses), losses, np.inf)
    padding = [(0, 0)] * (losses.ndim - 1) + [(width - 1, 0)]
    views = np.lib.stride_tricks.sliding_window_view(np.pad(finite, padding), width, axis=-1)
    return views.sum(axis=-1) / np.minimum(np.arange(1, losses.shape[-1] + 1), width)


def final_loss(losses: Float[np.ndarray, "*runs steps"]) -> Float[np.ndarray, "*runs"]:
    """Mean of the last 5 % of the training losses (at least 10 of them); inf if one of them isn't finite."""
    losses = np.asarray(losses, np.float64)
    tail = losses[..., -window(losses.shape[-1]) :]
    return np.where(np.isfinite(tail).all(axis=-1), tail.sum(axis=-1) / tail.shape[-1], np.inf)


def diverged(losses: Float[np.ndarray, "*runs steps"]) -> np.ndarray:
    """Whether a run has a non-finite loss, or a final loss above twice the absolute value of its first loss."""
    losses = np.asarray(losses, np.float64)
    return np.asarray(~np.isfinite(losses).all(axis=-1) | (final_loss(losses) > 2 * np.abs(losses[..., 0])))


def lower_envelope(smoothed: Float[np.ndarray, "*runs steps"]) -> Float[np.ndarray, "*runs steps"]:
    """Running minimum. It never rises, so that the first step that reaches a target is well defined."""
    return np.minimum.accumulate(smoothed, axis=-1)


def steps_to(envelope: Float[np.ndarray, " steps"], target: float) -> float:
    """Number of steps after which `envelope` is at most `target`; inf if it never is."""
    reached = np.flatnonzero(envelope <= target)
    return float(reached[0] + 1) if len(reached) else np.inf


def has_unit(baseline: Float[np.ndarray, "seeds baseline_steps"]) -> bool:
    """Whether every run of the baseline has a positive, finite final loss, so that others can be divided by it."""
    unit = final_loss(baseline)
    return bool(np.isfinite(unit).all() and (unit > 0).all())


def relative(
    losses: Float[np.ndarray, "seeds steps"], baseline: Float[np.ndarray, "seeds baseline_steps"]
) -> Float[np.ndarray, "seeds steps"]:
    """Smoothed losses divided by the baseline's final loss under the same seed.

    Seeds differ in the task's draw (label noise, scales) and so in the loss that can be reached; the division gives
    every seed the same influence on a mean. Returns the smoothed losses undivided where `has_unit` is false.
    """
    return smooth(losses) / final_loss(baseline)[:, None] if has_unit(baseline) else smooth(losses)
