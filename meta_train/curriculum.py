"""What an outer step may sample: how long, how costly, and from which mixture."""

import dataclasses
import math

from meta_train.task_problem import Episodes
from tasks.mixture import Mixture, get_mixture


@dataclasses.dataclass(frozen=True)
class Curriculum:
    """Grows geometrically from small to full over the first outer steps; the defaults change nothing."""

    growth_steps: int = 0
    """Outer steps until lengths and costs are full; 0 for full ones at once."""
    first_max_steps: int | None = None
    """Longest episode at the start; none starts with that of the episodes."""
    first_step_seconds: float | None = None
    """Cap on a task's predicted seconds an inner step at the start; none for no curriculum over cost."""
    last_step_seconds: float | None = None
    """The same cap when grown; beyond it, it is the mixture's own."""
    mixtures: tuple[str, ...] = ()
    """Named mixtures that take over from `MetaTraining.mixture`, one after the other..."""
    mixture_starts: tuple[int, ...] = ()
    """...each at its outer step."""

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
                f"{self.mixtures} and {self.mixture_starts}"
            )
        for name in self.mixtures:
            get_mixture(name)

    def max_steps(self, episodes: Episodes, step: int) -> int:
        """Longest episode at an outer step, in whole segments, never below the shortest."""
        if self.first_max_steps is None:
            return episodes.max_steps
        grown = _geometric(float(self.first_max_steps), float(episodes.max_steps), step, self.growth_steps)
        segments = round(grown / episodes.segment_steps)
        return min(max(segments * episodes.segment_steps, episodes.min_steps), episodes.max_steps)

    def mixture(self, first: str, step: int) -> Mixture:
        """What families are sampled from at an outer step."""
        names = [
            first,
            *(name for name, start in zip(self.mixtures, self.mixture_starts, strict=True) if start <= step),
        ]
        mixture = get_mixture(names[-1])
        if self.first_step_seconds is None or self.last_step_seconds is None or step >= self.growth_steps:
            return mixture
        cap = _geometric(self.first_step_seconds, self.last_step_seconds, step, self.growth_steps)
        return mixture.capped(cap)


def _geometric(first: float, last: float, step: int, num_steps: int) -> float:
    return first * (last / first) ** min(step / num_steps, 1.0)
