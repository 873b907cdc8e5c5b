import pytest

from evaluation.settings import Evaluation


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"suite": "dmeo"}, "unknown suite 'dmeo'; did you mean 'demo'?"),
        ({"optimizers": ("adam", "adam_cosin")}, "unknown baseline 'adam_cosin'; did you mean 'adam_cosine'?"),
        ({"optimizers": ("adam", "adam")}, "must differ from each other"),
        ({"num_seeds": 0}, r"num_seeds must be in \[1, 10000\], got 0"),
        ({"num_tuning_seeds": -1}, r"num_tuning_seeds must be in \[1, 10000\], got -1"),
        ({"num_rates": 1}, r"num_rates must be in \[2, 1000\], got 1"),
        ({"stretch": 0}, r"stretch must be in \[1, 100\], got 0"),
        ({"num_stretched": 0}, "num_stretched"),
        ({"num_checkpoints": 0}, "num_checkpoints"),
        ({"num_valid_batches": 0}, "num_valid_batches"),
        ({"num_lanes": -1}, "num_lanes"),
        ({"num_workers": -1}, "num_workers"),
        ({"steps_scale": 0.0}, r"steps_scale must be in \(0, 1000\], got 0\.0"),
        ({"steps_scale": float("nan")}, "steps_scale"),
    ],
)
def test_bad_settings_get_one_line_that_names_value_and_range(fields, message):
    with pytest.raises(ValueError, match=message) as error:
        Evaluation(**fields)
    assert "\n" not in str(error.value)


def test_tuning_seeds_are_none_of_the_reported():
    settings = Evaluation(num_seeds=10_000, num_tuning_seeds=3)
    assert not set(settings.seeds) & set(settings.tuning_seeds)


def test_steps_scale_down_to_one_at_least():
    assert Evaluation(steps_scale=0.1).scale_steps(500) == 50
    assert Evaluation(steps_scale=0.001).scale_steps(10) == 1
