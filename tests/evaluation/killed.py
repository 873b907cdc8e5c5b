"""A sweep that kills its own process after some curves, as `kill -9` would; `test_entry_point` starts it."""

import os
import signal
import sys
from pathlib import Path

from rich.console import Console

from evaluation import curve_store, run
from tests.evaluation.test_entry_point import EVALUATION

NUM_CURVES = 4


def main(out: Path) -> None:
    put, count = curve_store.CurveStore.put, 0

    def counting_put(self, key, curve):
        nonlocal count
        if count == NUM_CURVES:
            # In the middle of the next file.
            self.path(key, curve).with_name(f".{key}.parquet-{os.getpid()}").write_bytes(b"half a curve")
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        return put(self, key, curve)

    curve_store.CurveStore.put = counting_put
    run(EVALUATION, out, console=Console(quiet=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
