"""`velo.keras.VeLO`: a learned optimizer for Keras 3 on JAX, and the training step that passes it the loss."""

import os
from typing import Any, SupportsIndex

import jax

from velo.arguments import check_count
from velo.extras import require
from velo.transformation import Weights, optimizer

keras: Any = require("keras", "frameworks", "velo.keras")

if keras.backend.backend() != "jax":
    raise ImportError(
        f"velo.keras needs Keras on JAX, and its backend is {keras.backend.backend()}: set KERAS_BACKEND=jax before "
        "keras is imported"
    )


@keras.saving.register_keras_serializable("velo")
class VeLO(keras.optimizers.Optimizer):
    """A learned optimizer over all trainable variables; call `pass_loss(model)` before `model.fit`.

    The options of every Keras optimizer work: weight decay and its exclusions, clipping, averages of the variables,
    schedules and callbacks that set the learning rate. Here the learning rate is a factor on the learned steps, which
    were meta-trained with 1.

    Args:
        num_steps: length of the run in updates, at least 1: epochs times batches per epoch.
        weights: as in `velo.optimizer`; to save a model with `model.save`, a name or the path of a file.
        learning_rate: factor on every step: a number or a schedule of Keras.
        horizon: as in `velo.optimizer`.
        initial_distance: as in `velo.optimizer`.
        max_distance: as in `velo.optimizer`.
        options: as `keras.optimizers.Optimizer` takes them, such as `weight_decay`.

    Raises:
        ValueError: an argument is out of range, or `gradient_accumulation_steps` is among the options: Keras passes on
            only the loss of the last part.
    """

    def __init__(
        self,
        num_steps: SupportsIndex,
        weights: Weights = "default",
        *,
        learning_rate: Any = 1.0,
        horizon: SupportsIndex | None = None,
        initial_distance: float | None = None,
        max_distance: float | None = None,
        name: str = "velo",
        **options: Any,
    ):
        if options.get("gradient_accumulation_steps") is not None:
            raise ValueError("gradient_accumulation_steps: the losses of the parts aren't averaged, use larger batches")
        super().__init__(learning_rate, name=name, **options)
        self.num_steps, self.weights = check_count("num_steps", num_steps), weights
        self._limits = {"horizon": horizon, "initial_distance": initial_distance, "max_distance": max_distance}
        self._tx = optimizer(self.num_steps, weights, **self._limits)
        self._loss: Any = None  # traced, during one update

    def build(self, variables: Any) -> None:
        """Creates variables for the state, which Keras saves and loads with the model."""
        if self.built:
            return
        super().build(variables)
        leaves, self._structure = jax.tree.flatten(jax.jit(self._tx.init)([variable.value for variable in variables]))
        self._state = [
            self.add_variable(leaf.shape, initializer=_constant(leaf), dtype=leaf.dtype.name, name=f"state_{index}")
            for index, leaf in enumerate(leaves)
        ]

    def stateless_apply(self, optimizer_variables: Any, grads: Any, trainable_variables: Any, loss: Any = None) -> Any:
        """(trainable variables, optimizer variables) after one update; for a training step of one's own.

        Args:
            loss: the scalar at which `grads` was taken.

        Raises:
            ValueError: the loss is missing.
        """
        if loss is None:
            raise ValueError(
                "a learned optimizer reads the loss too: call velo.keras.pass_loss(model) before model.fit, or pass "
                "loss= to stateless_apply in a train_step of your own"
            )
        self._loss = loss
        try:
            return super().stateless_apply(optimizer_variables, grads, trainable_variables)
        finally:
            self._loss = None

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        """Keras' hook for an update of all variables together."""
        if self._loss is None:
            raise ValueError("velo.keras.VeLO updates through stateless_apply(..., loss=loss) alone")
        state = self._structure.unflatten([variable.value for variable in self._state])
        params = [variable.value for variable in trainable_variables]
        updates: Any
        updates, state = self._tx.update(list(grads), state, params, value=self._loss)
        for variable, update in zip(trainable_variables, updates, strict=True):
            scale = keras.ops.cast(learning_rate, update.dtype)
            variable.assign(variable.value + scale * update)
        for variable, leaf in zip(self._state, jax.tree.leaves(state), strict=True):
            variable.assign(leaf)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, from which Keras builds the optimizer of a loaded model.

        Raises:
            ValueError: the weights are an architecture and its theta, not a name or a path.
        """
        if not isinstance(self.weights, str | os.PathLike):
            raise ValueError(
                "weights from memory can't be saved with the model: write them with velo.save_weights and pass the path"
            )
        own = {"num_steps": self.num_steps, "weights": os.fspath(self.weights)}
        return {**super().get_config(), **own, **self._limits}


def pass_loss(model: Any) -> None:
    """Makes `model.fit` pass the loss of each batch to the optimizer, a `VeLO`. Call it again after loading a model.

    Raises:
        ValueError: the model has a `train_step` of its own, which has to pass the loss to `stateless_apply`.
    """
    if type(model).train_step is not keras.Model.train_step:
        raise ValueError(
            f"{type(model).__name__} has a train_step of its own: pass the loss there, as "
            "self.optimizer.stateless_apply(optimizer_variables, grads, trainable_variables, loss=loss)"
        )
    model.train_step = lambda state, data: _train_step(model, state, data)


def _train_step(model: Any, state: Any, data: Any) -> Any:
    """Keras' training step on JAX (`keras.Model.train_step`), but the optimizer gets the loss."""
    if not isinstance(model.optimizer, VeLO):
        raise ValueError(
            f"the optimizer of this model is {type(model.optimizer).__name__}, and pass_loss is for velo.keras.VeLO "
            "(with float16 Keras wraps it to scale the loss: use mixed_bfloat16)"
        )
    trainable, non_trainable, optimizer_variables, metrics = state
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    (_, aux), grads = jax.value_and_grad(model.compute_loss_and_updates, has_aux=True)(
        trainable, non_trainable, metrics, x, y, sample_weight, training=True, optimizer_variables=optimizer_variables
    )
    loss, predictions, non_trainable, metrics = aux
    trainable, optimizer_variables = model.optimizer.stateless_apply(optimizer_variables, grads, trainable, loss=loss)
    logs, metrics = model._update_metrics_variables(metrics, loss, x, y, predictions, sample_weight)
    return logs, (trainable, non_trainable, optimizer_variables, metrics)


def _constant(value: Any) -> Any:
    return lambda shape, dtype=None: value
