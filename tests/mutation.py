"""Seeded mutations of files, as fuzzers make them, and bounds that reading any of them has to keep."""

import contextlib
import sys
import time
import tracemalloc
from collections.abc import Iterator

import numpy as np

SECONDS = 2.0
"""Processor time that reading one small file may take."""
BYTES = 2**27
"""Memory that Python and NumPy may allocate for it."""
NUMBERS = [0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1]
TOKENS = [
    b"", b"\0" * 64, b"\xff" * 64, b"[" * 5000, b'{"a":' * 5000, b"9" * 5000, b"1e999", b"NaN", b"-Infinity", b"null",
    b"true", b'""', b"{}", b"[]", b"-1", b'"../../../etc/passwd"', b'"*"', b"\xdf\xff\xff\xff\xff", b"\xc1",
    b"\x80\x04", b"cos\nsystem\n", b"<script>", b"\xe2\x80\xae", b"\xed\xa0\x80", b"\n", b'"__import__"',
    b'"os:system"',
]  # fmt: skip
FORBIDDEN = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "shutil.rmtree")
"""Audit events of code that a file must never cause to run."""


def mutations(samples: list[bytes], number: int, seed: int = 0) -> Iterator[bytes]:
    """`number` damaged copies of the samples: bits, numbers, cuts, copies, tokens, and parts of other samples."""
    random = np.random.default_rng(seed)
    for _ in range(number):
        data = bytearray(samples[random.integers(len(samples))])
        for _ in range(random.integers(1, 5)):
            _change(data, samples, random)
        yield bytes(data)


def _change(data: bytearray, samples: list[bytes], random: np.random.Generator) -> None:
    size = len(data)
    begin = int(random.integers(size + 1))
    end = min(size, begin + int(2 ** random.uniform(0, 12)))
    match random.integers(7):
        case 0 if begin < size:
            data[begin] ^= 1 << int(random.integers(8))
        case 1:
            width = int(2 ** random.integers(4))
            number = int(random.choice(len(NUMBERS)))
            order = "little" if random.integers(2) else "big"
            data[begin : begin + width] = (NUMBERS[number] % 2 ** (8 * width)).to_bytes(width, order)
        case 2:
            del data[begin:end]
        case 3:
            data[begin:begin] = data[begin:end]
        case 4:
            data[begin : begin + int(random.integers(8))] = TOKENS[random.integers(len(TOKENS))]
        case 5:
            other = samples[random.integers(len(samples))]
            place = int(random.integers(len(other) + 1))
            data[begin:end] = other[place : place + end - begin]
        case _:
            del data[begin:]


class Watch:
    """Fails a test as soon as one input breaks a bound."""

    def __init__(self):
        self._on = False
        self._events: list[str] = []
        sys.addaudithook(self._hear)  # which can't be taken off again

    def _hear(self, event, arguments):
        if self._on and event in FORBIDDEN:
            self._events.append(f"{event} {arguments}"[:200])

    @contextlib.contextmanager
    def bounded(self, data: bytes) -> Iterator[None]:
        """A context for reading one file; fails if the reading breaks a bound."""
        tracemalloc.reset_peak()
        before, begin = tracemalloc.get_traced_memory()[0], time.process_time()
        self._on = True
        try:
            yield
        finally:
            self._on = False
        seconds, memory = time.process_time() - begin, tracemalloc.get_traced_memory()[1] - before
        assert seconds < SECONDS, f"{seconds:.1f} s for {data[:200]!r}"
        assert memory < BYTES, f"{memory} bytes for {data[:200]!r}"
        assert not self._events, f"{self._events} for {data[:200]!r}"

    @contextlib.contextmanager
    def all_of_them(self) -> Iterator[None]:
        """A context around the reading of all files."""
        tracemalloc.start(1)
        try:
            yield
        finally:
            tracemalloc.stop()


WATCH = Watch()
