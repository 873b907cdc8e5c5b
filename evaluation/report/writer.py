"""Writes an evaluation's report into its folder and prints its table."""

from pathlib import Path

from rich.console import Console

from evaluation.manifest import Manifest
from evaluation.report import page, terminal

PAGE_NAME = "report.html"


def write(out: Path, manifest: Manifest, console: Console | None = None) -> Path:
    """Prints the table; returns the page's path."""
    console = console or Console()
    rows = manifest.results.rows()
    console.print(terminal.table(rows, manifest.settings))
    path = Path(out) / PAGE_NAME
    page.write(path, manifest.settings, manifest.results, rows, notes=manifest.notes, meta_training=manifest.meta_training)
    console.print(f"report: {path}", soft_wrap=True)
    return path
