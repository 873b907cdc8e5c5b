"""What one training run leaves behind."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class StepSizes:
    """Root mean square of a learned optimizer's update over that of the weights, tensor by tensor."""

    tensors: tuple[str, ...]
    steps: np.ndarray
    """[points] int, numbers of steps taken before."""
    values: np.ndarray
    """[points, tensors] float32."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a run took."""

    seconds: float
    """Wall-clock of the run without compilation, divided by the lanes that shared it."""
    cpu_seconds: float
    """Processor time of the same, over all threads; on an accelerator, the host's share."""
    compile_seconds: float
    """Wall-clock of the compilation of the programs that it ran in, whole, however many runs shared them."""
    state_bytes: int
    """Of the optimizer's state."""
    memory_bytes: int | None
    """Arguments, results and temporaries of the training program by XLA's account, divided by the lanes; None where
    the backend keeps none."""
    num_lanes: int
    """Runs that shared the program."""


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """One run of one optimizer on one task with one seed; diverged runs are kept as they are."""

    task: str
    optimizer: str
    hyperparameters: tuple[tuple[str, float], ...]
    """Sorted by name; empty where nothing is tuned."""
    seed: int
    train_loss: np.ndarray
    """[num_steps] float32, each the mean over the batch whose gradient the step took, at the point that the optimizer
    would return (an average, for some)."""
    valid_steps: np.ndarray
    """[checkpoints] int, numbers of steps taken; the last is num_steps."""
    valid_loss: np.ndarray
    """[checkpoints] float32, over the same batches of the validation split at every checkpoint."""
    cost: Cost
    step_sizes: StepSizes | None = None
    """Of learned optimizers."""
    key: str = ""
    """Under which it is stored (`evaluation.curve_key`)."""

    def __post_init__(self):
        if tuple(sorted(self.hyperparameters)) != self.hyperparameters:
            raise ValueError(f"Curve: hyperparameters must be sorted by name, got {self.hyperparameters}")
        if self.train_loss.ndim != 1 or not len(self.train_loss):
            raise ValueError(f"Curve: train_loss must have shape [num_steps], got {self.train_loss.shape}")
        if self.valid_loss.shape != self.valid_steps.shape or self.valid_loss.ndim != 1:
            raise ValueError(
                f"Curve: one validation loss a checkpoint, got {self.valid_loss.shape} and {self.valid_steps.shape}"
            )
        if not len(self.valid_steps) or self.valid_steps[-1] != len(self.train_loss):
            raise ValueError("Curve: the last validation loss must be taken after the last step")

    @property
    def num_steps(self) -> int:
        return len(self.train_loss)
