"""The command `velo-meta-train`."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from configs import import_path, output_folder
from configs.command_line import CommandLineError, parse
from configs.exit_code import exit_code

PROG = "velo-meta-train"


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a run that are not settings."""

    out: Path | None = None
    """Folder of the run; none takes the first of runs/PRESET, runs/PRESET-2, ... that doesn't exist."""
    resume: bool = False
    """Continue the run in that folder from its last checkpoint; without --out, the preset's last run."""
    dry_run: bool = False
    """Print what the run would do and cost, and do nothing."""
    address: str | None = None
    """Ray cluster to run on, such as `auto`: short for --execution.executor ray --execution.address ..."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0, 2 for a user's mistake, 130 for an interrupt."""
    argv = sys.argv[1:] if argv is None else argv
    if code := exit_code(PROG, import_path.leave_working_folder, mistakes=(import_path.ShadowedError,)):
        return code
    from meta_train import environment

    environment.apply()
    import_path.append_working_folder()
    from rich.console import Console

    from configs.meta_training import PRESETS  # environment variables must be set before JAX is imported
    from meta_train import predicted_cost
    from meta_train.checkpoint import CheckpointError
    from meta_train.run import run
    from meta_train.run_folder import RunFolderError
    from meta_train.set_aside import NothingWorksError
    from tasks.data.missing import MissingDataError
    from tasks.mixture import NoSampleError
    from velo import WeightsError

    def command() -> None:
        preset, settings, options = parse(PRESETS, argv, prog=PROG, options=Options())
        if options.address is not None:
            execution = dataclasses.replace(settings.execution, executor="ray", address=options.address)
            settings = dataclasses.replace(settings, execution=execution)
        if settings.execution.executor == "ray":
            environment.keep_off_accelerators()
        if options.dry_run:
            predicted_cost.show(settings, Console())
            return
        find = output_folder.latest if options.resume else output_folder.new
        run(settings, out=options.out or find(preset), resume=options.resume)

    mistakes = (
        CommandLineError,
        RunFolderError,
        CheckpointError,
        NothingWorksError,
        NoSampleError,
        MissingDataError,
        WeightsError,
    )
    return exit_code(PROG, command, mistakes=mistakes)
