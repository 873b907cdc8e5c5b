"""The command `velo-evaluate`."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tyro.conf import UseAppendAction

from configs import import_path, output_folder, study_command
from configs.command_line import HELP, CommandLineError, parse
from configs.exit_code import exit_code

PROG = "velo-evaluate"
FEW_OUTER_STEPS = 1000
"""Below this number of outer steps, a report says what such a short meta-training can't show."""
SHORT = {"--seeds": "--num-seeds", "--baselines": "--optimizers"}


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of an evaluation that are not settings."""

    weights: UseAppendAction[tuple[Path, ...]] = ()
    """Weights file of an optimizer to evaluate beside the others; may be given several times."""
    architecture: UseAppendAction[tuple[str, ...]] = ()
    """Your own class, as module:MyOptimizer, for weights files that hold one; may be given several times."""
    untrained: bool = False
    """Also evaluate each optimizer of --weights with an untrained theta: what meta-training has to beat."""
    out: Path | None = None
    """Folder of the curves and the report; none continues an unfinished runs/evaluate-PRESET with the same settings, or
    takes the first that doesn't exist."""
    clock: bool = False
    """After the runs, measures the time per step of every optimizer on every task: on one core, in turns, the minimum
    of nine repetitions. Run nothing else on the machine meanwhile."""
    report: Path | None = None
    """Runs nothing: rewrites the report of this folder, with all tasks that are finished."""
    compare: tuple[Path, ...] | None = None
    """Runs nothing: reports on the optimizers of two or more folders together, on the tasks that all have."""


def notes(records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """For each optimizer, how long it was meta-trained, and what to expect of it."""
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
    """A short name for each weights file: its own, or its folder's if it is called `weights`."""
    chosen: list[str] = []
    for path in paths:
        base = path.resolve().parent.name if path.stem == "weights" else path.stem
        number = sum(name.rpartition("#")[0] == base or name == base for name in chosen) + 1
        chosen.append(base if number == 1 else f"{base}#{number}")
    return chosen


def expand(argv: Sequence[str], default: str) -> list[str]:
    """The words of the command line with its short forms expanded: no preset, those of `SHORT`, `--optimizers a,b`."""
    words: list[str] = []
    if argv and argv[0].startswith("-") and argv[0] not in HELP:
        words.append(default)
    in_optimizers = False
    for word in argv:
        flag, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if word.startswith("--"):
            flag = SHORT.get(flag, flag)
            in_optimizers = flag == "--optimizers"
            words.append(flag if in_optimizers else flag + equals + value)
            if not (in_optimizers and equals):
                continue
            word = value
        words += [part for part in word.split(",") if part] if in_optimizers else [word]
    return words


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0, 2 for a user's mistake, 130 for an interrupt."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if code := exit_code(PROG, import_path.leave_working_folder, mistakes=(import_path.ShadowedError,)):
        return code
    from meta_train import environment

    environment.apply()
    import_path.append_working_folder()
    import jax  # the environment must be set before JAX is imported

    import velo
    from configs import references
    from configs.evaluation import DEFAULT, PRESETS
    from evaluation import Clock, Contender, baselines, run, saved_evaluation
    from evaluation.report import writer
    from evaluation.trainable import UntrainableError
    from meta_train.run_log import read_metrics
    from tasks.data.missing import MissingDataError

    def command() -> None:
        if argv[:1] == ["study"]:
            study_command.command(argv[1:])
            return
        if argv and argv[0] in HELP:
            print(f"{study_command.PROG} lists the experiments of papers, {PROG} compares optimizers:\n")  # noqa: T201
        preset, settings, options = parse(PRESETS, expand(argv, DEFAULT), prog=PROG, options=Options())
        if options.report is not None:
            writer.write(options.report, mistaken(saved_evaluation.load, options.report))
            return
        if options.compare is not None:
            merged = mistaken(saved_evaluation.merge, *options.compare)
            writer.write(options.out or output_folder.new("compare"), merged)
            return
        evaluation = mistaken(settings.resolve)
        taken = [(name, "a baseline") for name in baselines.names()]
        taken += [(contender.name, "another optimizer") for contender in evaluation.contenders]
        paths = dict(zip(names(options.weights), options.weights, strict=True))
        for name, kind in taken:
            if name in paths:
                raise CommandLineError(f"{paths[name]} would be reported as {name!r}, the name of {kind}: rename it")
        architectures = [references.architecture(name) for name in options.architecture]
        optimizers = {name: references.load_weights(path, architectures) for name, path in paths.items()}
        if options.untrained:
            key = jax.random.key(0)
            optimizers |= {f"{name} untrained": (opt, opt.init(key)) for name, (opt, _) in optimizers.items()}
        records = {name: velo.weights_info(path).record for name, path in paths.items()}
        lines = [line for path in paths.values() for line in read_metrics(path.parent)]
        curve = [(line["step"], line["loss"]) for line in lines if _are_numbers(line.get("step"), line.get("loss"))]
        learned = [Contender(name, *weights) for name, weights in optimizers.items()]
        evaluation = dataclasses.replace(evaluation, contenders=(*learned, *evaluation.contenders))
        out = options.out or output_folder.unfinished(
            f"evaluate-{preset}", lambda folder: saved_evaluation.is_unfinished(folder, evaluation)
        )
        out.mkdir(parents=True, exist_ok=True)  # a folder that can't be written to is refused before hours of work
        clock = Clock() if options.clock else None
        run(evaluation, out, notes=notes(records), meta_training=curve if len(paths) == 1 else (), clock=clock)

    def mistaken(function, *arguments):
        try:
            return function(*arguments)
        except ValueError as error:
            raise CommandLineError(str(error)) from None

    mistakes = (
        CommandLineError,
        references.UnresolvedError,
        velo.WeightsError,
        MissingDataError,
        UntrainableError,
    )
    return exit_code(PROG, command, mistakes=mistakes)


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) for value in values)
