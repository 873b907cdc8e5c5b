"""The table of baselines: optax's optimizers, and ours where optax has none."""

import dataclasses
import difflib
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from evaluation.baselines import (
    averaging,
    bounded,
    distance_over_gradients,
    kfac,
    kronecker,
    plain_shampoo,
    shampoo,
    soap,
)
from evaluation.baselines.baseline import PEAK_RATE, RATE, Baseline
from evaluation.baselines.schedule_free_plus import schedule_free_plus
from evaluation.baselines.schedules import SCHEDULES, WARM_UP
from evaluation.baselines.spans import Decay, LogUniform

RATES = LogUniform(1e-5, 1.0)
"""Learning rates that VeLO tries for its baselines (2211.09760)."""
ADAPTIVE_RATES = LogUniform(1e-4, 0.1)
"""A narrower span, outside of which a random search over several hyperparameters would waste trials."""
FIRST_DECAYS, SECOND_DECAYS = Decay(0.5, 0.999), Decay(0.8, 0.9999)
"""Deviation: 1 - decay is log-uniform. 2007.01547 draws the decay itself log-uniformly: long averages are rare then."""
WEIGHT_DECAYS = LogUniform(1e-5, 0.1)

_RATE = (RATE, RATES)
_MOMENTS = (("b1", FIRST_DECAYS), ("b2", SECOND_DECAYS))
_WEIGHT_DECAY = ("weight_decay", WEIGHT_DECAYS)


def _baseline(name: str, factory, paper: str, *space, defaults: dict[str, float] | None = None, **fields) -> Baseline:
    return Baseline(name, factory, paper, space, tuple((defaults or {}).items()), **fields)


def _with(factory, *names: str, **fixed: Any):
    """A baseline's factory: passes the learning rate, the hyperparameters of these names and `fixed` to `factory`."""

    def build(h, num_steps):
        return factory(h[RATE], **{name: h[name] for name in names}, **fixed)

    return build


def _ademamix(h, num_steps):
    """optax's AdEMAMix with the paper's warm-ups of alpha and b3, over the whole run."""

    def b3(count):
        share = jnp.minimum(count / num_steps, 1.0)
        low, high = jnp.log(h["b1"]), jnp.log(h["b3"])
        return jnp.exp(low * high / ((1.0 - share) * high + share * low))

    def alpha(count):
        return h["alpha"] * jnp.minimum(count / num_steps, 1.0)

    return contrib.ademamix(h[RATE], b1=h["b1"], b2=h["b2"], b3=b3, alpha=alpha)


def _schedule_free(tx, h, num_steps, b1):
    """optax's schedule-free wrapper with a warm-up over the first tenth of the run, which the authors ask for."""
    rate = lambda count: h[RATE] * SCHEDULES["warmup"](num_steps)(count)  # noqa: E731
    return contrib.schedule_free(optax.chain(tx, optax.scale_by_learning_rate(rate)), rate, b1=b1)


def _schedule_free_adamw(h, num_steps):
    second_moment = optax.scale_by_rms(decay=h["b2"], eps=1e-8, eps_in_sqrt=False, bias_correction=True)
    return _schedule_free(
        optax.chain(second_moment, optax.add_decayed_weights(h["weight_decay"])), h, num_steps, h["b1"]
    )


def _schedule_free_soap(h, num_steps):
    """SOAP's direction without momentum, since the interpolation of schedule-free takes its place."""
    direction = soap.scale_by_soap(b1=0.0, b2=h["b2"])
    return _schedule_free(optax.chain(direction, optax.add_decayed_weights(h["weight_decay"])), h, num_steps, h["b1"])


def _schedule_free_plus(h, num_steps):
    """A warm-up over the first tenth, and averages that start at twice its length, as the author's code recommends."""
    rate = lambda count: h[RATE] * SCHEDULES["warmup"](num_steps)(count)  # noqa: E731
    return schedule_free_plus(
        rate, b1=h["b1"], b2=h["b2"], interpolation=h["interpolation"], average_from=round(2 * WARM_UP * num_steps)
    )


def _sm3(h, num_steps):
    """optax's SM3, which takes no scalars: they are passed as vectors of one entry."""
    tx = optax.sm3(h[RATE], h["momentum"])

    def vectors(tree):
        return jax.tree.map(jnp.atleast_1d, tree)

    def update(updates, state, params=None):
        stepped, state = tx.update(vectors(updates), state, vectors(params))
        return jax.tree.map(lambda new, old: new.reshape(jnp.shape(old)), stepped, updates), state

    return optax.GradientTransformation(lambda params: tx.init(vectors(params)), update)


