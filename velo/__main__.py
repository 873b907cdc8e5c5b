"""`python -m velo WEIGHTS`: prints what a weights file is."""

import argparse
import json
import sys

from velo.weights import WeightsInfo, weights_info


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


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 2 with a message on standard error when the file can't be read."""
    parser = argparse.ArgumentParser(prog="python -m velo", description="Prints what a weights file is.")
    parser.add_argument("weights", help="a file of velo.save_weights, or a released one")
    parser.add_argument("--companion", help="the other file of weights that come in two")
    options = parser.parse_args(arguments)
    try:
        print(describe(weights_info(options.weights, companion=options.companion)))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
