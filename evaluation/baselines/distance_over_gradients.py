"""Members of the DoG family (2302.12022) beyond optax's: one rate a tensor, and the theory's stable variant."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax import contrib

RELATIVE_DISTANCE = 1e-6
"""First distance estimate over 1 + |x_0|."""
TINY = 1e-30


def whole(learning_rate, reps_rel=RELATIVE_DISTANCE) -> optax.GradientTransformation:
    """DoG as optax has it.

    Args:
        reps_rel: first distance estimate over 1 + |x_0|; 1e-4 for networks with batch norm.
    """
    return contrib.dog(learning_rate, init_step=("heuristic", reps_rel))


def layerwise(learning_rate, reps_rel=RELATIVE_DISTANCE) -> optax.GradientTransformation:
    """L-DoG: optax's DoG with distances and gradient sums of each tensor for itself.

    Deviation: not optax's `scale_by_distance_over_gradients`, whose accumulators give scalars updates of shape (1,).
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
    """State of `stable`, with the names of the paper."""

    initial_params: Any
    max_distance: jax.Array
    sum_squares: jax.Array  # G_{t-1}
    first_norm: jax.Array  # lbar_0
    max_norm: jax.Array  # lbar_t
    count: jax.Array


def stable(
    learning_rate, num_steps: int, reps_rel=RELATIVE_DISTANCE, failure_probability: float = 0.01
) -> optax.GradientTransformation:
    """T-DoG, for which the paper proves that iterates stay bounded: eta_t = rbar_t / sqrt(G'_t) with

        G'_t = 8^4 theta^2 log+^2(1 + t lbar_t^2 / lbar_0^2) (G_{t-1} + 16 lbar_t^2)
        theta = log(60 log(6 T) / delta), log+(z) = 1 + log z

    where lbar_t bounds the norms of gradients up to t. How the factors come about: rbar_t / sqrt(G_{t-1} + ...)
    doesn't depend on the gradient that it multiplies, so that the noise terms are a martingale; the concentration
    bound 8 rbar sqrt(theta sum |eta g|^2 + theta^2 (eta lbar)^2) has to stay below the distance to the solution, which
    asks for theta^2 (its second term) and 8^4; and sum a_t / (A_t log+^2(A_t / A_0)) <= 1 asks for the squared
    logarithm, with 1 + t lbar_t^2 / lbar_0^2 for A_t / A_0. docs/studies/dog.md follows the constants through to the
    theorem: with probability 1 - delta no iterate is further from x_0 than 3 |x_0 - x*|.

    Deviation: the greatest norm seen stands in for the bound, which nobody knows. Hundreds of times smaller steps than
    DoG's: it is here to show what the guarantee costs.
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
