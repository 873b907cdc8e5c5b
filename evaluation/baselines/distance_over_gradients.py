"""DoG (2302.12022), its variant with a step size per tensor (L-DoG), and the variant of its theory (T-DoG)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax import contrib

RELATIVE_DISTANCE = 1e-6
"""First distance estimate, relative to 1 + |x_0|."""
TINY = 1e-30


def whole(learning_rate, reps_rel=RELATIVE_DISTANCE) -> optax.GradientTransformation:
    """DoG as optax has it.

    Args:
        learning_rate: factor on DoG's step size: a number, or a function of the number of steps taken.
        reps_rel: first distance estimate, relative to 1 + |x_0|; the authors take 1e-4 for networks with batch norm.
    """
    return contrib.dog(learning_rate, init_step=("heuristic", reps_rel))


def layerwise(learning_rate, reps_rel=RELATIVE_DISTANCE) -> optax.GradientTransformation:
    """L-DoG: optax's DoG on each tensor separately, with a distance and a sum of squared gradients of its own.

    It isn't built on `optax.scale_by_distance_over_gradients`, which gives scalar parameters updates of shape (1,).

    Args:
        learning_rate: as in `whole`.
        reps_rel: first distance estimate of each tensor, relative to 1 + |x_0| of that tensor.
    """
    tx = whole(learning_rate, reps_rel)

    def init(params):
        return [tx.init(leaf) for leaf in jax.tree.leaves(params)]

    def update(updates, state, params=None):
        gradients, treedef = jax.tree.flatten(updates)
        triples = zip(gradients, state, jax.tree.leaves(params), strict=True)
        steps, states = zip(*(tx.update(*triple) for triple in triples), strict=True)
        return treedef.unflatten(steps), list(states)

    return optax.GradientTransformation(init, update)


class StableState(NamedTuple):
    """State of `stable`; the comments give the symbols of its docstring, after step t."""

    initial_params: Any  # x_0
    max_distance: jax.Array  # rbar_t
    sum_squares: jax.Array  # G_t
    first_norm: jax.Array  # lbar_0
    max_norm: jax.Array  # lbar_t
    count: jax.Array


def stable(
    learning_rate, num_steps: int, reps_rel=RELATIVE_DISTANCE, failure_probability: float = 0.01
) -> optax.GradientTransformation:
    """T-DoG, for which the paper proves that the iterates stay bounded. At step t from 0:

        eta_t = rbar_t / sqrt(G'_t)
        G'_t = 8^4 theta^2 log+^2(1 + t lbar_t^2 / lbar_0^2) (G_{t-1} + 16 lbar_t^2)
        theta = log(60 log(6 T) / delta),  log+(z) = 1 + log z

    rbar_t is the greatest distance from x_0 so far, at least the first estimate. G_t is the sum of the squared norms of
    the gradients up to t, lbar_t a bound on these norms, T `num_steps` and delta `failure_probability`.

    The theorem: if the loss is convex and the first estimate is at most 3 |x_0 - x*|, then with probability 1 - delta
    no iterate is further from x_0 than 3 |x_0 - x*|. What each factor is for (proof in docs/studies/dog.md):

    - G_{t-1} in place of G_t: the step size doesn't depend on the gradient that it multiplies, so the noise terms form
      a martingale.
    - log+^2: it bounds the sum of the squared steps, by sum_t a_t / (A_t log+^2(A_t / A_0)) <= 1 for increments a_t of
      A_t; 1 + t lbar_t^2 / lbar_0^2 stands for A_t / A_0.
    - 8^4, theta^2 and 16: they keep the concentration bound of the martingale small relative to |x_0 - x*|^2.

    Deviation: the greatest norm so far stands in for lbar_t, since nobody knows a bound. At the same rbar_t the steps
    are hundreds of times smaller than DoG's or more: T-DoG is here to show what the guarantee costs.

    Args:
        learning_rate: factor on the step size: a number, or a function of the number of steps taken.
        reps_rel: first distance estimate, relative to 1 + |x_0|.
    """

    def init(params):
        zero = jnp.zeros(())
        distance = reps_rel * (1.0 + optax.tree.norm(params))
        return StableState(params, distance, zero, zero, zero, jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        moved = optax.tree.norm(optax.tree.sub(params, state.initial_params))
        distance = jnp.maximum(state.max_distance, moved)
        norm = optax.tree.norm(updates)
        first_norm = jnp.where(state.count == 0, norm, state.first_norm)
        max_norm = jnp.maximum(state.max_norm, norm)
        theta = jnp.log(60.0 * jnp.log(6.0 * num_steps) / failure_probability)
        growth = state.count * jnp.square(max_norm / jnp.maximum(first_norm, TINY))
        damping = 64.0 * theta * (1.0 + jnp.log1p(growth))  # the root of 8^4 theta^2 log+^2
        root = damping * jnp.sqrt(state.sum_squares + 16.0 * jnp.square(max_norm))
        rate = distance / jnp.maximum(root, TINY)
        new_state = StableState(
            state.initial_params,
            distance,
            state.sum_squares + jnp.square(norm),
            first_norm,
            max_norm,
            state.count + 1,
        )
        return optax.tree.scale(rate, updates), new_state

    return optax.chain(optax.GradientTransformation(init, update), optax.scale_by_learning_rate(learning_rate))
