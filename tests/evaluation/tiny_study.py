"""A study of seconds, which asks its bench for one of everything."""

import dataclasses

import numpy as np

from evaluation import Contender, Evaluation, OneShot, baselines
from evaluation.report.charts import Series, chart
from evaluation.studies import Criterion, Findings, Study, Table
from evaluation.tuning import as_setting
from tests.evaluation.runs import TASK

SGD = Contender("sgd", baselines.get("sgd"), tuner=OneShot())
CALLS = []


def squares(*, numbers):
    CALLS.append(numbers)
    return {"squares": np.square(numbers)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiny(Study):
    """Squares of numbers, and a classifier."""

    name, title, paper = "tiny", "A tiny <study>", "0000.00000"
    claim = "Squares grow."
    numbers: tuple[int, ...] = (1, 2, 3)
    """Numbers to square."""

    @classmethod
    def quick(cls):
        return cls(numbers=(1, 2))

    def run(self, bench):
        found = bench.record(squares, numbers=self.numbers)["squares"]
        ((curve,),) = bench.curves(TASK, SGD, [as_setting({"learning_rate": 0.1})], [0])
        results = bench.results(
            Evaluation(contenders=(SGD,), tasks=(TASK,), reference="sgd", stretch=1, num_seeds=1, num_checkpoints=1)
        )
        assert results.entry("tiny", "sgd").train_loss.shape == (1, TASK.num_steps)
        return Findings(
            ran="Three numbers & a classifier.",
            criteria=(
                Criterion("grow by the square", "9 at 3", f"{found[-1]} at {self.numbers[-1]}", bool(found[-1] > 3)),
                Criterion("fall", "nothing", "-", False),
                Criterion("at infinity", "nothing", "-", None),
            ),
            drawings=(
                chart("squares", "Squares", "number", "square", [Series("x^2", np.array(self.numbers), found)]),
                chart("loss", "Loss", "step", "loss", [Series("sgd", np.arange(TASK.num_steps), curve.train_loss)],
                      log="y"),
            ),
            tables=(Table("all", "All squares", ("number", "square"), (("1", "1"),)),),
            notes=("A note.",),
        )  # fmt: skip
