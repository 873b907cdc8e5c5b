"""The values that a run passes to its callbacks and returns to its caller."""

import dataclasses
from typing import Any, NamedTuple

import jax

from velo.shapes import Float
from velo.training.history import History
from velo.training.step import TrainState


class Step(NamedTuple):
    """What a callback sees after a step.

    The arrays of `state` are donated to the next step: copy those that you keep. Reading `loss` waits for the device.
    """

    step: int  # updates done, from 1
    loss: Float[jax.Array, ""]
    aux: Any
    state: TrainState
    evaluation: dict[str, float] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """A trained model, or a partly trained one: `velo.fit(..., resume=fitted)` continues its run."""

    state: TrainState
    history: History

    @property
    def params(self) -> Any:
        """The trained parameters."""
        return self.state.params

    @property
    def model_state(self) -> Any:
        """The model's state; None if it has none."""
        return self.state.model_state

    @property
    def num_steps_done(self) -> int:
        """Number of updates done."""
        return int(self.state.step)

    def __repr__(self) -> str:
        return f"Fitted({self.history!r})"


class NonFiniteLossError(FloatingPointError):
    """The loss was NaN or infinite too many times in a row; `fitted` is the run up to there."""

    def __init__(self, message: str, fitted: Fitted):
        super().__init__(message)
        self.fitted = fitted
