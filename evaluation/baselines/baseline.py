"""The interface of a baseline: an optax optimizer with the hyperparameters that may be tuned.

    def signed(hyperparameters, num_steps):
        return optax.chain(optax.scale_by_sign(), optax.scale_by_learning_rate(hyperparameters["learning_rate"]))

    baseline = Baseline(
        "signed", signed, "a note on its origin",
        space=(("learning_rate", LogUniform(1e-5, 1.0)),),
        defaults=(("learning_rate", 1e-3),),
    )
    tx = baseline.bind({"learning_rate": 0.01}, num_steps=1000)  # an optax transformation for one run
    cosine = baseline.with_schedule("cosine")                    # the same, with a schedule on its learning rate

An evaluation takes it as `Contender("signed", baseline)`, and `velo-evaluate` as `--optimizers my_module:baseline`.
`evaluation.baselines.catalogue` has the bundled baselines.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import optax

from evaluation.baselines.schedules import SCHEDULES, scheduled
from evaluation.baselines.spans import Span

Hyperparameters = Mapping[str, Any]
"""Name -> scalar: a Python number, or a traced value."""
RATE = "learning_rate"
PEAK_RATE = "peak_rate"
"""Name under which a factory also gets the learning rate without its schedule; few need it."""


@dataclasses.dataclass(frozen=True)
class Baseline:
    """An optax optimizer that takes its hyperparameters at `bind`; a frozen dataclass, hashed by value.

    Raises:
        ValueError: a hyperparameter of the space has no default, the schedule is unknown, or the baseline takes none.
    """

    name: str
    """Name in reports and stored curves. Change it when the factory changes what it computes."""
    factory: Callable[[Hyperparameters, int], optax.GradientTransformation]
    """(hyperparameters, num_steps) -> optax transformation; the hyperparameters may be traced.

    "learning_rate" is always among them. It is a scalar, or under a schedule a function of the number of steps taken;
    optax's optimizers take either. For a baseline without a learning rate it is 1, or the schedule's factor.
    """
    paper: str
    """arXiv number or a short reference."""
    space: tuple[tuple[str, Span], ...] = ()
    """(hyperparameter, span from which it is drawn) for each one that is tuned; empty if there are none."""
    defaults: tuple[tuple[str, float], ...] = ()
    """(hyperparameter, value in an untuned run) for all that the factory takes."""
    schedule: str = "constant"
    """Name in `schedules.SCHEDULES`, or "constant"."""
    takes_schedule: bool = True
    """Whether its learning rate may be a function of the step."""
    evaluation_params: Callable[[Any, Any], Any] | None = None
    """(optimizer state, params) -> the params to evaluate, a tree of the same shapes; None for `params` themselves.

    For optimizers whose returned point, such as an average, is not the one at which they take gradients.
    """

    def __post_init__(self):
        missing = sorted(set(dict(self.space)) - set(dict(self.defaults)))
        if missing:
            raise ValueError(f"baseline {self.name!r} needs a default for {missing[0]!r}")
        if self.schedule != "constant" and not self.takes_schedule:
            raise ValueError(f"baseline {self.name!r} takes no schedule, got {self.schedule!r}")
        if self.schedule not in ("constant", *SCHEDULES):
            known = ", ".join(("constant", *SCHEDULES))
            raise ValueError(f"baseline {self.name!r}: unknown schedule {self.schedule!r}; known: {known}")

    def bind(self, hyperparameters: Hyperparameters, num_steps: int) -> optax.GradientTransformation:
        """The optimizer for one run.

        Args:
            hyperparameters: scalars, which may be traced; one that is left out has its default.
            num_steps: length of the run in steps, for schedules and warm-ups.

        Returns:
            An optax transformation. The `update` of some baselines needs the loss of the step's batch as `value`, or
            the function params -> loss as `obj_fn`; `optax.with_extra_args_support` lets all of them take both.

        Raises:
            ValueError: the baseline has no hyperparameter of this name.
        """
        defaults = dict(self.defaults)
        unknown = sorted(set(hyperparameters) - set(defaults))
        if unknown:
            known = ", ".join(defaults) or "none"
            raise ValueError(f"baseline {self.name!r} has no hyperparameter {unknown[0]!r}; it has: {known}")
        values = {RATE: 1.0, **defaults, **hyperparameters}
        values[PEAK_RATE] = values[RATE]
        values[RATE] = scheduled(values[RATE], self.schedule, num_steps)
        return self.factory(values, num_steps)

    def with_schedule(self, schedule: str) -> "Baseline":
        """The same baseline under a schedule; `adam` becomes `adam_cosine`.

        Args:
            schedule: a name in `schedules.SCHEDULES`.

        Raises:
            ValueError: the schedule is unknown, or the baseline takes none.
        """
        return dataclasses.replace(self, name=f"{self.name}_{schedule}", schedule=schedule)
