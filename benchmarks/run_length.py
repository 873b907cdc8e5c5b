"""The cost of an unknown run length: ways to continue a run, against one planned for its length, on `meta_valid`.

Each way trains for T, 2 T and 4 T steps, where T is a tenth of the task's length. Prints the validation losses, and the
geometric means of their ratios to those of the planned run. Usage: python benchmarks/run_length.py [TASK ...]
"""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

import velo
from tasks import fixed, inner_loop

MULTIPLES = (1, 2, 4)
SEGMENTS = 5
"""Number of segments in T steps; one compiled program advances any run by a segment."""
SEEDS = (0, 1)
COOLING = 0.2
"""Share of a run over which the cooldown scales the steps down to zero."""
AVERAGING = 9.0
"""Of the averaged parameters: step k = 0, 1, ... enters with weight 9 / (k + 9), so that the last tenth counts most."""
NUM_VALID_BATCHES = 30


class Runs:
    """Runs of one task from one seed."""

    def __init__(self, task: fixed.FixedTask, seed: int):
        self.family, self.seed = task.family, seed
        self.length = max(SEGMENTS, task.num_steps // 10 // SEGMENTS * SEGMENTS)
        self.train, self.valid = task.family.load()
        self.draw = task.family.draw(jax.random.key(seed))
        self.segment = self.length // SEGMENTS

    def start(self):
        state = START(self.family, self.draw, jax.random.key(self.seed))
        return state, state.params

    def advance(self, run, segments, num_steps, end=None):
        """Trains `segments` more segments on a schedule of `num_steps`; with `end`, scales the steps to zero there."""
        state, average = run
        for _ in range(segments):
            scale = (0.0, 1.0) if end is None else (float(end), COOLING * end)
            state, average = ADVANCE(
                self.family, self.segment, self.draw, state, average, self.train, jax.random.key(self.seed + 100),
                jnp.float32(num_steps), jnp.asarray(scale, jnp.float32),
            )  # fmt: skip
        return state, average

    def loss(self, params):
        return float(VALIDATE(self.family, self.draw, params, self.valid))


def bound(num_steps):
    return WEIGHTS[0].bind(WEIGHTS[1], num_steps)


@functools.partial(jax.jit, static_argnums=0)
def START(family, draw, key):
    return inner_loop.start(family, bound(1000), draw, key)


@functools.partial(jax.jit, static_argnums=(0, 1))
def ADVANCE(family, segment, draw, state, average, data, key, num_steps, cooling):
    end, span = cooling
    tx = bound(num_steps)

    def update(updates, state, params=None, **extra):
        updates, state = tx.update(updates, state, params, **extra)
        scale = jnp.where(end > 0, jnp.clip((end - state.step + 1) / jnp.maximum(span, 1.0), 0.0, 1.0), 1.0)
        return jax.tree.map(lambda leaf: scale * leaf, updates), state

    scaled = optax.GradientTransformationExtraArgs(tx.init, update)

    def one(run, _):
        state, average = run
        state, _ = inner_loop.train(family, scaled, draw, state, data, key, num_steps=1)
        weight = AVERAGING / (state.step + AVERAGING - 1.0)
        average = jax.tree.map(lambda mean, leaf: mean + weight * (leaf - mean), average, state.params)
        return (state, average), None

    run, _ = jax.lax.scan(one, (state, average), length=segment)
    return run


@functools.partial(jax.jit, static_argnums=0)
def VALIDATE(family, draw, params, data):
    return inner_loop.mean_loss(family, draw, params, data, jax.random.key(7), num_batches=NUM_VALID_BATCHES)


def knew(runs):
    return [
        runs.loss(runs.advance(runs.start(), SEGMENTS * times, times * runs.length)[0].params) for times in MULTIPLES
    ]


def continued(runs, renew, lengths):
    """Losses of a run of T steps that continues to 2 T and 4 T; `renew` is applied before each continuation."""
    run, losses, done = runs.start(), [], 0
    for times, length in zip(MULTIPLES, lengths, strict=True):
        run = runs.advance(renew(run) if done else run, SEGMENTS * (times - done), length * runs.length)
        losses.append(runs.loss(run[0].params))
        done = times
    return losses


def extended(runs):
    return continued(runs, lambda run: run, MULTIPLES)


def restarted(runs):
    """Keeps the state and restarts the schedule for the added steps."""

    def renew(run):
        state, average = run
        return state._replace(opt_state=state.opt_state._replace(step=jnp.zeros((), jnp.int32))), average

    return continued(runs, renew, (1, 1, 2))


def anew(runs):
    """Starts a new optimizer from the current parameters for the added steps."""

    def renew(run):
        fresh = START(runs.family, runs.draw, jax.random.key(runs.seed))
        opt_state = jax.jit(bound(1000).init)(run[0].params)
        return fresh._replace(params=run[0].params, opt_state=opt_state, step=run[0].step), run[1]

    return continued(runs, renew, (1, 1, 2))


def trunk(runs, assumed):
    """Losses (after a cooldown, of averaged parameters, of the last parameters) of a run planned for `assumed` T."""
    run, done, cooled, averaged, plain = runs.start(), 0, [], [], []
    for times in MULTIPLES:
        start = round((1 - COOLING) * SEGMENTS * times)
        run = runs.advance(run, start - done, assumed * runs.length)
        branch = runs.advance(run, SEGMENTS * times - start, assumed * runs.length, times * runs.length)
        cooled.append(runs.loss(branch[0].params))
        run = runs.advance(run, SEGMENTS * times - start, assumed * runs.length)
        averaged.append(runs.loss(run[1]))
        plain.append(runs.loss(run[0].params))
        done = SEGMENTS * times
    return cooled, averaged, plain


def main(names):
    table = {}
    for name in names:
        for seed in SEEDS:
            runs = Runs(fixed.TASKS[name], seed)
            row = {"knew": knew(runs), "extended": extended(runs), "restarted": restarted(runs), "anew": anew(runs)}
            for assumed in (8, 100):
                kinds = ("cooled", "averaged", "as it is")
                row |= {f"told {assumed} T, {kind}": x for kind, x in zip(kinds, trunk(runs, assumed), strict=True)}
            for way, losses in row.items():
                table.setdefault(way, []).append(np.array(losses) / np.array(row["knew"]))
            shown = {way: np.round(losses, 4).tolist() for way, losses in row.items()}
            print(name, seed, f"T={runs.length}", shown, flush=True)
    for way, ratios in table.items():
        print(f"{way:24s}", *(f"{mean:.3f}" for mean in np.exp(np.mean(np.log(ratios), axis=0))))


WEIGHTS = velo.load_weights(velo.DEFAULT_WEIGHTS)

if __name__ == "__main__":
    main(sys.argv[1:] or fixed.SUITES["meta_valid"])
