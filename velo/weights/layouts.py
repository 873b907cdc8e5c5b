"""Where each array of a released format belongs in our theta, and the architecture's sizes, from the arrays.

Haiku's names are those of `learned_optimization`, celo and celo2; the others are PyLO's modules. A layer is (inputs,
outputs) in Haiku and (outputs, inputs) in PyTorch. Ours are (outputs, inputs) in per-parameter networks and (inputs,
outputs) in per-tensor layers. A function `X_sizes` returns the fields of the architecture, a function `X` the plan.
"""

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np

Shape = tuple[int, ...]
Arrays = Mapping[str, np.ndarray]

GROUPS = (1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3)  # inputs of the per-parameter network, as the files split them
NUM_INPUTS = sum(GROUPS)
NUM_OUTPUTS = 3
NUM_MLP_INPUTS = 39
PYLO_HALVES = {"VeLO_RNN": "mix_layer1.weight", "VeLO_MLP": "input_weights_"}
PYLO_WORKING = ("input_weights", "input_bias", "hidden_weights.", "hidden_bias.", "output_weights", "output_bias")
"""Arrays that PyLO computes at every step; the bank itself has these names with a trailing underscore."""


@dataclasses.dataclass(frozen=True)
class Source:
    """The array or arrays of a file that make up one leaf of theta."""

    parts: tuple[tuple[str, Shape], ...]
    axis: int = 0
    """Axis along which several arrays are concatenated."""
    transpose: bool = False
    """Whether to exchange the last two axes after that."""
    squeeze: bool = False
    """Whether to drop a leading axis of 1 at the end."""

    def assemble(self, arrays: Arrays) -> np.ndarray:
        """The leaf."""
        array = np.concatenate([arrays[name] for name, _ in self.parts], axis=self.axis)
        array = np.swapaxes(array, -1, -2) if self.transpose else array
        return array[0] if self.squeeze else array


Plan = dict[str, Source]
"""The source of each leaf of theta, by its path."""


def one(name: str, *shape: int, transpose: bool = False, squeeze: bool = False) -> Source:
    """A leaf that is a single array of the file."""
    return Source(((name, shape),), transpose=transpose, squeeze=squeeze)


def count(arrays: Arrays, pattern: str, start: int = 0) -> int:
    """Number of arrays named `pattern` with successive numbers from `start`."""
    number = start
    while pattern.format(number) in arrays:
        number += 1
    return number - start


def haiku_linear(ours: str, theirs: str, num_inputs: int, num_outputs: int, transpose: bool = False) -> Plan:
    """A linear layer of Haiku."""
    return {
        f"{ours}/w": one(f"{theirs}/w", num_inputs, num_outputs, transpose=transpose),
        f"{ours}/b": one(f"{theirs}/b", num_outputs),
    }


def torch_linear(ours: str, theirs: str, num_inputs: int, num_outputs: int, transpose: bool = True) -> Plan:
    """A linear layer of PyTorch."""
    return {
        f"{ours}/w": one(f"{theirs}.weight", num_outputs, num_inputs, transpose=transpose),
        f"{ours}/b": one(f"{theirs}.bias", num_outputs),
    }


def haiku_bank_sizes(arrays: Arrays) -> dict[str, int]:
    """Width and depth of Haiku's per-parameter network."""
    depth = count(arrays, "ff_mod_stack/~/w{}", start=1)
    return {"mlp_width": arrays["ff_mod_stack/~/b0"].shape[-1], "mlp_depth": max(depth, 1)}


