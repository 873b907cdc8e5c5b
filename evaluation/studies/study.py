"""The interface of a study, and its findings."""

import abc
import dataclasses
from typing import ClassVar

from evaluation.report.drawing import Drawing
from evaluation.studies.bench import Bench


@dataclasses.dataclass(frozen=True)
class Criterion:
    """A condition that holds if the paper's result is reproduced, and whether it holds."""

    statement: str
    """What has to hold, with its threshold."""
    published: str
    """What the paper says about it."""
    here: str
    """What was measured."""
    is_met: bool | None
    """None if this size of the study can't tell."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text."""

    name: str
    """Name of its CSV file."""
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self):
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"Table {self.name}: rows must have {len(self.columns)} cells, got {row}")


@dataclasses.dataclass(frozen=True, eq=False)
class Findings:
    """What the page of a study shows."""

    ran: str
    """What was run, in a paragraph."""
    criteria: tuple[Criterion, ...]
    drawings: tuple[Drawing, ...]
    """Figures in the order of the page (`evaluation.report.charts`)."""
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    """Paragraphs on what differs from the paper, and why."""


class Study(abc.ABC):
    """An experiment of a paper; subclasses are frozen dataclasses whose fields are the sizes of the experiment."""

    name: ClassVar[str]
    """Name on the command line, and of the study's docs page."""
    title: ClassVar[str]
    """One line for the list of studies and the top of the page."""
    paper: ClassVar[str]
    """arXiv number."""
    claim: ClassVar[str]
    """What the paper claims, in a sentence or two."""

    @classmethod
    @abc.abstractmethod
    def quick(cls) -> "Study":
        """The study at sizes that take minutes on one core: the same code, too small for most criteria."""

    @abc.abstractmethod
    def run(self, bench: Bench) -> Findings:
        """Measures everything through `bench`, which stores it, and judges the criteria."""
