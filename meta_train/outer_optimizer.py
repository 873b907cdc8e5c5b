"""The outer optimizers, which update theta: clipped AdamW, or any chain of optax."""

import ast
import dataclasses
from typing import Any

import optax


@dataclasses.dataclass(frozen=True)
class OuterOptimizer:
    """Clips the gradient, then applies Adam with decoupled weight decay."""

    learning_rate: float = 0.03
    """Learning rate of theta, whose entries are of order one."""
    clip: float = 3.0
    """Bound on the global norm of the gradient."""
    b1: float = 0.9
    b2: float = 0.99
    weight_decay: float = 0.0
    average_decay: float = 0.95
    """Decay of the exponential average of theta that is exported."""
    accumulate_steps: int = 1
    """Outer steps whose gradients are averaged into one update."""

    def __post_init__(self):
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"OuterOptimizer: {name} must be positive and finite, got {getattr(self, name)}")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"OuterOptimizer: weight_decay must be at least 0 and finite, got {self.weight_decay}")
        for name in ("b1", "b2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"OuterOptimizer: {name} must be in [0, 1), got {getattr(self, name)}")
        _check_shared(self)

    def build(self) -> optax.GradientTransformation:
        """The optax transformation."""
        return _accumulated(
            optax.chain(
                optax.clip_by_global_norm(self.clip),
                optax.adamw(self.learning_rate, b1=self.b1, b2=self.b2, weight_decay=self.weight_decay),
            ),
            self.accumulate_steps,
        )


@dataclasses.dataclass(frozen=True)
class OptaxChain:
    """Calls of optax by name, such as "clip(3.0)" and "adam(warmup_constant_schedule(0, 3e-4, 100), b2=0.99)"."""

    chain: tuple[str, ...] = ("clip_by_global_norm(3.0)", "adamw(0.03, b2=0.99)")
    """Applied in this order; arguments are numbers, strings, booleans, None, or calls of optax, such as schedules."""
    average_decay: float = 0.95
    """Decay of the exponential average of theta that is exported."""
    accumulate_steps: int = 1
    """Outer steps whose gradients are averaged into one update."""

    def __post_init__(self):
        _check_shared(self)
        self.build()

    def build(self) -> optax.GradientTransformation:
        """The optax transformation; a ValueError names a part that can't be built."""
        parts = [_call(text) for text in self.chain]
        for text, part in zip(self.chain, parts, strict=True):
            if not isinstance(part, optax.GradientTransformation):
                raise ValueError(f"OptaxChain: {text!r} is no gradient transformation")
        return _accumulated(optax.chain(*parts), self.accumulate_steps)


def _check_shared(settings: OuterOptimizer | OptaxChain) -> None:
    name = type(settings).__name__
    if not 0 <= settings.average_decay < 1:
        raise ValueError(f"{name}: average_decay must be in [0, 1), got {settings.average_decay}")
    if settings.accumulate_steps < 1:
        raise ValueError(f"{name}: accumulate_steps must be at least 1, got {settings.accumulate_steps}")


def _accumulated(tx: optax.GradientTransformation, num_steps: int) -> optax.GradientTransformation:
    if num_steps == 1:
        return tx
    return optax.MultiSteps(tx, num_steps).gradient_transformation()


def _call(text: str) -> Any:
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (ValueError, TypeError, SyntaxError) as error:
        raise ValueError(f"OptaxChain: {text!r} can't be built: {' '.join(str(error).split())}") from None


def _value(node: ast.expr) -> Any:
    """A literal, or a public function of optax applied to such values; nothing else is evaluated."""
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    if not isinstance(node.func, ast.Name):
        raise ValueError("a part is a function of optax and its arguments, such as adam(1e-3)")
    name = node.func.id
    function = getattr(optax, name, None)
    if name.startswith("_") or not callable(function):
        raise ValueError(f"optax has no {name}")
    arguments = [_value(argument) for argument in node.args]
    if any(option.arg is None for option in node.keywords):
        raise ValueError("arguments must be written out, not unpacked with **")
    options = {str(option.arg): _value(option.value) for option in node.keywords}
    return function(*arguments, **options)
