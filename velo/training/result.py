"""What a run gives to its callbacks and to its caller."""

import dataclasses
from typing import Any, NamedTuple

import jax

from velo.shapes import Float
from velo.training.history import History
from velo.training.step import TrainState


class Step(NamedTuple):
    """What a callback sees after a step.

    The arrays of `state` are gone after the next step: copy what has to stay. Reading `loss` waits for the device.
    """

    step: int  # updates done, from 1
    loss: Float[jax.Array, ""]
    aux: Any
    state: TrainState
    evaluation: dict[str, float] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """A trained model, or one on the way; `velo.fit(..., resume=fitted)` goes on from it."""

    state: TrainState
    history: History

    @property
    def params(self) -> Any:
        return self.state.params

    @property
    def model_state(self) -> Any:
        return self.state.model_state

    @property
    def num_steps_done(self) -> int:
        return int(self.state.step)

    def __repr__(self) -> str:
        return f"Fitted({self.history!r})"


class NonFiniteLossError(FloatingPointError):
    """The loss stayed NaN or infinite; `fitted` is the run up to there."""

    def __init__(self, message: str, fitted: Fitted):
        super().__init__(message)
        self.fitted = fitted
