"""What a study is, and what comes out of it."""

import abc
import dataclasses
from typing import ClassVar

from evaluation.report.drawing import Drawing
from evaluation.studies.bench import Bench


@dataclasses.dataclass(frozen=True)
class Criterion:
    """Something that holds if the paper's result is found again, and whether it does."""

    statement: str
    """What has to hold, with its number."""
    published: str
    """What the paper says of it."""
    here: str
    """What was measured."""
    is_met: bool | None
    """None if this size of the study can't tell."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text."""

    name: str
    """Of its CSV file."""
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
    """In the order of the page (`evaluation.report.charts`)."""
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    """Paragraphs on what differs from the paper, and why."""


class Study(abc.ABC):
    """An experiment of a paper; subclasses are frozen dataclasses whose fields are the sizes of the experiment."""

    name: ClassVar[str]
    """On the command line and in the name of its docs page."""
    title: ClassVar[str]
    """One line, in the list of studies and at the top of the page."""
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
        """Measures everything through `bench`, which stores it, and judges it."""
