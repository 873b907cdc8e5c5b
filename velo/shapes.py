"""Shape annotations for arrays; without jaxtyping, a development dependency, they are not checked."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, UInt
else:
    try:
        from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, UInt
    except ImportError:
        from typing import Any

        class _Inert:
            def __getitem__(self, _shape):
                return Any

        Array = PRNGKeyArray = Any
        Bool = Float = Int = PyTree = UInt = _Inert()

__all__ = ["Array", "Bool", "Float", "Int", "PRNGKeyArray", "PyTree", "UInt"]