def _adabound(amsbound: bool):
    return lambda h, num_steps: bounded.adabound(
        h[RATE], peak_rate=h[PEAK_RATE], b1=h["b1"], b2=h["b2"], final_rate=h["final_rate"], gamma=h["gamma"],
        amsbound=amsbound,
    )  # fmt: skip


def _with_average(baseline: Baseline) -> tuple[Baseline, Baseline]:
    """The baseline, and NAME_averaged, which returns the polynomial average of its iterates."""
    averaged = dataclasses.replace(
        baseline,
        name=f"{baseline.name}_averaged",
        factory=lambda h, num_steps: averaging.averaged(baseline.factory(h, num_steps)),
        evaluation_params=averaging.average,
    )
    return baseline, averaged


_DOG = {"reps_rel": distance_over_gradients.RELATIVE_DISTANCE}
_ADAM = {RATE: 1e-3, "b1": 0.9, "b2": 0.999}
_BOUNDED: Any = {
    "defaults": {**_ADAM, "final_rate": 0.1, "gamma": 1e-3},
}
_BOUNDED_SPACE = (_RATE, *_MOMENTS, ("final_rate", LogUniform(1e-3, 0.5)), ("gamma", LogUniform(1e-4, 0.1)))

_TABLE = (
    # Plain and accelerated gradient descent.
    *_with_average(_baseline("sgd", _with(optax.sgd), "Robbins and Monro 1951", _RATE, defaults={RATE: 1e-2})),
    *_with_average(
        _baseline("sgd_momentum", _with(optax.sgd, "momentum"), "Polyak 1964", _RATE, ("momentum", FIRST_DECAYS),
                  defaults={RATE: 1e-2, "momentum": 0.9})
    ),
    _baseline(
        "sgd_nesterov", _with(optax.sgd, "momentum", nesterov=True), "Nesterov 1983", _RATE,
        ("momentum", FIRST_DECAYS), defaults={RATE: 1e-2, "momentum": 0.9},
    ),
    _baseline("lion", _with(optax.lion, "b1", "b2", "weight_decay"), "2302.06675", _RATE,
              ("b1", FIRST_DECAYS), ("b2", SECOND_DECAYS), _WEIGHT_DECAY,
              defaults={RATE: 1e-4, "b1": 0.9, "b2": 0.99, "weight_decay": 1e-3}),
    # A step size per parameter.
    _baseline("adam", _with(optax.adam, "b1", "b2"), "1412.6980", _RATE, *_MOMENTS, defaults=_ADAM),
    _baseline("adamw", _with(optax.adamw, "b1", "b2", "weight_decay"), "1711.05101",
              (RATE, ADAPTIVE_RATES), *_MOMENTS, _WEIGHT_DECAY, defaults={**_ADAM, "weight_decay": 1e-4}),
    _baseline("nadamw", _with(optax.nadamw, "b1", "b2", "weight_decay"), "Dozat 2016, 1711.05101",
              (RATE, ADAPTIVE_RATES), *_MOMENTS, _WEIGHT_DECAY, defaults={**_ADAM, "weight_decay": 1e-4}),
    _baseline("amsgrad", _with(optax.amsgrad, "b1", "b2"), "1904.09237", _RATE, *_MOMENTS, defaults=_ADAM),
    _baseline("radam", _with(optax.radam, "b1", "b2"), "1908.03265", _RATE, *_MOMENTS, defaults=_ADAM),
    _baseline("yogi", _with(optax.yogi, "b1", "b2"), "Zaheer et al. 2018", _RATE, *_MOMENTS,
              defaults={**_ADAM, RATE: 1e-2}),
    _baseline("adabelief", _with(optax.adabelief, "b1", "b2"), "2010.07468", _RATE, *_MOMENTS, defaults=_ADAM),
    _baseline("adopt", _with(contrib.adopt, "b1", "b2"), "2411.02853", _RATE, *_MOMENTS,
              defaults={**_ADAM, "b2": 0.9999}),
    _baseline("adabound", _adabound(False), "1902.09843", *_BOUNDED_SPACE, **_BOUNDED),
    _baseline("amsbound", _adabound(True), "1902.09843", *_BOUNDED_SPACE, **_BOUNDED),
    _baseline("ademamix", _ademamix, "2409.03137", _RATE, *_MOMENTS, ("b3", Decay(0.99, 0.9999)),
              ("alpha", LogUniform(1.0, 20.0)), defaults={**_ADAM, "b3": 0.9999, "alpha": 5.0}),
    _baseline("rmsprop", _with(optax.rmsprop, "decay"), "Tieleman and Hinton 2012", _RATE, ("decay", SECOND_DECAYS),
              defaults={RATE: 1e-3, "decay": 0.9}),
    _baseline("adagrad", _with(optax.adagrad), "Duchi et al. 2011", _RATE, defaults={RATE: 1e-2}),
    _baseline("adadelta", _with(optax.adadelta, "rho"), "1212.5701", (RATE, LogUniform(1e-3, 100.0)),
              ("rho", SECOND_DECAYS), defaults={RATE: 1.0, "rho": 0.9}),
    # A step size per parameter, in less memory.
    _baseline("adafactor", _with(optax.adafactor, "decay_rate"), "1804.04235", _RATE, ("decay_rate", Decay(0.5, 0.99)),
              defaults={RATE: 1e-2, "decay_rate": 0.8}),
    _baseline("sm3", _sm3, "1901.11150", _RATE, ("momentum", FIRST_DECAYS),
              defaults={RATE: 0.1, "momentum": 0.9}, takes_schedule=False),
    # A step size per tensor.
    _baseline("lamb", _with(optax.lamb, "b1", "b2", "weight_decay"), "1904.00962", _RATE, *_MOMENTS, _WEIGHT_DECAY,
              defaults={**_ADAM, RATE: 1e-2, "weight_decay": 1e-4}),
    _baseline("lars", _with(optax.lars, "momentum", "weight_decay"), "1708.03888", (RATE, LogUniform(1e-3, 100.0)),
              ("momentum", FIRST_DECAYS), _WEIGHT_DECAY,
              defaults={RATE: 0.1, "momentum": 0.9, "weight_decay": 1e-4}),
    _baseline("novograd", _with(optax.novograd, "b1", "b2"), "1905.11286", _RATE, ("b1", FIRST_DECAYS),
              ("b2", Decay(0.1, 0.99)), defaults={RATE: 1e-2, "b1": 0.9, "b2": 0.25}),
    # Muon's updates of matrices get the RMS of Adam's (2502.16982), so that one learning rate fits all tensors.
    _baseline("muon", _with(contrib.muon, "beta", "weight_decay", consistent_rms=0.2), "Jordan et al. 2024, 2502.16982",
              _RATE, ("beta", FIRST_DECAYS), _WEIGHT_DECAY,
              defaults={RATE: 3e-3, "beta": 0.95, "weight_decay": 1e-4}),
    # Kronecker factors of the gradient.
    _baseline("shampoo", _with(shampoo.shampoo, "b1", "b2", "weight_decay"), "1802.09568, 2309.06497",
              _RATE, *_MOMENTS, _WEIGHT_DECAY, defaults={**_ADAM, "weight_decay": 1e-4}),
    _baseline("shampoo_plain", lambda h, num_steps: plain_shampoo.plain_shampoo(
                  h[RATE], damping=kronecker.relative_damping(h["damping"]), momentum=h["momentum"]),
              "1802.09568, 2312.12226", _RATE, ("damping", LogUniform(1e-6, 1.0)), ("momentum", FIRST_DECAYS),
              defaults={RATE: 3e-2, "damping": 1e-3, "momentum": 0.9}),
    _baseline("soap", _with(soap.soap, "b1", "b2", "weight_decay"), "2409.11321", _RATE, *_MOMENTS, _WEIGHT_DECAY,
              defaults={RATE: 3e-3, "b1": 0.95, "b2": 0.95, "weight_decay": 1e-4}),
    # Curvature on the step's batch: Kronecker factors of the Fisher matrix, and Hutchinson's estimate.
    _baseline("kfac", lambda h, num_steps: kfac.kfac(
                  h[RATE], damping=kronecker.relative_damping(h["damping"]), momentum=h["momentum"]),
              "1503.05671, 1602.01407, 2312.12226", _RATE, ("damping", LogUniform(1e-3, 1.0)),
              ("momentum", FIRST_DECAYS), defaults={RATE: 1e-2, "damping": 1e-2, "momentum": 0.9}),
    _baseline("sophia", _with(contrib.sophia, "b1", "b2", "gamma", "weight_decay"), "2305.14342", _RATE, *_MOMENTS,
              ("gamma", LogUniform(1e-3, 1.0)), _WEIGHT_DECAY,
              defaults={RATE: 1e-3, "b1": 0.965, "b2": 0.99, "gamma": 0.01, "weight_decay": 1e-4}),
    # Averages instead of schedules.
    _baseline("lookahead_sgd", lambda h, num_steps: averaging.lookahead(
                  optax.sgd(h[RATE], momentum=h["momentum"]), 5, h["slow_step_size"]), "1907.08610",
              _RATE, ("momentum", FIRST_DECAYS), ("slow_step_size", LogUniform(1e-4, 1.0)),
              defaults={RATE: 1e-2, "momentum": 0.9, "slow_step_size": 0.5},
              evaluation_params=averaging.slow_weights),
    _baseline("lookahead_radam", lambda h, num_steps: averaging.lookahead(
                  optax.radam(h[RATE], b1=h["b1"], b2=h["b2"]), 5, h["slow_step_size"]), "1907.08610",
              _RATE, *_MOMENTS, ("slow_step_size", LogUniform(1e-4, 1.0)),
              defaults={**_ADAM, "slow_step_size": 0.5}, evaluation_params=averaging.slow_weights),
    _baseline("schedule_free_adamw", _schedule_free_adamw, "2405.15682", _RATE, ("b1", Decay(0.8, 0.99)),
              ("b2", SECOND_DECAYS), _WEIGHT_DECAY,
              defaults={RATE: 2.5e-3, "b1": 0.9, "b2": 0.999, "weight_decay": 1e-4},
              takes_schedule=False, evaluation_params=averaging.schedule_free_average),
    _baseline("schedule_free_sgd", lambda h, num_steps: _schedule_free(optax.identity(), h, num_steps, h["b1"]),
              "2405.15682", (RATE, LogUniform(1e-4, 10.0)), ("b1", Decay(0.8, 0.99)),
              defaults={RATE: 1.0, "b1": 0.9}, takes_schedule=False,
              evaluation_params=averaging.schedule_free_average),
    _baseline("schedule_free_soap", _schedule_free_soap, "2405.15682 over 2409.11321", _RATE, ("b1", Decay(0.8, 0.99)),
              ("b2", SECOND_DECAYS), _WEIGHT_DECAY,
              defaults={RATE: 3e-3, "b1": 0.9, "b2": 0.95, "weight_decay": 1e-4},
              takes_schedule=False, evaluation_params=averaging.schedule_free_average),
    _baseline("schedule_free_plus", _schedule_free_plus, "2605.19095", (RATE, LogUniform(1e-3, 100.0)), *_MOMENTS,
              ("interpolation", Decay(0.8, 0.99)),
              defaults={RATE: 1.0, "b1": 0.9, "b2": 0.95, "interpolation": 0.9},
              takes_schedule=False, evaluation_params=averaging.schedule_free_plus_average),
    # Nothing to tune, or a learning rate that matters less than usual (MoMo).
    _baseline("prodigy", _with(contrib.prodigy), "2306.06101"),
    _baseline("dadapt_adamw", _with(contrib.dadapt_adamw), "2301.07733"),
    _baseline("mechanic_adamw", lambda h, num_steps: contrib.mechanize(optax.adamw(h[RATE])), "2306.00144"),
    _baseline("cocob", _with(contrib.cocob), "1705.07795"),
    *_with_average(_baseline("dog", _with(distance_over_gradients.whole, "reps_rel"), "2302.12022", defaults=_DOG)),
    *_with_average(_baseline("ldog", _with(distance_over_gradients.layerwise, "reps_rel"), "2302.12022",
                             defaults=_DOG)),
    *_with_average(
        _baseline("tdog", lambda h, num_steps: distance_over_gradients.stable(h[RATE], num_steps, h["reps_rel"]),
                  "2302.12022", defaults=_DOG)
    ),
    _baseline("dowg", _with(contrib.dowg), "2305.16284"),
    _baseline("momo", _with(contrib.momo), "2305.07583", (RATE, LogUniform(1e-3, 100.0)), defaults={RATE: 1.0}),
    _baseline("momo_adam", _with(contrib.momo_adam), "2305.07583", _RATE, defaults={RATE: 1e-2}),
)  # fmt: skip

BASELINES = {baseline.name: baseline for baseline in _TABLE}
"""Baselines by name, without schedules; `get` also returns them under a schedule, such as `adam_cosine`."""


def get(name: str) -> Baseline:
    """The baseline of this name, or NAME_SCHEDULE under a schedule.

    Raises:
        ValueError: there is no such baseline (the message has the nearest name), or it takes no schedule.
    """
    if name in BASELINES:
        return BASELINES[name]
    for schedule in sorted(SCHEDULES, key=len, reverse=True):
        base = name.removesuffix(f"_{schedule}")
        if base != name and base in BASELINES:
            return BASELINES[base].with_schedule(schedule)
    nearest = difflib.get_close_matches(name, names(), n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise ValueError(
        f"unknown baseline {name!r}; {hint}known: {', '.join(sorted(BASELINES))}, "
        f"each also with a schedule appended: {', '.join(SCHEDULES)}"
    )


def names() -> list[str]:
    """Names of all baselines, plain and under every schedule that they take."""
    return [
        *BASELINES,
        *(f"{name}_{schedule}" for name, b in BASELINES.items() if b.takes_schedule for schedule in SCHEDULES),
    ]