def haiku_network(ours: str, bank: Shape, mlp_width: int, mlp_depth: int) -> Plan:
    """Haiku's per-parameter network, its first layer split by groups of inputs; `bank` is its leading axes, () or
    (bank,).
    """
    root = "ff_mod_stack/~/"
    groups = tuple((f"{root}w0__{index}", (*bank, size, mlp_width)) for index, size in enumerate(GROUPS))
    plan = {
        f"{ours}/0/w": Source(groups, axis=len(bank), transpose=True),
        f"{ours}/0/b": one(f"{root}b0", *bank, mlp_width),
    }
    for index in range(1, mlp_depth + 1):
        outputs = NUM_OUTPUTS if index == mlp_depth else mlp_width
        plan[f"{ours}/{index}/w"] = one(f"{root}w{index}", *bank, mlp_width, outputs, transpose=True)
        plan[f"{ours}/{index}/b"] = one(f"{root}b{index}", *bank, outputs)
    return plan


def haiku_lstm_sizes(arrays: Arrays) -> dict[str, int]:
    """Hidden units of Haiku's LSTM."""
    return {"lstm_size": arrays["lstm_init_state/hidden"].shape[1]}


def haiku_hypernetwork(num_inputs: int, lstm_size: int, num_mixtures: int) -> Plan:
    """Haiku's LSTM over tensors; without controls if `num_mixtures` is 0."""
    ours, theirs = "hypernetwork", "rnn_params"
    plan = {
        f"{ours}/initial_hidden": one("lstm_init_state/hidden", 1, lstm_size, squeeze=True),
        f"{ours}/initial_cell": one("lstm_init_state/cell", 1, lstm_size, squeeze=True),
        **haiku_linear(f"{ours}/unused", f"{theirs}/linear", num_inputs, lstm_size),
        **haiku_linear(f"{ours}/pool", f"{theirs}/linear_1", num_inputs, lstm_size),
        **haiku_linear(f"{ours}/mix", f"{theirs}/linear_2", num_inputs, lstm_size),
        **haiku_linear(f"{ours}/lstm", f"{theirs}/rnn/linear", 2 * lstm_size, 4 * lstm_size),
        **haiku_linear(f"{ours}/step_size", f"{theirs}/step_size", lstm_size, 1),
    }
    if num_mixtures > 0:
        plan |= haiku_linear(f"{ours}/controls", f"{theirs}/rnn_to_controls", lstm_size, num_mixtures)
    return plan


def steered_sizes(arrays: Arrays) -> dict[str, int]:
    """Sizes of HyperV2 or Celo."""
    bank = {"num_mixtures": arrays["ff_mod_stack/~/b0"].shape[0]}
    return haiku_lstm_sizes(arrays) | bank | haiku_bank_sizes(arrays)


def hyper_v2(lstm_size: int, num_mixtures: int, mlp_width: int, mlp_depth: int) -> Plan:
    """HyperV2 of learned_optimization."""
    network = haiku_network("bank", (num_mixtures,), mlp_width, mlp_depth)
    return haiku_hypernetwork(30, lstm_size, num_mixtures) | network


def celo(lstm_size: int, num_mixtures: int, mlp_width: int, mlp_depth: int) -> Plan:
    """Celo of the celo repository."""
    network = haiku_network("bank", (num_mixtures,), mlp_width, mlp_depth)
    return haiku_hypernetwork(18, lstm_size, num_mixtures) | network


def celo_adam(lstm_size: int) -> Plan:
    """Celo-Adam of the celo repository."""
    return haiku_hypernetwork(18, lstm_size, 0)


def celo2(mlp_width: int, mlp_depth: int) -> Plan:
    """Celo2 of the celo2 repository."""
    return haiku_network("network", (), mlp_width, mlp_depth)


def adafac_mlp_sizes(arrays: Arrays) -> dict[str, int]:
    """Sizes of learned_optimization's AdafacMLPLOpt."""
    return {"mlp_width": arrays["nn/~/b0"].shape[0], "mlp_depth": max(count(arrays, "nn/~/w{}") - 1, 1)}


