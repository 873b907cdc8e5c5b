import pickle

import numpy as np
import pytest

from evaluation import Contender, Evaluation, LogGrid, OneShot, baselines
from evaluation.settings import Procedure
from tests.evaluation.runs import TASK, ScaledSGD

ADAM = Contender("adam", baselines.get("adam"))
LEARNED = Contender("learned", ScaledSGD(), {"rate": np.float32(0.1)})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_seeds": 0}, r"num_seeds must be in \[1, 10000\], got 0"),
        ({"num_tuning_seeds": -1}, r"num_tuning_seeds must be in \[1, 10000\], got -1"),
        ({"stretch": 0}, r"stretch must be in \[1, 100\], got 0"),
        ({"num_stretched": 0}, "num_stretched"),
        ({"num_checkpoints": 0}, "num_checkpoints"),
        ({"num_valid_batches": 0}, "num_valid_batches"),
        ({"num_lanes": -1}, "num_lanes"),
        ({"num_workers": -1}, "num_workers"),
        ({"contenders": ()}, "contenders must not be empty"),
        ({"tasks": ()}, "tasks must not be empty"),
        ({"contenders": (ADAM, ADAM)}, "contenders must differ in their names, got two of 'adam'"),
        ({"tasks": (TASK, TASK)}, "tasks must differ in their names, got two of 'tiny'"),
        ({"contenders": (LEARNED,)}, "reference must be the name of a contender, one of learned, got 'adam'"),
    ],
)
def test_bad_settings_get_one_line_that_names_value_and_range(fields, message):
    with pytest.raises(ValueError, match=message) as error:
        Evaluation(**{"contenders": (ADAM,), "tasks": (TASK,), **fields})
    assert "\n" not in str(error.value)


def test_a_contender_needs_a_name():
    with pytest.raises(ValueError, match="name must not be empty"):
        Contender("", ScaledSGD())


def test_any_contender_may_be_the_reference():
    evaluation = Evaluation(contenders=(LEARNED, ADAM), tasks=(TASK,), reference="learned")
    assert evaluation.title == "tiny"
    assert evaluation.pairs == [(TASK, LEARNED), (TASK, ADAM)]
    assert type(evaluation.procedure) is Procedure


def test_tuning_seeds_are_none_of_the_reported():
    procedure = Procedure(num_seeds=10_000, num_tuning_seeds=3)
    assert not set(procedure.seeds) & set(procedure.tuning_seeds)


@pytest.mark.parametrize("name", ["adam", "amsbound_cosine", "schedule_free_sgd", "prodigy"])
def test_contenders_of_the_catalogue_travel_and_stay_equal(name):
    contender = Contender("mine", baselines.get(name), tuner=OneShot())
    again = pickle.loads(pickle.dumps(contender))
    assert (again.name, again.optimizer, again.tuner) == ("mine", contender.optimizer, OneShot())


def test_learned_contenders_and_tasks_travel():
    evaluation = pickle.loads(pickle.dumps(Evaluation(contenders=(LEARNED, ADAM), tasks=(TASK,))))
    learned, adam = evaluation.contenders
    assert learned.optimizer == ScaledSGD()
    assert learned.theta == {"rate": np.float32(0.1)}
    assert adam.tuner == LogGrid()
    assert evaluation.tasks == (TASK,)
