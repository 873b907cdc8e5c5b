"""Weights files: saving and loading theta together with the architecture that it belongs to."""

import dataclasses
import functools
import importlib.metadata
import json
import os
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from velo.atomic_file import write_atomically
from velo.learned_optimizer import LearnedOptimizer, Theta
from velo.weights import configuration, msgpack_file, released, tensor_file
from velo.weights.tensor_file import WeightsError

try:
    from jax.experimental import disable_x64  # pyright: ignore[reportAttributeAccessIssue]
except ImportError:  # newer versions of JAX
    disable_x64 = functools.partial(jax.enable_x64, False)

DEFAULT_WEIGHTS = pathlib.Path(__file__).with_name("default.velo")
"""The weights that come with the package; docs/model_card.md describes them."""
LIGHT_WEIGHTS = DEFAULT_WEIGHTS.with_name("light.velo")
"""Elementwise weights that come with the package: less memory, and less time per step."""
FORMAT_VERSION = 3
OLDER_FIELDS = {1: {"basis": "elementwise", "decay": "cosine"}, 2: {"decay": "cosine"}}
"""Fields of VeLO that files of older versions lack, with the values that these files mean."""
DESCRIPTION = "velo"  # our entry in the metadata: JSON with the fields of WeightsInfo except the shapes
CHECKSUM = "velo_sha256"  # of that entry's text
RELEASED = "released file of "
PYLO_AXES = (
    "where the two largest sizes of a tensor are equal, PyLO's VeLO takes these axes the other way round than google's "
    "VeLO and this package: with the same weights its steps on square matrices and on kernels of as many input as "
    "output channels differ from those here. They agree if a matrix is transposed and a kernel (O, I, H, W) is turned "
    "to (H, W, O, I)"
)


