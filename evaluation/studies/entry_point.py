"""`evaluation.studies.run`: from a study to measurements on disk and a page."""

import json
from pathlib import Path

from rich.console import Console

from evaluation.studies import page
from evaluation.studies.bench import Bench
from evaluation.studies.study import Study

FILE_NAME = "study.json"


def run(study: Study, out: Path | str, console: Console | None = None) -> Path:
    """Runs a study; prints its criteria; returns the path of its page.

    Measurements that `out` already holds are not repeated. Writes `study.json` first, and when all is measured
    `report.html`, `report.md`, `criteria.csv` and `figures/`.

    Raises:
        OSError: in one line, if the folder can't be written.
    """
    console = console or Console()
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / page.PAGE_NAME).unlink(missing_ok=True)  # a page would mark the study as finished
        (out / FILE_NAME).write_text(json.dumps(_description(study), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OSError(f"can't write to {out}: {error.strerror or error}") from None
    return page.write(out, study, study.run(Bench(out, console)), console)


def is_unfinished(out: Path, study: Study) -> bool:
    """Whether a folder holds this study at these sizes, without its page."""
    try:
        content = json.loads((Path(out) / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return False
    return content == _description(study) and not (Path(out) / page.PAGE_NAME).exists()


def _description(study: Study) -> dict[str, str]:
    """The study as JSON values; equal for equal studies."""
    return {"study": study.name, "settings": repr(study)}
