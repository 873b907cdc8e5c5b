"""Adam with learned hyperparameters: the smallest learned optimizer (`LearnableAdam` of learned_optimization)."""

import dataclasses

import jax.numpy as jnp
import optax

from velo.learned_optimizer import LearnedOptimizer


@dataclasses.dataclass(frozen=True)
class LearnedAdam(LearnedOptimizer):
    """Theta holds the logarithms of the learning rate, of one minus each decay, and of epsilon."""

    learning_rate: float = 1e-3
    """An initial value, as are the other fields."""
    first_decay: float = 0.9
    second_decay: float = 0.999
    epsilon: float = 1e-8

    def init(self, key):
        starts = {
            "learning_rate": self.learning_rate,
            "first_rate": 1.0 - self.first_decay,
            "second_rate": 1.0 - self.second_decay,
            "epsilon": self.epsilon,
        }
        return {name: jnp.log(jnp.float32(value)) for name, value in starts.items()}

    def bind(self, theta, num_steps):
        values = {name: jnp.exp(leaf) for name, leaf in theta.items()}
        # A constant under the root as well: without it the root has no finite derivative where a gradient is zero.
        adam = optax.scale_by_adam(
            1.0 - values["first_rate"], 1.0 - values["second_rate"], values["epsilon"], eps_root=1e-16
        )
        tx = optax.chain(adam, optax.scale(-values["learning_rate"]))
        return optax.with_extra_args_support(tx)
