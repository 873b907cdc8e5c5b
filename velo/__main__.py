"""`python -m velo`: WEIGHTS says what a weights file is, `train TASK` tries weights, `kernel` builds the C++ passes."""

import argparse
import importlib.util
import json
import sys
from pathlib import Path

from velo import kernel, train_command
from velo.weights import DEFAULT_WEIGHTS, WeightsInfo, weights_info


def describe(info: WeightsInfo) -> str:
    """Architecture, sizes, record of the meta-training, digest and arrays, for people to read."""
    lines = [
        f"architecture     {info.architecture}",
        *(f"  {name:<24} {value}" for name, value in sorted(info.configuration.items())),
        f"meta-parameters  {info.num_meta_parameters}",
        f"licence          {info.licence}",
        f"digest           sha256:{info.digest}",
        f"written by       {info.package_version}, format {info.format_version}",
        "meta-training    " + (json.dumps(info.record, indent=2, sort_keys=True) if info.record else "not stated"),
        "arrays",
        *(f"  {name:<36} {shape}" for name, shape in sorted(info.shapes.items())),
    ]
    return "\n".join(lines)


def settle_path() -> None:
    """Puts the working folder at the end of the path: Python puts it first, where its `tasks` would hide ours.

    Raises:
        ValueError: another folder of the path hides the package.
    """
    home, here = Path(__file__).resolve().parents[1], Path.cwd().resolve()
    if here != home:
        sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]
    spec = importlib.util.find_spec("tasks")
    if spec is not None and (spec.origin is None or Path(spec.origin).resolve().parents[1] != home):
        found = spec.origin or next(iter(spec.submodule_search_locations or ()), None)
        raise ValueError(f"{found} hides the package tasks of this installation, {home / 'tasks'}: rename it")
    if spec is not None:
        importlib.import_module("tasks")  # before the working folder is there at all
    if str(here) not in sys.path:
        sys.path.append(str(here))


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 2 with a message on standard error where the request can't be met."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == ["train"]:
            parser = argparse.ArgumentParser(prog="python -m velo train", description=train_command.__doc__)
            train_command.add_arguments(parser)
            options = parser.parse_args(arguments[1:])
            settle_path()
            train_command.run(options)
        elif arguments[:1] == ["kernel"]:
            parser = argparse.ArgumentParser(prog="python -m velo kernel", description=kernel.__doc__)
            parser.add_argument("action", nargs="?", choices=["status", "build"], default="status")
            if parser.parse_args(arguments[1:]).action == "build":
                kernel.build()
            print(kernel.describe())
        else:
            options = _parser().parse_args(arguments)
            path = DEFAULT_WEIGHTS if options.weights == "default" else options.weights
            print(describe(weights_info(path, companion=options.companion)))
    except (OSError, ValueError, FloatingPointError, ModuleNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m velo",
        description="Prints what a weights file is. `python -m velo train --help` is about trying one, "
        "`python -m velo kernel --help` about faster updates on CPUs.",
    )
    parser.add_argument("weights", help="a file of velo.save_weights, or a released one; default: those of the package")
    parser.add_argument("--companion", help="the other file of weights that come in two")
    return parser


if __name__ == "__main__":
    sys.exit(main())
