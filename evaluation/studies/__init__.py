"""Studies: experiments of papers, each with its own command, `velo-evaluate study NAME`, and its own page.

A study is a frozen dataclass in a module of this package. Its fields are its sizes (rates, widths, seeds), each of
which a user can override. Its class attributes describe it. `quick` gives sizes that take minutes.

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Widths(Study):
        name, title, paper = "widths", "How the best rate moves with the width", "2203.03466"
        claim = "Under muP the best learning rate stays where it is."
        widths: tuple[int, ...] = (64, 256, 1024)

        @classmethod
        def quick(cls):
            return cls(widths=(16, 32))

        def run(self, bench):
            losses = bench.record(final_losses, widths=self.widths)  # a function of yours -> arrays, stored on disk
            curves = bench.curves(task, contender, settings, seeds)  # training runs, stored on disk
            results = bench.results(Evaluation(...))                 # contenders tuned on tasks, on Ray if requested
            moved = Criterion("moves by at most one step", published="none", here="0 steps", is_met=True)
            picture = chart("loss", "Loss over width", "width", "loss", [Series("SGD", widths, losses)])
            return Findings(ran="What was trained, in a paragraph.", criteria=(moved,), drawings=(picture,))

`run` always starts from the beginning. It reads what `bench` has stored, so an interrupted study resumes where it
stopped. `evaluation.studies.registry` lists the class; docs/studies/NAME.md describes the paper's claims and the
outcome. A part that other evaluations can use belongs in the package `evaluation`.
"""

from evaluation.studies.bench import Bench
from evaluation.studies.entry_point import run
from evaluation.studies.study import Criterion, Findings, Study, Table

__all__ = ["Bench", "Criterion", "Findings", "Study", "Table", "run"]
