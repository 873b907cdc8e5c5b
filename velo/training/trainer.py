"""`velo.fit`: the training loop around a learned optimizer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
import optax

from velo.arguments import check_bool, check_callable, check_count, check_floating_dtype, is_key
from velo.training.batches import Batches
from velo.training.checkpoints import Checkpoints
from velo.training.display import Display, interruptible, shown
from velo.training.history import History
from velo.training.result import Fitted, NonFiniteLossError, Step
from velo.training.step import Loss, Outcome, TrainState, make_step
from velo.transformation import Weights, optimizer

READ_EVERY = 10
"""Steps between two reads of the losses, each of which waits for the device."""
MAX_NONFINITE = 10
"""Number of losses in a row that are NaN or infinite at which a run fails."""
STALLED = (
    "the loss has not fallen: it is as high as at the start. Steps may be too large: try tx=velo.optimizer(num_steps, "
    "step_scale=0.3), or max_distance= (docs/how_to.md, the distance estimate)"
)


def fit(
    loss_fn: Callable[..., Any],
    params: Any,
    batches: Iterable[Any] | Callable[[int], Any],
    num_steps: SupportsIndex,
    *,
    batch_size: SupportsIndex | None = None,
    weights: Weights = "default",
    tx: optax.GradientTransformation | None = None,
    has_aux: bool = False,
    model_state: Any = None,
    key: jax.Array | None = None,
    evaluate: Callable[..., Any] | None = None,
    evaluate_every: int | None = None,
    callbacks: Sequence[Callable[[Step], Any]] = (),
    stop_when: Callable[[Step], Any] | None = None,
    checkpoints: str | PathLike | None = None,
    checkpoint_every: int | None = None,
    resume: bool | Fitted = False,
    devices: Sequence[Any] | None = None,
    compute_dtype: Any = None,
    progress: bool | None = None,
) -> Fitted:
    """Trains `params` for `num_steps` steps; nothing has to be tuned.

    After an interrupt (Ctrl-C), `fit` finishes the current step, writes a checkpoint if there is a folder for them, and
    returns the result so far. `stop_when` does the same. `resume` continues the run. Its parameters are then those of
    an uninterrupted run to the bit, provided that `batches` gives the same batches again. With a larger `num_steps`,
    the run is extended from there.

    Args:
        loss_fn: `loss_fn(params, batch)`, the mean loss of a batch. With `model_state` it is called as
            `loss_fn(params, model_state, batch)` and returns (loss, new model state); with `has_aux` it returns
            (loss, aux), with both (loss, (new model state, aux)); with `key` it gets a key of its own as last argument.
        params: initial parameters, any tree of floating-point arrays; they are copied.
        batches: an iterable of trees of arrays with the examples along the leading axis, iterated again whenever it
            ends; or a function of the step, counted from 0; or, with `batch_size`, one data set, a tree of arrays
            such as (inputs, targets). On a resume the batches of earlier steps are skipped.
        num_steps: length of the run. The optimizer's schedule is made for it. A run that turns out too short can be
            resumed with more steps; it then ends at a somewhat higher loss than a run planned for that length
            (docs/run_length.md).
        batch_size: examples of a batch, where `batches` is one data set: each epoch goes through it in another order.
        weights: of the learned optimizer, as in `velo.optimizer`.
        tx: an optax transformation instead of `velo.optimizer(num_steps, weights)`: one with weight decay or frozen
            parts, or another optimizer to compare with.
        has_aux: whether there is auxiliary output; its scalars are recorded in the history by their names.
        model_state: what the model carries besides parameters, such as running averages.
        key: source of randomness in the loss; step k, counted from 0, gets `jax.random.fold_in(key, k)`.
        evaluate: `evaluate(params)`, or `evaluate(params, model_state)` if there is one: a number or a dict of them.
        evaluate_every: steps between evaluations, a tenth of the run by default; the last step always has one.
        callbacks: each is called with a `Step` after each step; its return value is ignored.
        stop_when: called with a `Step` after each step; the run stops when it returns a true value, for example
            `lambda step: step.loss < 0.1`.
        checkpoints: folder for checkpoints; needs the extra `fit`.
        checkpoint_every: steps between checkpoints, a tenth of the run by default; the last step always has one.
        resume: True continues from the last checkpoint in `checkpoints`, or starts a new run if there is none yet; an
            earlier result continues that run.
        devices: each batch is sharded over them, and the parameters are replicated; None changes no placement.
        compute_dtype: dtype, such as `jnp.bfloat16`, to which parameters and inputs are cast for the loss; the stored
            parameters and the updates keep theirs.
        progress: whether to show progress: as a bar in a terminal or a notebook where rich is installed, otherwise as a
            line every tenth of the run. None is True.

    Raises:
        ValueError: an argument is out of range or of the wrong kind, `batches` ended early, or a checkpoint doesn't fit
            this run.
        NonFiniteLossError: the last ten losses, or all of a shorter run, were NaN or infinite. This is checked at least
            every ten steps.
        FileNotFoundError: there is no such weights file.
        ModuleNotFoundError: `checkpoints` is given without the extra `fit`.
    """
    length = check_count("num_steps", num_steps)
    _check_functions(loss_fn, evaluate, callbacks, stop_when)
    _check_values(tx, has_aux, key, checkpoints, resume, devices, compute_dtype, progress)
    size = None if batch_size is None else check_count("batch_size", batch_size)
    loss = Loss(loss_fn, has_aux, model_state is not None, key is not None, compute_dtype)
    if tx is None:
        tx = optimizer(length, weights)
    elif not isinstance(weights, str) or weights != "default":
        raise ValueError("give weights or tx, not both: tx is an optimizer with its weights")
    tx = optax.with_extra_args_support(tx)
    run = _Run(length, evaluate, callbacks, stop_when, _interval("evaluate_every", evaluate_every, length))
    saving = None if checkpoints is None else Checkpoints(checkpoints)
    save_every = _interval("checkpoint_every", checkpoint_every, length)
    try:
        state, run.history = _start(tx, params, model_state, length, saving, resume)
        stream = Batches(batches, int(state.step), length, devices, size)
        state = stream.replicate(state)
        step_fn = make_step(loss, tx, key)
        with interruptible() as interrupted, shown(progress is not False, int(state.step), length) as display:
            for step, batch in enumerate(stream, start=int(state.step) + 1):
                state, outcome = step_fn(state, batch)
                stop = run.record(step, outcome, state, display) or bool(interrupted)
                if saving is not None and (stop or step % save_every == 0 or step == length):
                    run.read(state)
                    saving.save(state, run.history)
                if stop:
                    break
            run.read(state)
            if interrupted and not run.is_done:
                display.say(_interruption(int(state.step), length, saving))
            if run.is_done and run.history.has_stalled:
                display.say(STALLED)
        return Fitted(state, run.history)
    finally:
        if saving is not None:
            saving.close()


def _interval(name: str, value: int | None, length: int) -> int:
    return max(1, length // 10) if value is None else check_count(name, value)


def _check_functions(loss_fn, evaluate, callbacks, stop_when) -> None:
    """Raises a ValueError that names the first argument that is not a function."""
    check_callable("loss_fn", loss_fn, "loss_fn(params, batch)")
    if evaluate is not None:
        check_callable("evaluate", evaluate, "evaluate(params)")
    if callable(callbacks) or not isinstance(callbacks, Iterable):
        raise ValueError(f"callbacks has to be a list of functions, got {type(callbacks).__name__}")
    for callback in callbacks:
        check_callable("each of callbacks", callback, "callback(step)")
    if stop_when is not None:
        check_callable("stop_when", stop_when, "stop_when(step)")


def _check_values(tx, has_aux, key, checkpoints, resume, devices, compute_dtype, progress) -> None:
    """Raises a ValueError that names the first argument of the wrong kind."""
    if tx is not None and not (hasattr(tx, "init") and hasattr(tx, "update")):
        raise ValueError(f"tx has to be an optax transformation, got {type(tx).__name__}")
    check_bool("has_aux", has_aux)
    if key is not None and not is_key(key):
        raise ValueError(f"key has to be one PRNG key, such as jax.random.key(0), got {key!r}")
    if checkpoints is not None and not isinstance(checkpoints, str | PathLike):
        raise ValueError(f"checkpoints has to be the path of a folder, got {checkpoints!r}")
    if devices is not None and not all(isinstance(device, jax.Device) for device in devices):
        raise ValueError(f"devices has to be a list of devices, such as jax.devices(), got {devices!r}")
    if compute_dtype is not None:
        check_floating_dtype("compute_dtype", compute_dtype)
    if not isinstance(resume, bool | Fitted):
        raise ValueError(f"resume has to be True, False or an earlier result of velo.fit, got {resume!r}")
    if progress is not None:
        check_bool("progress", progress)


def _interruption(step: int, length: int, saving: Checkpoints | None) -> str:
    how = "resume=RESULT, what this one returned"
    if saving is not None:
        how = f"checkpoints={str(saving.folder)!r}, resume=True"
    return f"interrupted at step {step} of {length}: the same call goes on with {how}"


def _start(tx, params, model_state, length, saving: Checkpoints | None, resume) -> tuple[TrainState, History]:
    """The state to begin with, sharing no buffer with the caller's, and the history up to there."""
    state = jax.tree.map(_copy, TrainState(jnp.zeros((), jnp.int32), params, None, model_state))
    state = state._replace(opt_state=jax.jit(tx.init)(state.params))
    if isinstance(resume, Fitted):
        restored, history = jax.tree.map(_copy, resume.state), History.from_json(resume.history.to_json())
        if jax.tree.structure(restored) != jax.tree.structure(state):
            raise ValueError("resume=: that result is of another model or optimizer")
    elif saving is not None and saving.latest_step() is not None:
        if not resume:
            raise ValueError(
                f"{saving.folder} has checkpoints already: pass resume=True to go on from them, or another folder"
            )
        restored, history = saving.restore(state)
    elif resume and saving is None:
        raise ValueError("resume=True needs checkpoints=, the folder to resume from; or pass an earlier result")
    else:
        return state, History(length)
    if int(restored.step) >= length:
        raise ValueError(
            f"all {length} steps of that run are done: to train on, give a larger num_steps, or start a new run from "
            "its parameters"
        )
    if length < history.num_steps:
        raise ValueError(
            f"that run was started with num_steps={history.num_steps}, got {length}: its schedule is made for the "
            "former, and a run can be made longer, not shorter"
        )
    history.num_steps = length
    return restored, history


