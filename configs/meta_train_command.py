"""The command `velo-meta-train`."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from configs import output_folder
from configs.command_line import CommandLineError, parse
from configs.exit_code import exit_code
from meta_train import environment
from tasks.data.missing import MissingDataError

PROG = "velo-meta-train"


@dataclasses.dataclass(frozen=True)
class Options:
    out: Path | None = None
    """Folder of the run; none takes the first of runs/PRESET, runs/PRESET-2, ... that doesn't exist."""
    resume: bool = False
    """Go on with the run in that folder from its last checkpoint; without --out, with the preset's last run."""


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    environment.apply()
    from configs.meta_training import PRESETS  # the environment has to stand before JAX is imported
    from meta_train.checkpoint import CheckpointError
    from meta_train.run import run
    from meta_train.run_folder import RunFolderError

    def command() -> None:
        preset, settings, options = parse(PRESETS, argv, prog=PROG, options=Options())
        find = output_folder.latest if options.resume else output_folder.new
        run(settings, out=options.out or find(preset), resume=options.resume)

    return exit_code(PROG, command, mistakes=(CommandLineError, RunFolderError, CheckpointError, MissingDataError))
