"""A family without random changes: no noise, rescaling or relabelling of the data, as for published tasks."""

import dataclasses

from tasks.wrappers.wrapper import Wrapper, WrapperDraw


@dataclasses.dataclass(frozen=True)
class Undisturbed(Wrapper):
    """The family with its data as stored and initial parameters of their usual scale.

    Its `draw` raises a ValueError if the family's draw has no method `undisturbed`.
    """

    def draw_strength(self, key):
        return ()

    def draw(self, key):
        inner = self.family.draw(key)
        if not hasattr(inner, "undisturbed"):
            raise ValueError(f"Undisturbed: nothing disturbs a {type(self.family).__name__} that could be left out")
        return WrapperDraw(inner.undisturbed(), self.draw_strength(key))
