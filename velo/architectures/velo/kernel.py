"""VeLO's passes over the parameters and its eigenbasis in C++, for CPUs: optional.

`python -m velo kernel build` builds it. Without it, and on accelerators, both run in JAX; derivatives always use JAX.
The two implementations agree to rounding, and each can continue from the other's state. `VELO_KERNEL` selects one:
`auto` (the default) uses the kernel if it has been built for this machine, `on` requires it, `off` disables it.
`velo-meta-train` and `velo-evaluate` use it only with `on`, so that all processes of a run compute the same bits.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jaxlib.version

VARIABLE = "VELO_KERNEL"
MODES = ("auto", "on", "off")
SOURCES = Path(__file__).with_name("cpp")
HANDLERS = ("velo_accumulate", "velo_steps", "velo_enter", "velo_leave")
FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", "-fPIC", "-shared"]


def in_use() -> bool:
    """Whether an optimizer that is bound now uses the kernel where its program runs on a CPU.

    Raises:
        ValueError: `VELO_KERNEL` is none of auto, on and off, or is on where the kernel has not been built.
    """
    chosen = mode()
    if chosen == "off":
        return False
    if library_path().exists():
        return True
    if chosen == "on":
        raise ValueError(f"{VARIABLE} is on, and {library_path()} is missing: run `python -m velo kernel build`")
    return False


def mode() -> str:
    """The value of `VELO_KERNEL`; a ValueError if it is none of auto, on and off."""
    chosen = os.environ.get(VARIABLE, "auto")
    if chosen not in MODES:
        raise ValueError(f"{VARIABLE} must be one of {', '.join(MODES)}, got {chosen!r}")
    return chosen


def describe() -> str:
    """One line for people: whether the kernel is in use on CPUs, and why not."""
    path = library_path()
    if not path.exists():
        return f"not built: {path} is missing; `python -m velo kernel build` makes it. JAX computes the updates."
    if in_use():
        return f"in use: {path} ({VARIABLE}={mode()})"
    return f"not in use: {path} is there, {VARIABLE}={mode()} on {jax.default_backend()}. JAX computes the updates."


def library_path() -> Path:
    """Under the user's cache; one for each version of the source and of jaxlib, and for each kind of processor."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return cache / "velo" / "kernel" / f"{_digest()}.so"


def build() -> Path:
    """Compiles for this machine's processor with `$CXX`, or c++.

    Raises:
        OSError: there is no such compiler.
        ValueError: the compiler didn't accept the source.
    """
    path = library_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    native = ["-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        library = Path(folder) / path.name
        sources = [str(path) for path in sorted(SOURCES.glob("*.cpp"))]
        command = [*compiler, *FLAGS, *native, f"-isystem{jax.ffi.include_dir()}", *sources, "-o", str(library)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"the kernel could not be built: {shlex.join(command)}\n{done.stderr.strip()}")
        library.replace(path)  # atomically, since other processes may look for it
    return path


def call(
    handler: str,
    in_jax: Callable[..., list[jax.Array]],
    operands: Sequence[jax.Array],
    *,
    in_place: dict[int, int] | None = None,
    **attributes: Any,
) -> list[jax.Array]:
    """`in_jax(*operands)`, float32 arrays, computed by the kernel's handler where the program runs on a CPU.

    Args:
        in_jax: the JAX implementation; derivatives go through it even where the kernel runs.
        in_place: index of an operand -> index of the result that overwrites it.
        attributes: constants of the handler.
    """
    results = jax.eval_shape(in_jax, *operands)

    def by_kernel(*operands):
        target = jax.ffi.ffi_call(
            _register()[handler], results, vmap_method="broadcast_all", input_output_aliases=in_place
        )
        return list(target(*operands, **attributes))

    @jax.custom_jvp
    def function(*operands):
        return jax.lax.platform_dependent(*operands, cpu=by_kernel, default=in_jax)

    @function.defjvp
    def differentiate(primals, tangents):
        return jax.jvp(in_jax, primals, tangents)

    return function(*operands)


@functools.cache
def _digest() -> str:
    parts = [
        *(path.read_text() for path in sorted(SOURCES.glob("*.[ch]*"))),
        jaxlib.version.__version__,
        *FLAGS,
        platform.system(),
        platform.machine(),
        _processor(),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    """The processor's features: a library built on another node may use instructions that this one lacks."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


@functools.cache
def _register() -> dict[str, str]:
    """Registers the handlers; returns their target names, which hold the digest, since a cached program must not call
    handlers of another source.
    """
    library = ctypes.CDLL(str(library_path()))
    targets = {handler: f"{handler}_{_digest()}" for handler in HANDLERS}
    for handler, target in targets.items():
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(library, handler)), platform="cpu")
    return targets
