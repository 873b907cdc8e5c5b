"""The command `velo-evaluate study`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from configs import output_folder
from configs.command_line import HELP, CommandLineError, Preset, parse

PROG = "velo-evaluate study"
QUICK = "--quick"


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a study that are not sizes."""

    quick: bool = False
    """Use the sizes that take minutes instead of the full ones."""
    out: Path | None = None
    """Folder of the measurements and the page; none continues an unfinished runs/study-NAME with the same sizes, or
    takes the first that doesn't exist."""


def overview() -> str:
    """The studies with their titles."""
    from evaluation.studies.registry import STUDIES

    width = max(map(len, STUDIES), default=0)
    lines = [f"  {name:{width}}  {study.title} ({study.paper})" for name, study in STUDIES.items()]
    return "\n".join(
        [
            f"usage: {PROG} NAME [--quick] [--out DIR] [--field value ...]",
            "",
            "studies:",
            *lines,
            "",
            f"{PROG} NAME --help lists the sizes of a study.",
            "",
        ]
    )


def command(argv: Sequence[str]) -> None:
    """Lists the studies, or runs one.

    Raises:
        CommandLineError: a study, field or value is unknown or refused.
    """
    from configs.evaluation_names import check_known
    from evaluation import studies
    from evaluation.studies import entry_point
    from evaluation.studies.registry import STUDIES

    if not argv or argv[0] in HELP:
        print(overview(), end="")  # noqa: T201
        return
    try:
        check_known("study", argv[0], STUDIES)
    except ValueError as error:
        raise CommandLineError(str(error)) from None
    kind = STUDIES[argv[0]]
    preset = Preset(f"{kind.title} ({kind.paper}).", kind.quick() if QUICK in argv else kind())
    name, study, options = parse({argv[0]: preset}, argv, prog=PROG, options=Options())
    folder = f"study-{name}-quick" if options.quick else f"study-{name}"
    studies.run(study, options.out or output_folder.unfinished(folder, lambda at: entry_point.is_unfinished(at, study)))