def _copy(leaf: Any) -> jax.Array:
    if isinstance(leaf, jax.Array):
        return leaf.copy()
    array = np.asarray(leaf)
    return jnp.array(array, dtype=jax.dtypes.canonicalize_dtype(array.dtype))


class _Run:
    """The bookkeeping of a run: losses read now and then, evaluations, callbacks."""

    def __init__(self, num_steps, evaluate, callbacks, stop_when, evaluate_every):
        self.history = History(num_steps)
        self._evaluate = evaluate
        self._evaluate_every = evaluate_every
        self._callbacks = callbacks
        self._stop_when = stop_when
        self._pending: list[Outcome] = []
        self._num_nonfinite = 0

    @property
    def is_done(self) -> bool:
        return len(self.history) == self.history.num_steps

    def record(self, step: int, outcome: Outcome, state: TrainState, display: Display) -> bool:
        """Records one step; returns whether the run has to stop."""
        self._pending.append(outcome._replace(aux=_scalars(outcome.aux)))
        last = step == self.history.num_steps
        evaluation = None
        if self._evaluate is not None and (last or step % self._evaluate_every == 0):
            evaluation = self._evaluated(state)
            self.history.evaluations.append({"step": step, **evaluation})
        if last or evaluation is not None or step % READ_EVERY == 0 or step == 1:
            self.read(state)
            display.update(step, self._status())
        seen = Step(step, outcome.loss, outcome.aux, state, evaluation)
        for callback in self._callbacks:
            callback(seen)
        return self._stop_when is not None and bool(self._stop_when(seen))

    def read(self, state: TrainState) -> None:
        """Fetches the losses since the last read.

        Raises:
            NonFiniteLossError: at least the last ten were NaN or infinite, or all of a shorter run.
        """
        for loss, metrics, step_size, distance in jax.device_get(self._pending):
            named = {name: float(metric) for name, metric in metrics.items()}
            self.history.append(float(loss), named, float(step_size), None if distance is None else float(distance))
            self._num_nonfinite = 0 if np.isfinite(loss) else self._num_nonfinite + 1
        self._pending.clear()
        if self._num_nonfinite >= min(MAX_NONFINITE, self.history.num_steps):
            first = len(self.history) - self._num_nonfinite + 1
            raise NonFiniteLossError(
                f"the loss is {self.history.losses[-1]} since step {first}: look for bad values in that batch, and for "
                "logarithms, divisions and roots in loss_fn; jax.config.update('jax_debug_nans', True) stops at the "
                "operation. The run so far is in this error's `fitted`",
                Fitted(state, self.history),
            )

    def _evaluated(self, state: TrainState) -> dict[str, float]:
        arguments = (state.params,) if state.model_state is None else (state.params, state.model_state)
        assert self._evaluate is not None
        result = self._evaluate(*arguments)
        named = result if isinstance(result, Mapping) else {"evaluation": result}
        return {name: float(value) for name, value in named.items()}

    def _status(self) -> str:
        text = f"loss {self.history.losses[-1]:.4g}, step size {self.history.step_sizes[-1]:.2g}"
        if self.history.distances:
            text += f", distance {self.history.distances[-1]:.2g}"
        shown = [f"{name} {value:.4g}" for name, value in self.history.last_evaluation.items() if name != "step"]
        return ", ".join([text, *shown])


def _scalars(aux: Any) -> dict[str, Any]:
    """The scalar leaves of the auxiliary output, by their path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(aux)
    named = {jax.tree_util.keystr(path, simple=True, separator="/") or "aux": leaf for path, leaf in leaves}
    return {name: leaf for name, leaf in named.items() if jnp.shape(leaf) == ()}
