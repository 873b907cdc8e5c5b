"""Damaged and hostile weights files: always a WeightsError, quickly, in bounded memory, and no code is run."""

import json
import pickle
import re
import time
import tracemalloc

import flax.serialization
import jax
import msgpack
import numpy as np
import pytest

import velo
from tests.mutation import WATCH, mutations
from tests.velo import recordings
from velo.weights import tensor_file, weights_file

SECONDS = 1.0
BYTES = 2**26


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """The bytes of one small file of every kind."""
    folder = tmp_path_factory.mktemp("samples")
    optimizer = velo.AdafacMLP()
    theta = optimizer.init(jax.random.key(0))
    velo.save_weights(folder / "own.velo", optimizer, theta, {"steps": 3})
    network = {"first_layer.weight": (8, 30), "hidden.weight": (8, 8), "output.weight": (3, 8)}
    network |= {"first_layer.bias": (8,), "hidden.bias": (8,), "output.bias": (3,)}
    arrays = {name: np.zeros(shape, np.float32) for name, shape in network.items()}
    return {
        "own": (folder / "own.velo").read_bytes(),
        "safetensors": tensor_file.encode(arrays, {"format": "pt"}),
        "msgpack": (recordings.FOLDER / "adafac_mlp_lopt_default.params_ckpt").read_bytes(),
    }


def load(folder, data):
    """None if the file was refused as it should be, else what was loaded."""
    path = folder / "fuzzed"
    path.write_bytes(data)
    begin = time.process_time()
    try:
        loaded, message = velo.load_weights(path), f"{path}"
    except velo.WeightsError as error:
        loaded, message = None, str(error)
    assert time.process_time() - begin < SECONDS
    assert str(path) in message
    assert len(message) < 10000
    return loaded


@pytest.mark.parametrize("kind", ["own", "safetensors", "msgpack"])
def test_truncated_at_every_length(kind, samples, tmp_path):
    data = samples[kind]
    assert load(tmp_path, data) is not None
    for length in range(len(data)):
        assert load(tmp_path, data[:length]) is None
    assert load(tmp_path, data + b"\0") is None


def test_flipped_bits_of_our_own_are_all_found(samples, tmp_path):
    data = samples["own"]
    header = 8 + int.from_bytes(data[:8], "little")
    padding = len(data[8:header]) - len(data[8:header].rstrip())
    random = np.random.default_rng(0)
    for position in range(len(data)):
        if header - padding <= position < header:
            continue
        flipped = bytearray(data)
        flipped[position] ^= 1 << int(random.integers(8))
        assert load(tmp_path, bytes(flipped)) is None, position


@pytest.mark.parametrize("kind", ["safetensors", "msgpack"])
def test_flipped_bytes_of_others_are_refused_or_only_change_values(kind, samples, tmp_path):
    random = np.random.default_rng(1)
    data = samples[kind]
    for position in range(0, len(data), 2):
        flipped = bytearray(data)
        flipped[position] = int(random.integers(256))
        load(tmp_path, bytes(flipped))


