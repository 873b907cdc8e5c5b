"""The command `velo-evaluate`."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from tyro.conf import UseAppendAction

from configs import output_folder
from configs.command_line import CommandLineError, parse
from configs.exit_code import exit_code
from meta_train import environment

PROG = "velo-evaluate"


@dataclasses.dataclass(frozen=True)
class Options:
    weights: UseAppendAction[tuple[Path, ...]] = ()
    """Weights file of an optimizer to evaluate beside the baselines; may be given several times."""
    out: Path | None = None
    """Folder of the curves and the report; none takes the first of runs/evaluate-PRESET, ... that doesn't exist."""


def names(paths: Sequence[Path]) -> list[str]:
    """A short name for each weights file: its own, or its folder's where it is called just `weights`."""
    chosen: list[str] = []
    for path in paths:
        base = path.resolve().parent.name if path.stem == "weights" else path.stem
        number = sum(name.rpartition("#")[0] == base or name == base for name in chosen) + 1
        chosen.append(base if number == 1 else f"{base}#{number}")
    return chosen


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    environment.apply()
    import velo  # the environment has to stand before JAX is imported
    from configs.evaluation import PRESETS
    from evaluation.run import evaluate

    def command() -> None:
        preset, settings, options = parse(PRESETS, argv, prog=PROG, options=Options())
        if not options.weights:
            raise CommandLineError("needs at least one --weights PATH, a file that velo-meta-train wrote")
        optimizers = {
            name: velo.load_weights(path) for name, path in zip(names(options.weights), options.weights, strict=True)
        }
        evaluate(settings, optimizers, out=options.out or output_folder.new(f"evaluate-{preset}"))

    return exit_code(PROG, command, mistakes=(CommandLineError, velo.WeightsError))
