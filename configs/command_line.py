"""Parses `PRESET [--field value ...]` into checked settings, or refuses it with one line that says what is wrong."""

import contextlib
import dataclasses
import difflib
import io
import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, NoReturn, TypeVar

import tyro

from configs import fields

Options = TypeVar("Options")

HELP = ("-h", "--help")
PLACEHOLDER = "NAME|MODULE:ATTRIBUTE"
OWN = "take a bundled name or, as MODULE:ATTRIBUTE, your own from a module that is installed or in the working folder."


class Preset(NamedTuple):
    """Settings with a name and a sentence about them."""

    description: str
    settings: Any  # a frozen dataclass
    adapt: Callable[[Any], Any] = lambda settings: settings
    """Adapts the settings after `--field TYPE` or `--field module:attribute`; the user's further overrides win."""


class CommandLineError(ValueError):
    """The command line is invalid; the message is one line."""


def parse(
    presets: Mapping[str, Preset], argv: Sequence[str], *, prog: str, options: Options
) -> tuple[str, Any, Options]:
    """The preset's name, its settings with the overrides of `argv`, and the options of the run.

    Every field of the settings, and of the settings inside them, can be overridden by its dotted name. If a field may
    have one of several types, `--field TYPE` chooses one. If it is an optimizer, a mixture or a suite, its value is a
    bundled name or `module:attribute` (`configs.references`).

    Args:
        presets: by name.
        argv: the words that were typed.
        prog: name of the command, for its help.
        options: a frozen dataclass of options that are not settings, such as the output folder.

    Raises:
        CommandLineError: a preset, field or name is unknown, or a value is of the wrong type or refused.
        SystemExit: help was printed, with status 0 if it was asked for, or 2 if no word was typed.
    """
    from configs.references import REFERENCES, UnresolvedError  # imports JAX, before which the environment must be set

    if not argv or argv[0] in HELP:
        print(overview(presets, prog, REFERENCES), end="")  # noqa: T201
        raise SystemExit(0 if argv else 2)
    name, *rest = argv
    if name not in presets:
        _refuse_preset(name, presets)
    try:
        settings, others = fields.choose(presets[name].settings, rest, REFERENCES)
    except (ValueError, UnresolvedError) as error:
        raise CommandLineError(str(error)) from None
    if len(others) < len(rest):
        settings = presets[name].adapt(settings)
    known = [*fields.flags(settings, REFERENCES), *fields.flags(options)]
    for word in others:
        if word.startswith("--") and word not in HELP and _flag(word) not in known:
            raise CommandLineError(f"unknown field {_flag(word)}; did you mean {_nearest_flag(_flag(word), known)}?")
    try:
        parsed = _parse_with_tyro(settings, options, others, f"{prog} {name}", presets[name].description, REFERENCES)
    except UnresolvedError as error:
        raise CommandLineError(str(error)) from None
    return name, *parsed


def overview(presets: Mapping[str, Preset], prog: str, references: fields.References) -> str:
    """The presets with their descriptions: what `--help` prints without a preset."""
    flags = sorted({flag for preset in presets.values() for flag in fields.named(preset.settings, references)})
    width = max(map(len, presets))
    lines = [f"  {name:{width}}  {preset.description}" for name, preset in presets.items()]
    return "\n".join(
        [
            f"usage: {prog} PRESET [--field value ...]",
            "",
            "presets:",
            *lines,
            "",
            f"{prog} PRESET --help lists the fields with the preset's values.",
            *([f"{', '.join(flags)} {OWN}"] if flags else []),
            "",
        ]
    )


def _refuse_preset(name: str, presets: Mapping[str, Preset]) -> NoReturn:
    known = f"known: {', '.join(presets)}"
    if name.startswith("-"):
        raise CommandLineError(f"the first argument is a preset, got {name}; {known}")
    nearest = difflib.get_close_matches(name, presets, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise CommandLineError(f"unknown preset {name!r}; {hint}{known}")


def _flag(word: str) -> str:
    return word.partition("=")[0].replace("_", "-")


def _nearest_flag(flag: str, known: Sequence[str]) -> str:
    """The most similar flag, by its whole dotted name or by its last part: users forget prefixes."""

    def similarity(candidate: str) -> float:
        ends = candidate.rpartition(".")[2].removeprefix("--"), flag.rpartition(".")[2].removeprefix("--")
        return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in ((candidate, flag), ends))

    return max(known, key=similarity)


