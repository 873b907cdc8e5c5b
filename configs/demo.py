"""`make demo`: meta-train for some minutes, evaluate the result on tasks it has not seen, write the report."""

from pathlib import Path

from configs import evaluate_command, meta_train_command, output_folder

PRESET = "demo"


def main() -> int:
    out = output_folder.new(PRESET)
    code = meta_train_command.main([PRESET, "--out", str(out)])
    if code or not _finished(out):
        return code
    return evaluate_command.main(
        [PRESET, "--weights", str(out / "weights.velo"), "--untrained", "--out", str(out / "evaluation")]
    )


def _finished(out: Path) -> bool:
    """False for a run that was interrupted, which ends well and says how to go on."""
    from configs.meta_training import PRESETS  # imports JAX, whose environment stands by now
    from meta_train.run_log import read_metrics

    return len(read_metrics(out)) == PRESETS[PRESET].settings.num_steps


if __name__ == "__main__":
    raise SystemExit(main())
