"""An optimizer that the training loop can't run is refused in a line, before anything is trained."""

import dataclasses

import jax.numpy as jnp
import optax
import pytest

from configs import evaluate_command
from evaluation import Contender, Evaluation, OneShot, baselines, run
from evaluation.baselines import Baseline
from evaluation.trainable import UntrainableError, check
from evaluation.training import Trainer
from tests.evaluation.runs import TASK, ScaledSGD, own_sgd


def needs_hessian(num_steps):
    def update(updates, state, params=None, *, hessian, **extra_args):
        return updates, state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def grows(num_steps):
    """Its state is another after every update."""

    def update(updates, state, params=None):
        return updates, jnp.concatenate([state, state])

    return optax.GradientTransformation(lambda params: jnp.zeros(1), update)


def contender(function):
    return Contender("mine", Baseline("mine", lambda hyperparameters, num_steps: function(num_steps), "own"))


@pytest.mark.parametrize(
    ("function", "reason"), [(needs_hessian, "TypeError: .* 'hessian'"), (grows, "TypeError: .*scan")]
)
def test_what_the_loop_does_not_give_is_named(function, reason):
    message = rf"optimizer 'mine' can't be trained on tiny: {reason}.* \(the loop calls update\(grads, .* value=loss"
    with pytest.raises(UntrainableError, match=message) as error:
        check(TASK, contender(function))
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_others_pass():
    check(TASK, contender(own_sgd))
    check(TASK, Contender("learned", ScaledSGD(), ScaledSGD().init(None)))
    check(TASK, Contender("adam", baselines.get("adam")))


def test_nothing_runs_and_the_command_says_it_in_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Trainer, "run", None)
    adam = Contender("adam", baselines.get("adam"), tuner=OneShot())
    evaluation = Evaluation(contenders=(adam, contender(needs_hessian)), tasks=(dataclasses.replace(TASK),))
    with pytest.raises(UntrainableError):
        run(evaluation, tmp_path / "run")
    command = ["--suite", "tests.evaluation.runs:TASK", "--optimizers", f"{__name__}:needs_hessian", "adam@1"]
    assert evaluate_command.main([*command, "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("velo-evaluate: optimizer ") and shown.count("\n") == 1 and "hessian" in shown
