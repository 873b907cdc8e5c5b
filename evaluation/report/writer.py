"""Writes an evaluation's report into its folder and prints its tables."""

import os
from pathlib import Path

from rich.console import Console

from evaluation.report import markdown, page, terminal
from evaluation.report.content import Content
from evaluation.saved_evaluation import Manifest

PAGE_NAME = "report.html"
MARKDOWN_NAME = "report.md"
FIGURES_FOLDER = "figures"


def write(out: Path, manifest: Manifest, console: Console | None = None) -> Path:
    """Prints the tables; returns the page's path.

    Writes `report.html` (whole in itself), `report.md` with `figures/*.png`, a CSV file beside each figure, and
    `results.csv`, `summary.csv` and `times.csv`.

    Raises:
        OSError: in one line, on a folder that can't be written.
    """
    console = console or Console()
    content = Content(manifest)
    reference, settings = manifest.results.reference, manifest.settings
    console.print(terminal.task_table(content.rows, settings, reference))
    console.print(terminal.summary_table(content.summaries, settings, reference))
    out = Path(out)
    texts = {
        PAGE_NAME: page.render(content),
        MARKDOWN_NAME: markdown.render(content, FIGURES_FOLDER),
        "results.csv": content.rows_csv,
        "summary.csv": content.summaries_csv,
        "times.csv": content.times_csv,
    }
    try:
        (out / FIGURES_FOLDER).mkdir(parents=True, exist_ok=True)
        for drawing in content.files:
            drawing.save(out / FIGURES_FOLDER)
        for name, text in texts.items():
            temporary = out / f".{name}-{os.getpid()}"
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, out / name)
    except OSError as error:
        raise OSError(f"can't write the report to {out}: {error.strerror or error}") from None
    console.print(f"report: {out / PAGE_NAME}", soft_wrap=True)
    return out / PAGE_NAME
