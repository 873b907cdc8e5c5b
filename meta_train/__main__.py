"""`python -m meta_train` is the command `velo-meta-train`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts the working folder first; a `configs` there must not hide ours.
    others = {Path.cwd().resolve()} - {Path(__file__).resolve().parents[1]}
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() not in others]
    from configs.meta_train_command import main

    raise SystemExit(main())
