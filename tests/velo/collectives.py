"""What devices send each other in a compiled program, read from its text."""

import math
import re
from typing import NamedTuple

KINDS = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}


class Collective(NamedTuple):
    """One operation of the program."""

    kind: str
    size: int  # bytes of its results on one device


def collectives(text: str) -> list[Collective]:
    """Those of a program, `compiled.as_text()`, in its order; an operation in a loop or a branch counts once."""
    # Asynchronous ones stand as a start and an end: the start counts.
    pattern = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\(")
    found = (pattern.search(line) for line in text.splitlines())
    return [Collective(match[2], _size(match[1])) for match in found if match]


def _size(shapes: str) -> int:
    arrays = re.findall(r"(\w+)\[([\d,]*)\]", shapes)
    return sum(BYTES[dtype] * math.prod(int(side) for side in sides.split(",") if side) for dtype, sides in arrays)
