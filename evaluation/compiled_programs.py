"""Compiles programs ahead of time, keeps a bounded number of them, and times compiling and running separately.

The cache belongs to the object that made it. Dropping a program frees it and its memory maps; JAX's own caches and
other programs of the process are left alone.
"""

import collections
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax

MAX_PROGRAMS = 48
"""Maximum number of programs kept. Each takes hundreds of the 65,530 memory maps that Linux grants a process by
default; a sweep of 150 pairs of tasks and optimizers ran out of them when all programs were kept."""


@dataclasses.dataclass(frozen=True, eq=False)
class CompiledProgram:
    """An executable and the time that its compilation took."""

    executable: Any
    compile_seconds: float

    def memory_bytes(self) -> int | None:
        """Bytes of arguments, results and temporaries by XLA's analysis; None if the backend has none."""
        try:
            memory = self.executable.memory_analysis()
        except (RuntimeError, NotImplementedError):
            return None
        if memory is None:
            return None
        return (
            memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            + memory.temp_size_in_bytes
            - memory.alias_size_in_bytes
        )


class CompiledPrograms:
    """A cache of at most `max_programs` programs; it drops the least recently used one first."""

    def __init__(self, max_programs: int = MAX_PROGRAMS):
        if max_programs < 1:
            raise ValueError(f"CompiledPrograms: max_programs must be at least 1, got {max_programs}")
        self.max_programs = max_programs
        self.num_compilations = 0
        self._programs: collections.OrderedDict[Any, CompiledProgram] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._programs)

    def get(self, function: Callable, static: tuple, *arguments: Any) -> CompiledProgram:
        """The program of `function(*static, *arguments)`, compiled if it isn't in the cache.

        Args:
            function: at module level, so that it is the same object at every call.
            static: hashable values that the program is specialised to.
            arguments: pytrees of arrays; only their structure and types matter.
        """
        leaves, treedef = jax.tree.flatten(arguments)
        types = tuple(jax.typeof(leaf) for leaf in leaves)
        key = function, static, treedef, types
        if key in self._programs:
            self._programs.move_to_end(key)
            return self._programs[key]
        program = _compile(function, static, treedef, types)
        self.num_compilations += 1
        self._programs[key] = program
        while len(self._programs) > self.max_programs:
            self._programs.popitem(last=False)
        return program


def _compile(function: Callable, static: tuple, treedef: Any, types: tuple) -> CompiledProgram:
    """Compiles from types alone, before the run starts, so that compilation isn't counted as a part of the run."""

    # Each program gets its own function. JAX's caches hold functions by weak reference, so they free a program together
    # with its function. A single jitted function would keep every program that was ever made from it.
    def program(*arguments):
        return function(*static, *arguments)

    program.__name__ = function.__name__
    arguments = treedef.unflatten(
        [jax.ShapeDtypeStruct(kind.shape, kind.dtype, weak_type=kind.weak_type) for kind in types]
    )
    begin = time.perf_counter()
    executable = jax.jit(program).lower(*arguments).compile()
    return CompiledProgram(executable, time.perf_counter() - begin)


class Stopwatch:
    """Calls the programs of one run, and adds up the seconds of running and compiling them."""

    def __init__(self, programs: CompiledPrograms):
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self._programs = programs
        self._called: dict[CompiledProgram, None] = {}

    def call(self, function: Callable, static: tuple, *arguments: Any) -> Any:
        """The result of `function(*static, *arguments)`; blocks until it is computed."""
        program = self._programs.get(function, static, *arguments)
        self._called[program] = None
        begin, cpu_begin = time.perf_counter(), time.process_time()
        result = jax.block_until_ready(program.executable(*arguments))
        self.seconds += time.perf_counter() - begin
        self.cpu_seconds += time.process_time() - cpu_begin
        return result

    @property
    def compile_seconds(self) -> float:
        """Seconds of compiling all programs that were called, including those compiled in an earlier run."""
        return sum(program.compile_seconds for program in self._called)

    def memory_bytes(self) -> int | None:
        """Bytes of the largest program that was called; None if the backend reports none."""
        found = [program.memory_bytes() for program in self._called]
        return max((number for number in found if number is not None), default=None)
