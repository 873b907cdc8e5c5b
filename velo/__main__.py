"""`python -m velo`: WEIGHTS describes a weights file, `train TASK` tries weights, `kernel` builds the C++ kernel."""

import argparse
import json
import sys
from pathlib import Path

from velo.architectures.velo import kernel
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


def train(arguments: list[str]) -> int:
    """`python -m velo train`. It needs the tasks; using an optimizer doesn't.

    Raises:
        ModuleNotFoundError: the tasks, or what they need, are not installed.
        ValueError: a foreign package on the path has the name of one of ours.
    """
    here = Path.cwd().resolve()
    if here != Path(__file__).resolve().parents[1]:  # a folder of the user's named configs would hide ours
        sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]
    from configs import import_path

    try:
        import_path.leave_working_folder()
        from configs import train_command
    except import_path.ShadowedError as error:
        raise ValueError(str(error)) from None
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}: the bundled tasks need pip install 'velo[tasks]'") from error
    return train_command.main(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; the exit status is 0, or 2 with a message on standard error if it fails."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == ["train"]:
            return train(arguments[1:])
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