@dataclasses.dataclass(frozen=True)
class WeightsInfo:
    """What a weights file says about itself; all of it can be read without building the optimizer."""

    architecture: str
    """Class name, one of `velo.ARCHITECTURES`, or `module:attribute` of a user's own class."""
    configuration: Mapping[str, Any]
    """Its dataclass fields."""
    record: Mapping[str, Any]
    """How it was meta-trained, as the writer chose to say; JSON values."""
    licence: str
    digest: str
    """SHA-256 of names, dtypes, shapes and values of the arrays, whatever the record says."""
    package_version: str
    """The package and version that wrote the file; for a released file, the origin of its format."""
    format_version: int
    """0 for released files."""
    shapes: Mapping[str, tuple[int, ...]]
    """Shape of every array, by its path in theta."""

    @property
    def num_meta_parameters(self) -> int:
        """Number of entries of theta."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())


def save_weights(
    path: str | os.PathLike,
    optimizer: LearnedOptimizer,
    theta: Theta,
    record: Mapping[str, Any] | None = None,
    licence: str = "not stated",
) -> WeightsInfo:
    """Writes a self-describing file, atomically; it holds no code.

    Args:
        path: any suffix, by convention `.velo`. The layout is safetensors, which other tools read too.
        optimizer: a frozen dataclass; its fields are written, and the name of its class: the bare name for
            `velo.ARCHITECTURES`, `module:attribute` for a class of one's own.
        theta: its meta-parameters, of the shapes and dtypes of `optimizer.init`.
        record: how it was meta-trained; any JSON values.
        licence: of the weights, an SPDX name.

    Returns:
        What `weights_info` reads from the file.

    Raises:
        WeightsError: the optimizer can't be saved (`check_saveable`), theta does not fit it, or the record is not JSON.
        OSError: the file can't be written; what stood there before is untouched.
    """
    check_saveable(optimizer)
    arrays = {path: np.asarray(leaf) for path, leaf in _leaves(theta).items()}
    _check_arrays(arrays, _leaves(_specification(optimizer)), what="theta")
    description = {
        "format_version": FORMAT_VERSION,
        "package_version": f"velo {importlib.metadata.version('velo')}",
        "architecture": configuration.architecture_name(type(optimizer)),
        "configuration": dataclasses.asdict(optimizer),  # pyright: ignore[reportArgumentType]
        "record": dict(record or {}),
        "licence": licence,
        "digest": tensor_file.digest(arrays),
    }
    try:
        text = json.dumps(description, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"the record has to be JSON: {error}") from None
    metadata = {DESCRIPTION: text, CHECKSUM: configuration.sha256(text)}
    write_atomically(path, tensor_file.encode(arrays, metadata))
    return _info(description, arrays)


def check_saveable(optimizer: LearnedOptimizer) -> None:
    """Checks that `save_weights` can save this optimizer; call it before a training run, not after it.

    Raises:
        WeightsError: it is not a frozen dataclass with JSON scalars and tuples of them as fields, its class can't be
            imported by its reference, or its theta is not a tree of float32 arrays with paths that differ.
    """
    configuration.check_recordable(optimizer)
    leaves = _leaves(_specification(optimizer))
    if not leaves:
        raise WeightsError(f"the theta of {optimizer} has no arrays")
    for name, leaf in leaves.items():
        if leaf.dtype != jnp.float32:
            raise WeightsError(f"the theta of {optimizer} has to be float32, but {name or 'it'} is {leaf.dtype}")


def load_weights(
    path: str | os.PathLike,
    *,
    architecture: type[LearnedOptimizer] | None = None,
    companion: str | os.PathLike | None = None,
    **options: Any,
) -> tuple[LearnedOptimizer, Theta]:
    """The optimizer and its theta.

    Architecture and sizes are inferred from the arrays of released files. What the arrays don't show is an option,
    above all HyperV2's `legacy_lstm_state` and `legacy_loss_features`: both are True for Google's checkpoints that have
    no configuration beside them, and False for Celo's copy of VeLO. PyLO's small_fc_lopt comes without its decays
    (`momentum_decays` and so on) and multipliers. PyLO's VeLO is loaded with a warning of where its steps differ.

    Args:
        path: a file of `save_weights`, or a released one: flax msgpack of a theta, of params, gen_id and step, or of
            the older tuple of these, from learned_optimization, celo or celo2; PyLO's safetensors.
        architecture: the class, if it doesn't come with this package. A file only names it and never causes its import.
        companion: the other file of weights that come in two, PyLO's VeLO_RNN and VeLO_MLP.
        options: fields of the architecture that override those of the file; its sizes can't be overridden.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: the file is damaged, of another kind or of another architecture, an option is unknown, or an array
            is missing, superfluous, or of the wrong shape or dtype: each is named, with both shapes.
    """
    info, arrays = _read(path, companion)
    try:
        classes = configuration.classes(info.architecture, architecture)
        optimizer = configuration.build(classes, info.architecture, {**info.configuration, **options})
        if architecture is None:
            _check_depth(optimizer, len(arrays))
        specification = _specification(optimizer)
        leaves = _leaves(specification)
        for name in _inferred(info):
            arrays.setdefault(name, np.zeros(leaves[name].shape, leaves[name].dtype))
        _check_arrays(arrays, leaves, what=info.architecture)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    if info.package_version == RELEASED + released.PYLO_VELO:
        warnings.warn(f"{path}: {PYLO_AXES}", stacklevel=2)
    structure = jax.tree.structure(specification)
    with jax.ensure_compile_time_eval():  # constants, also where a program is being traced
        return optimizer, structure.unflatten([jnp.asarray(arrays[name]) for name in leaves])


def weights_info(path: str | os.PathLike, *, companion: str | os.PathLike | None = None) -> WeightsInfo:
    """What the file says about itself, its digest and checksum verified; of a released file, what was inferred.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: the file is damaged or of another kind.
    """
    return _read(path, companion)[0]


def _read(
    path: str | os.PathLike, companion: str | os.PathLike | None = None
) -> tuple[WeightsInfo, dict[str, np.ndarray]]:
    try:
        arrays, metadata, record = _decode(path)
        if DESCRIPTION in metadata:
            if companion is not None:
                raise WeightsError("complete: there is no companion file")
            return _read_own(arrays, metadata)
        if companion is not None:
            others, _, _ = _decode(companion)
            if shared := sorted(set(arrays) & set(others)):
                raise WeightsError(f"the companion has some of the same arrays: {shared[:8]}")
            arrays |= others
        found = released.recognise(arrays)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    description = {
        "architecture": found.architecture,
        "configuration": found.configuration,
        "record": record,
        "licence": "not stated",
        "digest": tensor_file.digest(found.arrays),
        "package_version": RELEASED + found.kind,
        "format_version": 0,
    }
    return _info(description, found.arrays), found.arrays


def _decode(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str], dict[str, Any]]:
    """Arrays by the names in the file, metadata of a safetensors file, record of a msgpack file."""
    data = tensor_file.read_bytes(path)
    if tensor_file.is_tensor_file(data):
        return *tensor_file.decode(data), {}
    if msgpack_file.is_msgpack_map(data):
        arrays, record = msgpack_file.decode(data)
        return arrays, {}, record
    if data[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise WeightsError("a pickle, which can run code and is never loaded; convert it to safetensors first")
    raise WeightsError("neither safetensors nor flax msgpack")


def _read_own(arrays: dict[str, np.ndarray], metadata: Mapping[str, str]) -> tuple[WeightsInfo, dict[str, np.ndarray]]:
    info = _info(_parse_description(metadata), arrays)
    digest = tensor_file.digest(arrays)
    if digest != info.digest:
        raise WeightsError(f"damaged: the digest of the arrays is {digest}, the file says {info.digest}")
    return info, arrays


def _inferred(info: WeightsInfo) -> tuple[str, ...]:
    """Leaves of theta that a released format may lack: AdafacMLP's learned changes of the decays, then zero."""
    decays = ("momentum_decays", "second_moment_decays", "factored_decays")
    return decays if info.format_version == 0 and info.architecture == "AdafacMLP" else ()


