import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluation.baselines import BASELINES


def _descend(tx, params, num_steps) -> jax.Array:
    """Minimises the sum of squares with this optimizer, one step at a time."""
    state = tx.init(params)
    for _ in range(num_steps):
        updates, state = tx.update(2.0 * params, state, params)
        params = params + updates
    return params


@pytest.mark.parametrize("decay", ["adam", "adam_cosine"])
def test_adam_matches_the_papers_loop(decay):
    num_steps, rate = 8, 0.05
    params = np.array([1.0, -2.0, 0.5])
    expected, mean, square = params.copy(), np.zeros(3), np.zeros(3)
    for step in range(num_steps):
        grad = 2.0 * expected
        mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad**2
        factor = 0.5 * (1 + np.cos(np.pi * step / num_steps)) if decay == "adam_cosine" else 1.0
        corrected = (mean / (1 - 0.9 ** (step + 1))) / (np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-8)
        expected -= rate * factor * corrected
    tx = BASELINES[decay].bind({"learning_rate": rate}, num_steps)
    np.testing.assert_allclose(_descend(tx, jnp.asarray(params, jnp.float32), num_steps), expected, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_hyperparameters_may_be_traced_and_default_when_left_out(name):
    baseline = BASELINES[name]
    params = jnp.array([1.0, -2.0])

    def run(hyperparameters):
        return _descend(baseline.bind(hyperparameters, 4), params, 4)

    defaults = {key: jnp.float32(value) for key, value in baseline.defaults}
    result = jax.jit(run)(defaults)
    assert float(jnp.sum(result**2)) < float(jnp.sum(params**2))
    np.testing.assert_allclose(result, run({}), rtol=1e-5)


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_a_baseline_names_its_paper_and_has_defaults_inside_its_space(name):
    baseline = BASELINES[name]
    assert baseline.name == name
    assert baseline.paper
    for key, span in baseline.space:
        assert span.low <= dict(baseline.defaults)[key] <= span.high


def test_an_unknown_hyperparameter_is_refused():
    with pytest.raises(ValueError, match="'adam' has no hyperparameter 'rate'; it has: learning_rate"):
        BASELINES["adam"].bind({"rate": 0.1}, 10)
