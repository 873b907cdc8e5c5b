"""`make demo`: meta-train for some minutes, evaluate the result on tasks it has not seen, write the report."""

from configs import evaluate_command, meta_train_command, output_folder

PRESET = "demo"


def main() -> int:
    out = output_folder.new(PRESET)
    return meta_train_command.main([PRESET, "--out", str(out)]) or evaluate_command.main(
        [PRESET, "--weights", str(out / "weights.velo"), "--untrained", "--out", str(out / "evaluation")]
    )


if __name__ == "__main__":
    raise SystemExit(main())
