"""Checks of users' arguments: an error names the argument, the value that was passed and what is accepted."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

NO_DTYPE = np.dtype(object)


def is_traced(value: Any) -> bool:
    """Whether `value` is known only when the program that is being traced runs."""
    return isinstance(value, Tracer)


def check_count(name: str, value: Any) -> int:
    """`value` as an int.

    Raises:
        ValueError: it is not an integer of at least 1.
    """
    if is_traced(value):
        raise ValueError(
            f"{name} has to be a Python integer, a number of steps, got a traced value: it is static, and "
            f"optax.inject_hyperparams takes it as static_args=({name!r},)"
        )
    try:
        count = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} has to be a Python integer, a number of steps, got {value!r}") from None
    if isinstance(value, bool) or count < 1:
        raise ValueError(f"{name} has to be at least 1, got {value!r}")
    return count


def check_not_negative(name: str, value: Any) -> None:
    """Checks a number that may be traced.

    Raises:
        ValueError: it is not a real scalar, or is known to be negative, infinite or NaN.
    """
    if isinstance(value, bool):
        raise ValueError(f"{name} has to be a number, a scalar, got {value!r}")
    if (shape := _array(name, value).shape) != ():
        raise ValueError(f"{name} has to be a number, a scalar, got shape {shape}")
    if not is_traced(value) and not 0 <= float(value) < float("inf"):
        raise ValueError(f"{name} has to be finite and at least 0, got {value!r}")


def check_positive(name: str, value: Any) -> None:
    """As `check_not_negative`, zero excluded."""
    check_not_negative(name, value)
    if not is_traced(value) and float(value) == 0:
        raise ValueError(f"{name} has to be greater than 0, got {value!r}")


def check_callable(name: str, value: Any, form: str) -> None:
    """Raises a ValueError if `value` is not a function; `form` shows a call of it."""
    if not callable(value):
        raise ValueError(f"{name} has to be a function, {form}, got {type(value).__name__}")


def check_bool(name: str, value: Any) -> None:
    """Raises a ValueError if `value` is neither True nor False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} has to be True or False, got {value!r}")


def check_floating_dtype(name: str, value: Any) -> None:
    """Raises a ValueError if `value` is not a floating dtype."""
    try:
        is_floating = jnp.issubdtype(jnp.dtype(value), jnp.floating)
    except TypeError:
        is_floating = False
    if not is_floating:
        raise ValueError(f"{name} has to be a floating dtype, such as jnp.bfloat16, got {value!r}")


def is_key(value: Any) -> bool:
    """Whether it is one PRNG key: typed, or the uint32 words of `jax.random.PRNGKey`."""
    if not isinstance(value, jax.Array | np.ndarray):
        return False
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return value.shape == ()
    return value.dtype == np.uint32 and value.ndim == 1


def check_loss(value: Any) -> jax.Array:
    """The loss of an update as an array.

    Raises:
        ValueError: it is not a real scalar.
    """
    loss = _array("value", value)
    if loss.shape != ():
        raise ValueError(f"value has to be the scalar loss, got shape {loss.shape}: take its mean")
    return loss


def check_parameters(params: Any) -> None:
    """Raises a ValueError that names the first parameter that is not of a floating type."""
    if all(map(_is_floating, jax.tree.leaves(params))):
        return
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        if not _is_floating(leaf):
            advice = "take it out of the parameters or freeze it: optax.partition with optax.set_to_zero()"
            if jnp.issubdtype(_dtype(leaf), jnp.complexfloating):
                advice = "train its real and imaginary parts, as optax.contrib.split_real_and_imaginary does"
            name = f"parameter {jax.tree_util.keystr(path)}" if path else "the parameter"
            raise ValueError(
                f"{name} {_described(leaf)}, and only floating-point parameters can be optimized: {advice}"
            )


def check_gradients(grads: Any, params: Any) -> None:
    """Checks that the gradients are a tree of floating-point arrays like the parameters.

    Raises:
        ValueError: names the first gradient that is missing, superfluous, of another shape or not floating-point.
    """
    leaves = [jax.tree.leaves(tree) for tree in (grads, params)]
    same_tree = jax.tree.structure(grads) == jax.tree.structure(params)
    if same_tree and all(map(_is_floating, leaves[0])) and [*map(jnp.shape, leaves[0])] == [*map(jnp.shape, leaves[1])]:
        return
    given, wanted = (
        {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}
        for tree in (grads, params)
    )
    for path in [*wanted, *given]:
        found, expected = (f"shape {jnp.shape(x[path])}" if path in x else "none" for x in (given, wanted))
        if found != expected:
            raise ValueError(
                f"the gradients have to be a tree like the parameters: at {path or 'the root'} they have {found}, the "
                f"parameters {expected}. Take them with jax.grad at the very params that go into update"
            )
        if not _is_floating(given[path]):
            raise ValueError(
                f"the gradients have to be floating-point: the one at {path or 'the root'} {_described(given[path])}"
            )
    raise ValueError(
        f"the gradients have to be a tree like the parameters: they are {jax.tree.structure(grads)}, the parameters "
        f"{jax.tree.structure(params)}"
    )


def _is_floating(value: Any) -> bool:
    return jnp.issubdtype(_dtype(value), jnp.floating)


def _described(value: Any) -> str:
    dtype = _dtype(value)
    return f"is a {type(value).__name__}" if dtype == NO_DTYPE else f"has dtype {dtype}"


def _array(name: str, value: Any) -> Any:
    if not any(jnp.issubdtype(_dtype(value), kind) for kind in (jnp.floating, jnp.integer)):
        raise ValueError(f"{name} has to be a number, a scalar, got {value!r}")
    return value if isinstance(value, jax.Array) else jnp.asarray(value)


def _dtype(value: Any) -> Any:
    """The dtype of the array that JAX makes of `value`; `NO_DTYPE` if it makes none."""
    if value is None:  # for which JAX has a dtype
        return NO_DTYPE
    try:
        return jnp.result_type(value)
    except (TypeError, ValueError):
        return NO_DTYPE
