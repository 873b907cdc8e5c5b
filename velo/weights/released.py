"""Recognises released weights by their arrays: which architecture, of which sizes, where each array belongs."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from velo.weights import layouts
from velo.weights.layouts import Plan
from velo.weights.tensor_file import WeightsError

Arrays = Mapping[str, np.ndarray]

PYLO_VELO = "PyLO's VeLO"


@dataclasses.dataclass(frozen=True)
class Recognised:
    """Released weights as an architecture, its fields and its theta."""

    architecture: str
    configuration: dict[str, Any]
    kind: str
    """Who released files of this form."""
    arrays: dict[str, np.ndarray]
    """Leaves of theta by their path."""


@dataclasses.dataclass(frozen=True)
class Format:
    """A released form of weights files: how to recognise and to convert it."""

    kind: str
    architecture: str
    matches: Callable[[Arrays], bool]
    sizes: Callable[[Arrays], dict[str, int]]
    """Fields of the architecture, from the arrays."""
    plan: Callable[..., Plan]
    """Where each array belongs, given the fields."""
    ignored: tuple[str, ...] = ()
    """Prefixes of arrays that are not read."""


def recognise(arrays: Arrays) -> Recognised:
    """The arrays as our theta, by the first format that matches.

    Raises:
        WeightsError: no format matches, or an array is missing, superfluous or of another shape or dtype than the
            inferred sizes need; the message names each array as in the file, with both shapes.
    """
    halves = [half for half, signature in layouts.PYLO_HALVES.items() if signature in arrays]
    if len(halves) == 1:
        raise WeightsError(
            f"PyLO's VeLO comes in two files and this is its {halves[0]}: pass the other one as companion="
        )
    for known in FORMATS:
        if known.matches(arrays):
            return _convert(known, arrays)
    raise WeightsError(f"arrays of no known optimizer: {sorted(arrays)[:8]}")


def _convert(known: Format, arrays: Arrays) -> Recognised:
    try:
        configuration = known.sizes(arrays)
    except KeyError as error:
        raise WeightsError(f"looks like {known.kind}, but {error.args[0]} is missing") from None
    except IndexError:
        raise WeightsError(f"looks like {known.kind}, but an array has too few dimensions: {_shapes(arrays)}") from None
    plan = known.plan(**configuration)
    expected = {name: shape for source in plan.values() for name, shape in source.parts}
    kept = {name: a for name, a in arrays.items() if name in expected or not name.startswith(known.ignored)}
    problems = [f"{name}: not in {known.kind}, has shape {kept[name].shape}" for name in kept if name not in expected]
    for name, shape in expected.items():
        if name not in kept:
            problems.append(f"{name}: missing, should have shape {shape}")
        elif kept[name].shape != shape:
            problems.append(f"{name}: has shape {kept[name].shape}, should have {shape}")
        elif kept[name].dtype != np.float32:
            problems.append(f"{name}: has dtype {kept[name].dtype}, should have float32")
    if problems:
        raise WeightsError(f"the arrays don't fit {known.kind} of {configuration}:\n  " + "\n  ".join(problems[:20]))
    converted = {path: source.assemble(kept) for path, source in plan.items()}
    return Recognised(known.architecture, configuration, known.kind, converted)


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: arrays[name].shape for name in sorted(arrays)[:20]}


def _has(prefix: str, arrays: Arrays) -> bool:
    return any(name.startswith(prefix) for name in arrays)


def _contains(name: str) -> Callable[[Arrays], bool]:
    return lambda arrays: name in arrays


def _is_steered(arrays: Arrays) -> bool:
    return _has("rnn_params/", arrays) and _has("ff_mod_stack/", arrays)


def _is_celo(arrays: Arrays) -> bool:
    mix = arrays.get("rnn_params/linear_2/w")
    return _is_steered(arrays) and mix is not None and mix.shape[:1] == (18,)


FORMATS = (
    Format(
        PYLO_VELO,
        "HyperV2",
        _contains("mix_layer1.weight"),
        layouts.pylo_velo_sizes,
        layouts.pylo_velo,
        layouts.PYLO_WORKING,
    ),
    Format(
        "PyLO's small_fc_lopt",
        "AdafacMLP",
        _contains("network.input.weight"),
        layouts.pylo_mlp_sizes,
        layouts.pylo_mlp,
    ),
    Format("PyLO's Celo2", "Celo2", _contains("w0.0"), layouts.pylo_celo2_sizes, layouts.pylo_celo2),
    Format("PyLO's Celo2", "Celo2", _contains("first_layer.weight"), layouts.dense_celo2_sizes, layouts.dense_celo2),
    Format(
        "PyLO's Celo2",
        "Celo2",
        _contains("first_layer_weights.0"),
        layouts.grouped_celo2_sizes,
        layouts.grouped_celo2,
    ),
    Format("RNNMLPLOpt", "RNNMLP", _contains("initial_from_lstm"), layouts.rnn_mlp_sizes, layouts.rnn_mlp),
    Format("AdafacMLPLOpt", "AdafacMLP", lambda a: _has("nn/~/", a), layouts.adafac_mlp_sizes, layouts.adafac_mlp),
    Format("Celo", "Celo", _is_celo, layouts.steered_sizes, layouts.celo),
    Format("HyperV2", "HyperV2", _is_steered, layouts.steered_sizes, layouts.hyper_v2),
    Format("Celo2", "Celo2", lambda a: _has("ff_mod_stack/", a), layouts.haiku_bank_sizes, layouts.celo2),
    Format("Celo-Adam", "CeloAdam", lambda a: _has("rnn_params/", a), layouts.haiku_lstm_sizes, layouts.celo_adam),
)