def adafac_mlp(mlp_width: int, mlp_depth: int) -> Plan:
    """AdafacMLPLOpt of learned_optimization."""
    sizes = (NUM_MLP_INPUTS, *[mlp_width] * mlp_depth, 2)
    plan = {
        "momentum_decays": one("momentum_decays", 3),
        "second_moment_decays": one("rms_decays", 1),
        "factored_decays": one("adafactor_decays", 3),
    }
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        plan[f"network/{index}/w"] = one(f"nn/~/w{index}", inputs, outputs, transpose=True)
        plan[f"network/{index}/b"] = one(f"nn/~/b{index}", outputs)
    return plan


def rnn_mlp_sizes(arrays: Arrays) -> dict[str, int]:
    """Sizes of learned_optimization's RNNMLPLOpt."""
    return haiku_lstm_sizes(arrays) | {
        "mlp_width": arrays["ffmod_params/mlp/~/linear_0/b"].shape[0],
        "mlp_depth": max(count(arrays, "ffmod_params/mlp/~/linear_{}/w") - 1, 1),
        "from_mlp_size": arrays["initial_from_mlp"].shape[0],
        "from_lstm_size": arrays["initial_from_lstm"].shape[0],
        "lstm_to_mlp_size": arrays["rnn_to_ff_params/rnn_to_ff/b"].shape[0],
    }


def rnn_mlp(
    lstm_size: int, mlp_width: int, mlp_depth: int, from_mlp_size: int, from_lstm_size: int, lstm_to_mlp_size: int
) -> Plan:
    """RNNMLPLOpt of learned_optimization."""
    sizes = (37 + lstm_to_mlp_size, *[mlp_width] * mlp_depth, 2 + from_mlp_size)
    lstm_inputs = 18 + from_mlp_size + from_lstm_size + lstm_size
    plan = {
        "initial_hidden": one("lstm_init_state/hidden", 1, lstm_size, squeeze=True),
        "initial_cell": one("lstm_init_state/cell", 1, lstm_size, squeeze=True),
        "initial_from_mlp": one("initial_from_mlp", from_mlp_size),
        "initial_from_lstm": one("initial_from_lstm", from_lstm_size),
        **haiku_linear("lstm", "rnn_params/rnn/linear", lstm_inputs, 4 * lstm_size),
        **haiku_linear("to_mlp", "rnn_to_ff_params/rnn_to_ff", lstm_size, lstm_to_mlp_size),
        **haiku_linear("to_lstm", "rnn_to_in_params/rnn_to_in", lstm_size, from_lstm_size),
    }
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        name = f"ffmod_params/mlp/~/linear_{index}"
        plan |= haiku_linear(f"network/{index}", name, inputs, outputs, transpose=True)
    return plan


def pylo_velo_sizes(arrays: Arrays) -> dict[str, int]:
    """Sizes of PyLO's VeLORNN and VeLOMLP."""
    return {
        "lstm_size": arrays["mix_layer1.bias"].shape[0],
        "num_mixtures": arrays["input_bias_"].shape[0],
        "mlp_width": arrays["input_bias_"].shape[1],
        "mlp_depth": 1 + count(arrays, "hidden_weights_.{}"),
    }


def pylo_velo(lstm_size: int, num_mixtures: int, mlp_width: int, mlp_depth: int) -> Plan:
    """PyLO's modules VeLORNN and VeLOMLP together."""
    ours = "hypernetwork"
    plan = {
        f"{ours}/initial_hidden": one("lstm_init_state.0", 1, lstm_size, squeeze=True),
        f"{ours}/initial_cell": one("lstm_init_state.1", 1, lstm_size, squeeze=True),
        **torch_linear(f"{ours}/unused", "mix_layer1", 30, lstm_size),
        **torch_linear(f"{ours}/pool", "mix_layer2", 30, lstm_size),
        **torch_linear(f"{ours}/mix", "final_mix_layer", 30, lstm_size),
        **torch_linear(f"{ours}/lstm", "lstm.linear", 2 * lstm_size, 4 * lstm_size),
        **torch_linear(f"{ours}/step_size", "step_size", lstm_size, 1),
        **torch_linear(f"{ours}/controls", "rnn_to_controls", lstm_size, num_mixtures),
    }
    names = ["input_{}_", *(f"hidden_{{}}_.{index}" for index in range(mlp_depth - 1)), "output_{}_"]
    sizes = (NUM_INPUTS, *[mlp_width] * mlp_depth, NUM_OUTPUTS)
    for index, (name, inputs, outputs) in enumerate(zip(names, sizes[:-1], sizes[1:], strict=True)):
        plan[f"bank/{index}/w"] = one(name.format("weights"), num_mixtures, outputs, inputs)
        plan[f"bank/{index}/b"] = one(name.format("bias"), num_mixtures, outputs)
    return plan