def _parse_with_tyro(
    settings, options, argv: Sequence[str], prog: str, description: str, references: fields.References
) -> tuple[Any, Any]:
    command = dataclasses.make_dataclass(
        "Command",
        [
            (
                "settings",
                Annotated[tyro.conf.FlagConversionOff[type(settings)], tyro.conf.arg(name="")],
                dataclasses.field(default=settings),
            ),
            (
                "options",
                Annotated[tyro.conf.FlagCreatePairsOff[type(options)], tyro.conf.arg(name="")],
                dataclasses.field(default=options),
            ),
        ],
        frozen=True,
    )
    choices = {path: "|".join(types) for path, types in fields.choices(settings, references).items()}
    notes = [f"--{path} {words} chooses another type." for path, words in choices.items()]
    named = fields.named(settings, references)
    notes += [f"{', '.join(named)} {OWN}"] if named else []
    errors = io.StringIO()
    try:
        with _unwrapped(argv), contextlib.redirect_stderr(errors), _named(references):
            parsed: Any = tyro.cli(
                command,
                prog=prog,
                description=" ".join([description, *notes]),
                args=list(argv),
                config=(tyro.conf.AvoidSubcommands,),
            )
    except SystemExit as stop:
        if stop.code:
            raise CommandLineError(_condense(errors.getvalue(), argv)) from None
        raise
    except ValueError as error:  # refused by the settings themselves
        raise CommandLineError(" ".join(str(error).split())) from None
    return parsed.settings, parsed.options


def _named(references: fields.References) -> tyro.constructors.ConstructorRegistry:
    """A registry with which tyro parses values that are given by one name."""
    registry = tyro.constructors.ConstructorRegistry()

    def rule(info: tyro.constructors.PrimitiveTypeInfo):
        resolve = references.values.get(info.type) if isinstance(info.type, type) else None
        if resolve is None:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar=PLACEHOLDER,
            instance_from_str=lambda words: resolve(words[0]),
            is_instance=lambda value: isinstance(value, info.type),
            str_from_instance=lambda value: [str(value)],
        )

    registry.primitive_rule(rule)
    return registry


@contextlib.contextmanager
def _unwrapped(argv: Sequence[str]) -> Iterator[None]:
    """Makes the terminal very wide for tyro, which prints errors in a box: the message then stays on one line."""
    columns = os.environ.get("COLUMNS")
    if not any(word in HELP for word in argv):
        os.environ["COLUMNS"] = "100000"
    try:
        yield
    finally:
        os.environ.pop("COLUMNS", None)
        if columns is not None:
            os.environ["COLUMNS"] = columns


def _condense(box: str, argv: Sequence[str]) -> str:
    """Condenses tyro's error box to one line: what is wrong, and what was typed."""
    _, *lines = [line.strip("│| ") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()]
    lines = list(itertools.dropwhile(_is_rule, lines))
    message = " ".join(itertools.takewhile(lambda line: not _is_rule(line), lines))
    refused = re.fullmatch(r"Error parsing (\S+): (.*)", message)
    if refused is None:
        return message[:1].lower() + message[1:].removesuffix(".")
    source, reason = refused.groups()
    expected = [line.removeprefix(source).strip() for line in lines[1:] if line.startswith(f"{source} ")]
    if not expected:
        return reason
    return f"{source} takes {expected[0]}, got {' '.join(_values(source, argv)) or 'nothing'}"


def _is_rule(line: str) -> bool:
    return not line.strip("─-")


def _values(flag: str, argv: Sequence[str]) -> list[str]:
    """The words that follow the last occurrence of `flag`."""
    values: list[str] = []
    for word in argv:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            current = _flag(name)
            if current == flag:
                values = [value] if equals else []
        elif current == flag:
            values.append(word)
    return values