@pytest.mark.parametrize("number", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutated(number, samples, tmp_path):
    """Mutations of all kinds of files, including parts of one file inserted into another."""
    with WATCH.all_of_them():
        for data in mutations(list(samples.values()), number):
            with WATCH.bounded(data):
                load(tmp_path, data)


def header_only(header):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


def packed_array(shape, dtype="float32", values=b"\0" * 4, code=1):
    return msgpack.packb({"w": msgpack.ExtType(code, msgpack.packb([shape, dtype, values]))})


def nested_maps(depth):
    return b"\x81\xa1a" * depth + b"\x80"


def nested_arrays(depth, size):
    return b"\x81\xa1a" + (b"\xdd" + size.to_bytes(4, "big")) * depth + b"\0" * 10000


HOSTILE = {
    "empty": b"",
    "huge header": (2**63).to_bytes(8, "little") + b"{" + b" " * 100,
    "header beyond the end": (2**19).to_bytes(8, "little") + b"{",
    "nested lists": header_only(b'{"a":' + b"[" * 500000),
    "nested maps in JSON": header_only(b'{"a":' * 100000),
    "huge number": header_only(b'{"a":' + b"9" * 500000 + b"}"),
    "twice the same": header_only(b'{"w":{},"w":{}}'),
    "infinite offset": header_only(b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,1e999]}}'),
    "not text": header_only(b'{"\xff":1}'),
    "huge shape": header_only(entry(shape=(2**40, 2**40))) + b"\0" * 4,
    "huge empty shape": header_only(entry(shape=(2**40, 2**40, 0), offsets=(0, 0))),
    "negative size": header_only(entry(shape=(-1, -1))) + b"\0" * 4,
    "true as a size": header_only(entry(shape=(True,))) + b"\0" * 4,
    "high rank": header_only(entry(shape=(1,) * 100)) + b"\0" * 4,
    "unknown dtype": header_only(entry(dtype="object")) + b"\0" * 4,
    "offsets backwards": header_only(entry(offsets=(4, 0))) + b"\0" * 4,
    "metadata of numbers": header_only({"__metadata__": {"velo": 3}}),
    "no arrays": header_only({}),
    "msgpack nested maps": nested_maps(100000),
    "msgpack nested a little": nested_maps(20),
    "msgpack nested huge arrays": nested_arrays(1000, 10000),
    "msgpack huge map": b"\xdf\xff\xff\xff\xff",
    "msgpack huge text": b"\x81\xdb\xff\xff\xff\xff",
    "msgpack huge bytes": b"\x81\xa1a\xc6\xff\xff\xff\xff",
    "msgpack huge extension": b"\x81\xa1a\xc9\xff\xff\xff\xff\x01",
    "msgpack huge shape": packed_array([2**40, 2**40]),
    "msgpack negative shape": packed_array([-1]),
    "msgpack huge empty shape": packed_array([2**40, 2**40, 0], values=b""),
    "msgpack objects": packed_array([1], dtype="object", values=b"\0" * 8),
    "msgpack odd dtype": packed_array([1], dtype="O8,(10000000,)f4"),
    "msgpack other extension": packed_array([1], code=7),
    "msgpack extension in extension": msgpack.packb({"w": msgpack.ExtType(1, msgpack.packb(msgpack.ExtType(1, b"")))}),
    "msgpack number as key": msgpack.packb({1: 2}),
    "msgpack step of text": flax.serialization.msgpack_serialize({"params": {}, "gen_id": 3, "step": "x"}),
    "pickle": pickle.dumps({"w": np.zeros(3)}),
    "zip": b"PK\x03\x04" + b"\0" * 100,
    "text": b"hello, world",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name, tmp_path):
    tracemalloc.start()
    try:
        assert load(tmp_path, HOSTILE[name]) is None
        assert tracemalloc.get_traced_memory()[1] < BYTES
    finally:
        tracemalloc.stop()


def test_a_configuration_cannot_ask_for_much(samples, tmp_path):
    """A file that is consistent in itself, but whose sizes are absurd."""
    arrays, metadata = tensor_file.decode(samples["own"])
    for field, value in [("mlp_depth", 2**16), ("mlp_depth", 2**40), ("mlp_width", 2**16), ("mlp_width", "4")]:
        description = json.loads(metadata["velo"])
        description["configuration"][field] = value
        text = json.dumps(description)
        changed = {"velo": text, "velo_sha256": velo.weights.configuration.sha256(text)}
        assert load(tmp_path, tensor_file.encode(arrays, changed)) is None


def test_newer_format_is_named(samples, tmp_path):
    arrays, metadata = tensor_file.decode(samples["own"])
    newer = weights_file.FORMAT_VERSION + 1
    text = re.sub(r'"format_version": \d+', f'"format_version": {newer}', metadata["velo"])
    path = tmp_path / "newer"
    path.write_bytes(tensor_file.encode(arrays, {"velo": text, "velo_sha256": velo.weights.configuration.sha256(text)}))
    with pytest.raises(velo.WeightsError, match=f"format version {newer} is newer"):
        velo.load_weights(path)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(velo.WeightsError, match="not a file"):
        velo.load_weights(tmp_path)