def _parse_description(metadata: Mapping[str, str]) -> dict[str, Any]:
    text = metadata[DESCRIPTION]
    if metadata.get(CHECKSUM) != configuration.sha256(text):
        raise WeightsError("damaged: the description does not have the checksum that stands beside it")
    try:
        description = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"the description is not JSON: {error}") from None
    expected = {
        "format_version": int,
        "package_version": str,
        "architecture": str,
        "configuration": dict,
        "record": dict,
        "licence": str,
        "digest": str,
    }
    if not isinstance(description, dict):
        raise WeightsError("the description is not a map")
    version = description.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise WeightsError(f"format version {version} is newer than this package, which reads up to {FORMAT_VERSION}")
    for field, kind in expected.items():
        if type(description.get(field)) is not kind:
            raise WeightsError(f"the description has no {field} of type {kind.__name__}")
    if description["architecture"] == "VeLO":
        description["configuration"] = (
            OLDER_FIELDS.get(description["format_version"], {}) | description["configuration"]
        )
    return description


def _info(description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> WeightsInfo:
    fields = {field.name for field in dataclasses.fields(WeightsInfo)}
    return WeightsInfo(
        **{name: value for name, value in description.items() if name in fields},
        shapes={name: array.shape for name, array in arrays.items()},
    )


def _specification(optimizer: LearnedOptimizer) -> Theta:
    """Shapes and dtypes of theta; nothing is computed."""
    with disable_x64():  # theta is float32 wherever it is loaded
        return jax.eval_shape(lambda: optimizer.init(jax.random.key(0)))


def _check_depth(optimizer: LearnedOptimizer, num_arrays: int) -> None:
    """Refuses a depth above the number of arrays, since each layer has one: it would only cost a lot of time."""
    for name, value in vars(optimizer).items():
        if name.endswith("_depth") and value > num_arrays:
            raise WeightsError(f"{name} is {value}, but there are only {num_arrays} arrays")


def _leaves(theta: Theta) -> dict[str, Any]:
    """The leaves by their path, `hypernetwork/lstm/w`, in the order of the tree."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(theta)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    if len(named) != len(leaves):
        raise WeightsError("two arrays of theta have the same path in its tree")
    return named


def _check_arrays(arrays: Mapping[str, Any], expected: Mapping[str, Any], what: str) -> None:
    """Raises one WeightsError that lists everything that doesn't fit."""
    problems = [f"{name}: not in {what}, has shape {arrays[name].shape}" for name in arrays if name not in expected]
    for name, leaf in expected.items():
        if name not in arrays:
            problems.append(f"{name}: missing, should have shape {leaf.shape}")
        elif arrays[name].shape != leaf.shape:
            problems.append(f"{name}: has shape {arrays[name].shape}, should have {leaf.shape}")
        elif arrays[name].dtype != leaf.dtype:
            problems.append(f"{name}: has dtype {arrays[name].dtype}, should have {leaf.dtype}")
    if problems:
        shown = problems[:20] + [f"and {len(problems) - 20} more"] * (len(problems) > 20)
        raise WeightsError(f"the arrays don't fit {what}:\n  " + "\n  ".join(shown))