def pylo_mlp_sizes(arrays: Arrays) -> dict[str, int]:
    """Sizes of PyLO's MetaMLP."""
    depth = 1 + count(arrays, "network.linear_{}.weight")
    return {"mlp_width": arrays["network.input.bias"].shape[0], "mlp_depth": depth}


def pylo_mlp(mlp_width: int, mlp_depth: int) -> Plan:
    """PyLO's module MetaMLP. Its decays are arguments there and fields of the architecture here."""
    names = ["input", *(f"linear_{index}" for index in range(mlp_depth - 1)), "output"]
    sizes = (NUM_MLP_INPUTS, *[mlp_width] * mlp_depth, 2)
    plan: Plan = {}
    for index, (name, inputs, outputs) in enumerate(zip(names, sizes[:-1], sizes[1:], strict=True)):
        plan |= torch_linear(f"network/{index}", f"network.{name}", inputs, outputs, transpose=False)
    return plan


def pylo_celo2_sizes(arrays: Arrays) -> dict[str, int]:
    """Sizes of PyLO's CELO2MLP."""
    return {"mlp_width": arrays["b0"].shape[0], "mlp_depth": max(count(arrays, "dense_w.{}"), 1)}


def pylo_celo2(mlp_width: int, mlp_depth: int) -> Plan:
    """PyLO's module CELO2MLP, whose layers are (inputs, outputs)."""
    groups = tuple((f"w0.{index}", (size, mlp_width)) for index, size in enumerate(GROUPS))
    plan = {"network/0/w": Source(groups, transpose=True), "network/0/b": one("b0", mlp_width)}
    for index in range(mlp_depth):
        outputs = NUM_OUTPUTS if index == mlp_depth - 1 else mlp_width
        plan[f"network/{index + 1}/w"] = one(f"dense_w.{index}", mlp_width, outputs, transpose=True)
        plan[f"network/{index + 1}/b"] = one(f"dense_b.{index}", outputs)
    return plan


def dense_celo2_sizes(arrays: Arrays) -> dict[str, int]:
    """Sizes of PyLO's earlier Celo2MLP."""
    return {"mlp_width": arrays["first_layer.bias"].shape[0], "mlp_depth": 2}


def dense_celo2(mlp_width: int, mlp_depth: int) -> Plan:
    """PyLO's earlier module Celo2MLP, which has two hidden layers."""
    assert mlp_depth == 2
    return {
        **torch_linear("network/0", "first_layer", NUM_INPUTS, mlp_width, transpose=False),
        **torch_linear("network/1", "hidden", mlp_width, mlp_width, transpose=False),
        **torch_linear("network/2", "output", mlp_width, NUM_OUTPUTS, transpose=False),
    }


def grouped_celo2_sizes(arrays: Arrays) -> dict[str, int]:
    """Sizes of `grouped_celo2`."""
    return {"mlp_width": arrays["first_layer_bias"].shape[0], "mlp_depth": 2}


def grouped_celo2(mlp_width: int, mlp_depth: int) -> Plan:
    """Celo2MLP with its first layer split by groups of inputs."""
    groups = tuple((f"first_layer_weights.{index}", (mlp_width, size)) for index, size in enumerate(GROUPS))
    first = {"network/0/w": Source(groups, axis=1), "network/0/b": one("first_layer_bias", mlp_width)}
    return dense_celo2(mlp_width, mlp_depth) | first
