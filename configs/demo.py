"""`make demo`: meta-trains for some minutes, evaluates the result on held-out tasks, and writes the report."""

from pathlib import Path

from configs import evaluate_command, meta_train_command, output_folder

PRESET = "demo"


def main() -> int:
    """Runs both commands and returns the exit status of the first that fails."""
    out = output_folder.new(PRESET)
    code = meta_train_command.main([PRESET, "--out", str(out)])
    if code or not _finished(out):
        return code
    return evaluate_command.main(
        [PRESET, "--weights", str(out / "weights.velo"), "--untrained", "--out", str(out / "evaluation")]
    )


def _finished(out: Path) -> bool:
    """Whether all outer steps are done. A run that is interrupted ends without an error, too."""
    from configs.meta_training import PRESETS  # imports JAX; its environment variables are set by now
    from meta_train.run_log import read_metrics

    return len(read_metrics(out)) == PRESETS[PRESET].settings.num_steps


if __name__ == "__main__":
    raise SystemExit(main())
