"""The page of a study: its criteria beside the paper's numbers, and its figures; also as Markdown and CSV files."""

import dataclasses
import os
from pathlib import Path

import jinja2
from markupsafe import Markup
from rich import box
from rich.console import Console
from rich.table import Table as TerminalTable

from evaluation import curve_key
from evaluation.report import drawing, markdown
from evaluation.report.writer import FIGURES_FOLDER, MARKDOWN_NAME, PAGE_NAME
from evaluation.studies.study import Criterion, Findings, Study

CRITERIA = ("published", "here", "criterion", "met")


def verdict(criterion: Criterion) -> str:
    """`yes`, `no`, or `can't tell` at this size."""
    return {True: "yes", False: "no", None: "can't tell"}[criterion.is_met]


def render(study: Study, findings: Findings) -> str:
    """The page as text: one file that needs no network."""
    environment = jinja2.Environment(
        loader=jinja2.PrefixLoader(
            {
                "report": jinja2.PackageLoader("evaluation.report", ""),
                "studies": jinja2.PackageLoader("evaluation.studies", ""),
            }
        ),
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("studies/page.html.j2").render(
        study=study,
        sizes=_sizes(study),
        findings=findings,
        verdict=verdict,
        columns=CRITERIA,
        svg=lambda figure: Markup(figure.svg),
        table_csv=drawing.table_csv,
        address=drawing.data_address,
        versions=curve_key.versions(),
    )


def render_markdown(study: Study, findings: Findings) -> str:
    """The page as Markdown; its figures are the PNG files beside it."""
    lines = [
        f"# {study.title}", "", f"arXiv {study.paper}. {study.claim}", "", findings.ran, "",
        *markdown.table(CRITERIA, _rows(findings)), "",
    ]  # fmt: skip
    lines += [f"![{one.title}]({FIGURES_FOLDER}/{one.file_name}.png)" for one in findings.drawings]
    for table in findings.tables:
        lines += ["", f"## {table.title}", "", *markdown.table(table.columns, table.rows)]
    for note in findings.notes:
        lines += ["", note]
    sizes = ", ".join(f"{name} {value}" for name, value in _sizes(study))
    versions = ", ".join(f"{name} {version}" for name, version in curve_key.versions().items())
    return "\n".join([*lines, "", f"Sizes: {sizes}. Made with {versions}.", ""])


def write(out: Path, study: Study, findings: Findings, console: Console) -> Path:
    """Writes all files into `out`, prints the criteria, and returns the path of the page.

    Raises:
        OSError: in one line, if the folder can't be written.
    """
    texts = {
        MARKDOWN_NAME: render_markdown(study, findings),
        "criteria.csv": drawing.table_csv(CRITERIA, _rows(findings)),
        **{f"{table.name}.csv": drawing.table_csv(table.columns, table.rows) for table in findings.tables},
        PAGE_NAME: render(study, findings),  # written last, since a page marks the study as finished
    }
    try:
        (out / FIGURES_FOLDER).mkdir(parents=True, exist_ok=True)
        for one in findings.drawings:
            one.save(out / FIGURES_FOLDER)
        for name, text in texts.items():
            temporary = out / f".{name}-{os.getpid()}"
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, out / name)
    except OSError as error:
        raise OSError(f"can't write the study to {out}: {error.strerror or error}") from None
    table = TerminalTable(title=study.title, box=box.SIMPLE_HEAD, pad_edge=False, show_lines=True)
    for name in CRITERIA:
        table.add_column(name, overflow="fold")
    for row in _rows(findings):
        table.add_row(*row)
    console.print(table)
    console.print(f"report: {out / PAGE_NAME}", soft_wrap=True)
    return out / PAGE_NAME


def _rows(findings: Findings) -> list[tuple[str, ...]]:
    """The criteria, as rows of `CRITERIA`."""
    return [(one.published, one.here, one.statement, verdict(one)) for one in findings.criteria]


def _sizes(study: Study) -> list[tuple[str, str]]:
    """(field, value) pairs of the study."""
    assert dataclasses.is_dataclass(study), study
    return [(field.name, str(getattr(study, field.name))) for field in dataclasses.fields(study)]
