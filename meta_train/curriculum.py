"""The curriculum: how long and how costly the tasks of an outer step may be, and which mixture they come from."""

import dataclasses
import math

from meta_train.task_problem import Episodes
from tasks.mixture import Mixture


@dataclasses.dataclass(frozen=True)
class Curriculum:
    """Limits that grow geometrically over the first outer steps. The defaults set no limit."""

    growth_steps: int = 0
    """Outer steps over which the limits grow; 0 for no growth."""
    first_max_steps: int | None = None
    """Longest episode at the first outer step; none for that of `Episodes`."""
    first_step_seconds: float | None = None
    """Cap on the predicted seconds of an inner step at the first outer step; none for no cap."""
    last_step_seconds: float | None = None
    """Value that the cap approaches until `growth_steps`; from there on only the mixture's own cap holds."""
    mixtures: tuple[Mixture, ...] = ()
    """Mixtures that replace `MetaTraining.mixture`, one after the other, at `mixture_starts`."""
    mixture_starts: tuple[int, ...] = ()
    """Outer step at which each of `mixtures` begins."""

    def __post_init__(self):
        if self.growth_steps < 0:
            raise ValueError(f"Curriculum: growth_steps must be at least 0, got {self.growth_steps}")
        if self.growth_steps == 0 and (self.first_max_steps, self.first_step_seconds) != (None, None):
            raise ValueError("Curriculum: growth_steps must be at least 1 where something grows, got 0")
        if self.first_max_steps is not None and self.first_max_steps < 1:
            raise ValueError(f"Curriculum: first_max_steps must be at least 1, got {self.first_max_steps}")
        first, last = self.first_step_seconds, self.last_step_seconds
        if (first is None) != (last is None) or (first and last and not 0 < first <= last < math.inf):
            raise ValueError(
                f"Curriculum: need 0 < first_step_seconds <= last_step_seconds or neither, got {first} and {last}"
            )
        starts = (0, *self.mixture_starts)
        if len(self.mixtures) != len(self.mixture_starts) or list(starts) != sorted(set(starts)):
            raise ValueError(
                "Curriculum: mixtures need as many mixture_starts, positive and growing, got "
                f"{[str(mixture) for mixture in self.mixtures]} and {self.mixture_starts}"
            )

    def max_steps(self, episodes: Episodes, step: int) -> int:
        """Inner steps of the longest episode at an outer step: a multiple of `segment_steps`, at least `min_steps`."""
        if self.first_max_steps is None:
            return episodes.max_steps
        grown = _geometric(float(self.first_max_steps), float(episodes.max_steps), step, self.growth_steps)
        segments = round(grown / episodes.segment_steps)
        return min(max(segments * episodes.segment_steps, episodes.min_steps), episodes.max_steps)

    def mixture(self, first: Mixture, step: int) -> Mixture:
        """The mixture to sample families from at an outer step, under the cap of that step.

        Args:
            first: the mixture until the first of `mixtures` begins.
            step: the outer step.
        """
        mixture = first
        for later, start in zip(self.mixtures, self.mixture_starts, strict=True):
            mixture = later if start <= step else mixture
        if self.first_step_seconds is None or self.last_step_seconds is None or step >= self.growth_steps:
            return mixture
        cap = _geometric(self.first_step_seconds, self.last_step_seconds, step, self.growth_steps)
        return mixture.capped(cap)


def _geometric(first: float, last: float, step: int, num_steps: int) -> float:
    return first * (last / first) ** min(step / num_steps, 1.0)
