"""What one training run leaves behind."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """One run of one optimizer on one task with one seed; diverged runs are kept as they are."""

    task: str
    optimizer: str
    hyperparameters: tuple[tuple[str, float], ...]
    """Sorted by name; empty where nothing is tuned."""
    seed: int
    train_loss: np.ndarray
    """[num_steps] float32, each the mean over the batch whose gradient the step took."""
    valid_steps: np.ndarray
    """[checkpoints] int, numbers of steps taken; the last is num_steps."""
    valid_loss: np.ndarray
    """[checkpoints] float32, over the same batches of the validation split at every checkpoint."""
    seconds: float
    """Wall-clock of the run without compilation, divided by the lanes that shared it."""
    compile_seconds: float
    """Wall-clock of the compilation of the programs that it ran in, whole, however many runs shared them."""
    num_lanes: int
    """Runs that shared the program."""

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
