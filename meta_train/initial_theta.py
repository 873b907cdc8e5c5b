"""The theta that a run starts from: untrained, from a weights file, or fitted to tuned optimizers."""

import jax
from rich.console import Console

import velo
from meta_train import imitation
from meta_train.set_aside import Report
from meta_train.settings import MetaTraining
from velo.learned_optimizer import Theta


def template(settings: MetaTraining) -> Theta:
    """An untrained theta; every start has its shapes."""
    return settings.optimizer.init(jax.random.fold_in(jax.random.key(settings.seed), 2**31))


def load(settings: MetaTraining) -> Theta:
    """The theta of `start_weights`.

    Raises:
        WeightsError: the file is damaged or of another architecture.
        FileNotFoundError: there is no such file.
    """
    path = settings.start_weights
    assert path is not None
    cls = type(settings.optimizer)
    is_ours = cls in velo.ARCHITECTURES.values()
    optimizer, theta = velo.load_weights(path, architecture=None if is_ours else cls)
    if optimizer != settings.optimizer:
        raise velo.WeightsError(f"start_weights {path} hold {optimizer}, but the run is to train {settings.optimizer}")
    return theta


def build(settings: MetaTraining, console: Console, report: Report) -> Theta:
    """The start that the settings ask for; errors as in `load`."""
    theta = template(settings)
    if settings.start_weights is not None:
        theta = load(settings)
        report("started_from", path=settings.start_weights, digest=velo.weights_info(settings.start_weights).digest)
    if settings.imitation.num_steps:
        theta = imitation.fit(settings, theta, console, report)
    return theta
