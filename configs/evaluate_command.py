"""The command `velo-evaluate`."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tyro.conf import UseAppendAction

from configs import output_folder
from configs.command_line import CommandLineError, parse
from configs.exit_code import exit_code
from meta_train import environment
from tasks.data.missing import MissingDataError

PROG = "velo-evaluate"
FEW_OUTER_STEPS = 1000
"""Below this number of outer steps a report says what so short a meta-training can't show."""


@dataclasses.dataclass(frozen=True)
class Options:
    weights: UseAppendAction[tuple[Path, ...]] = ()
    """Weights file of an optimizer to evaluate beside the baselines; may be given several times."""
    untrained: bool = False
    """Also evaluate each optimizer with an untrained theta: what meta-training has to beat."""
    out: Path | None = None
    """Folder of the curves and the report; none takes the first of runs/evaluate-PRESET, ... that doesn't exist."""


def notes(records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What each optimizer's record says about how far it was meta-trained, and what to expect of it."""
    texts = []
    for name, record in records.items():
        steps = record.get("outer_steps")
        if not isinstance(steps, int):
            continue
        text = f"{name} was meta-trained for {steps} outer steps."
        if steps < FEW_OUTER_STEPS:
            text += (
                " So few show that meta-training works on this machine, not what it can reach: "
                "expect gains on tasks like those it was meta-trained on and little elsewhere."
            )
        texts.append(text)
    return texts


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
    import jax  # the environment has to stand before JAX is imported

    import velo
    from configs.evaluation import PRESETS
    from evaluation.run import evaluate
    from meta_train.run_log import read_metrics

    def command() -> None:
        preset, settings, options = parse(PRESETS, argv, prog=PROG, options=Options())
        if not options.weights:
            raise CommandLineError("needs at least one --weights PATH, a file that velo-meta-train wrote")
        paths = dict(zip(names(options.weights), options.weights, strict=True))
        for name in paths.keys() & set(settings.baselines):
            raise CommandLineError(f"{paths[name]} would be reported as {name!r}, the name of a baseline: rename it")
        optimizers = {name: velo.load_weights(path) for name, path in paths.items()}
        if options.untrained:
            key = jax.random.key(0)
            optimizers |= {f"{name} untrained": (opt, opt.init(key)) for name, (opt, _) in optimizers.items()}
        records = {name: velo.weights_info(path).record for name, path in paths.items()}
        curve = [(line["step"], line["loss"]) for line in read_metrics(options.weights[0].parent)]
        out = options.out or output_folder.new(f"evaluate-{preset}")
        out.mkdir(parents=True, exist_ok=True)  # a folder that can't be written to is refused before hours of work
        evaluate(settings, optimizers, out, notes=notes(records), meta_training=curve if len(paths) == 1 else ())

    return exit_code(PROG, command, mistakes=(CommandLineError, velo.WeightsError, MissingDataError))
