"""Ablations of the laptop recipe: each variant changes one part at about the same compute, measured on `meta_valid`.

Each variant is meta-trained from scratch for about the same number of inner steps, in one process and on cheap tasks,
and evaluated like any other weights. A call runs one variant, so that several variants can run on several cores. A call
without a variant prints the table of the finished ones. Usage: python benchmarks/ablations.py OUT [VARIANT]
"""

import csv
import dataclasses
import math
import sys
from collections.abc import Callable
from pathlib import Path

from configs import evaluate_command, meta_train_command

NUM_STEPS = 60
CHEAP = "2e-4"
"""Upper limit on the seconds of an inner step, as `tasks.cost` predicts them."""


@dataclasses.dataclass(frozen=True)
class Variant:
    words: str
    arguments: str = ""
    """Arguments of velo-meta-train, appended to those that all variants share."""
    num_steps: int = NUM_STEPS
    """Outer steps, chosen to give as many inner steps as the other variants; 0 skips meta-training."""
    change: Callable[[], None] = lambda: None
    """Patch applied before anything is traced, for changes that have no setting."""


def hold_inputs(first: int, last: int) -> None:
    """Sets the hypernetwork's inputs `INPUTS[first:last]` to zero from now on, with the last also `BASIS_INPUTS`."""
    from velo.architectures.velo import tensor_inputs

    tensor_inputs.INPUTS = tuple(
        (count, usual, math.inf if first <= index < last else spread)
        for index, (count, usual, spread) in enumerate(tensor_inputs.INPUTS)
    )
    if last == len(tensor_inputs.INPUTS):
        blind = tuple((count, usual, math.inf) for count, usual, _ in tensor_inputs.BASIS_INPUTS)
        tensor_inputs.BASIS_INPUTS = blind


def silence_lstm() -> None:
    from velo.architectures.velo import hypernetwork

    applied = hypernetwork.apply_hypernetwork

    def without_hidden(theta, state, inputs):
        output_gate = theta["lstm"]["b"].at[-theta["initial_hidden"].shape[0] :].set(-math.inf)
        return applied({**theta, "lstm": {**theta["lstm"], "b": output_gate}}, state, inputs)

    hypernetwork.apply_hypernetwork = without_hidden


VARIANTS = {
    "untrained": Variant("the untrained optimizer", num_steps=0),
    "recipe": Variant("the recipe"),
    "recipe_again": Variant("the recipe, another seed", "--seed 1"),
    "all_of_theta": Variant("all entries of theta trained, not those of `laptop`", "--estimator.parts"),
    "bank": Variant("only the bank of networks trained", "--estimator.parts bank"),
    "step_sizes": Variant("only the tensors' step sizes trained", "--estimator.parts hypernetwork/log_step"),
    "no_lstm": Variant("without the LSTM: its hidden state is zero", change=silence_lstm),
    "no_loss_features": Variant("without the loss's history", change=lambda: hold_inputs(1, 2)),
    "no_statistics": Variant("without the tensors' statistics", change=lambda: hold_inputs(6, 18)),
    "no_nominal": Variant("without the hand-made direction: the MLP alone", "--optimizer.nominal 0"),
    "imitation": Variant("imitates tuned optimizers first", "--imitation.num-steps 300"),
    "pes": Variant(
        "PES over segments of 50 steps",
        "--estimator PES --family-steps 12",
        num_steps=6 * NUM_STEPS,
    ),
    "many_pairs": Variant("three tasks of 32 pairs an outer step, not twelve of 8",
                          "--num-workers 3 --estimator.num-pairs 32"),
    "small_sigma": Variant("sigma .1, not .2", "--estimator.sigma 0.1"),
    "not_standardized": Variant("differences not standardised a task", "--estimator.standardize False"),
    "final_loss": Variant("the final loss as the objective", "--episodes.objective FinalLoss"),
    "narrow_mixture": Variant("mixture small: MLPs and convolutions on digits, an MLP on text", "--mixture small"),
}  # fmt: skip


def meta_train(name: str, out: Path) -> None:
    variant = VARIANTS[name]
    steps = variant.num_steps
    common = (
        f"laptop --out {out / name} --num-steps {steps} --family-pool 16 --episodes.max-steps 600 "
        f"--curriculum.growth-steps 1000000 --curriculum.first-step-seconds {CHEAP} "
        f"--curriculum.last-step-seconds {CHEAP} --validation.every 0 --execution.executor local"
    )
    rate = f"adamw(warmup_cosine_decay_schedule(0.0, 0.03, {max(1, steps // 10)}, {steps}), b2=0.99)"
    resume = ["--resume"] if (out / name / "checkpoints").exists() else []
    arguments = [
        *common.split(),
        "--outer.chain",
        "clip_by_global_norm(3.0)",
        rate,
        *variant.arguments.split(),
        *resume,
    ]
    if code := meta_train_command.main(arguments):
        sys.exit(code)


def measure(name: str, out: Path) -> None:
    optimizer = f"{name}:{out / name / 'weights.velo'}" if VARIANTS[name].num_steps else name
    arguments = f"--suite meta_valid --seeds 3 --stretch 1 --optimizers adam@1,{optimizer} --out {out / name}-valid"
    if code := evaluate_command.main(arguments.split()):
        sys.exit(code)


def show(out: Path) -> None:
    """Prints the final losses of the finished variants relative to Adam at its default rate, as interquartile means."""
    for name, variant in VARIANTS.items():
        summary = out / f"{name}-valid" / "summary.csv"
        if not summary.exists():
            continue
        (row,) = [row for row in csv.DictReader(summary.open()) if row["optimizer"] == name]
        interval = f"{float(row['ratio_interval_low']):.3f} to {float(row['ratio_interval_high']):.3f}"
        print(f"| {variant.words} | {float(row['ratio']):.3f} ({interval}) | {float(row['geometric_ratio']):.3f} |")


def main() -> None:
    if len(sys.argv) not in (2, 3) or not set(sys.argv[2:]) <= set(VARIANTS):
        sys.exit(f"usage: python benchmarks/ablations.py OUT [VARIANT]; variants: {', '.join(VARIANTS)}")
    out = Path(sys.argv[1])
    if len(sys.argv) == 2:
        return show(out)
    name = sys.argv[2]
    VARIANTS[name].change()
    if VARIANTS[name].num_steps:
        meta_train(name, out)
    measure(name, out)


if __name__ == "__main__":
    main()
