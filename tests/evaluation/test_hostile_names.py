"""Names of tasks and optimizers that attack the page, the Markdown, the terminal or the folder stay text."""

import io
import re
import unicodedata
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from evaluation.curves import Results
from evaluation.report import names, writer
from evaluation.report.drawing import label
from evaluation.saved_evaluation import SavedEvaluation
from evaluation.settings import Procedure
from tests.evaluation import browser
from tests.evaluation.runs import entry

OPTIMIZERS = (
    "<script>alert(1)</script>",
    '" onmouseover="alert(1)" x=\'',
    "x" * 10_000,
    "x" * 9_999 + "y",
    "\N{RIGHT-TO-LEFT OVERRIDE}mada\N{LEFT-TO-RIGHT ISOLATE}",
    "\N{HEBREW LETTER ALEF}\N{HEBREW LETTER BET} 中文",
    "[bold red]rich[/]",
    "[/nothing]",
    r"$\bad{$",
    "_hidden",
    "`code` | [link](javascript:alert(1)) ![x](http://evil)",
    "\x1b[2J\x00\x07\ud800",
    "\n\t",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;",
)
TASKS = ("../../etc/passwd", "</style><img src=x onerror=alert(1)>", "a" * 10_000)
NOTE = "<b>note</b> [link](javascript:alert(1))\N{RIGHT-TO-LEFT OVERRIDE} " + "n" * 10_000
LOSSES = np.stack([np.linspace(2.0, 1.0, 12), np.linspace(3.0, 1.0, 12)])
TAGS = """
    html head meta title link style body main h1 h2 h3 p b nav a div section ul li table thead tbody tr th td br span
    figure svg g path line defs use text rect clippath dl dt dd
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(folder of the report, what the terminal showed)"""
    entries = [entry(LOSSES, optimizer=name, task=task) for task in TASKS for name in OPTIMIZERS]
    results = Results(TASKS, OPTIMIZERS, OPTIMIZERS[0], tuple(entries))
    saved = SavedEvaluation(OPTIMIZERS[0], Procedure(num_seeds=2), results, (NOTE,))
    out, screen = tmp_path_factory.mktemp("outer") / "report", io.StringIO()
    writer.write(out, saved, Console(file=screen, width=200))
    return out, screen.getvalue()


class Strict(HTMLParser):
    """Keeps tags, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_stays_inert(written):
    text = (written[0] / "report.html").read_text(encoding="utf-8")
    page = Strict(text)
    assert page.tags <= set(TAGS.split()), page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert all(value.startswith(("#", "data:")) for name, value in page.attributes if name in ("href", "src", "action"))
    shown = " ".join(page.texts)
    for name in (*OPTIMIZERS[:2], OPTIMIZERS[5], *OPTIMIZERS[6:11], *OPTIMIZERS[13:], *TASKS[:2]):
        assert name in shown
    assert "x" * (names.MAX_LETTERS - 1) + "… #2" in shown
    assert "x" * (names.MAX_LETTERS + 1) not in shown
    assert not [letter for letter in text if letter != "\n" and unicodedata.category(letter) in names.CONTROLS]
    assert "49" not in re.findall(r"\{\{.{0,20}", shown)


def test_the_markdown_has_no_elements_and_no_links_but_its_figures(written):
    text = re.sub(r"`[^`\n]*`", "", (written[0] / "report.md").read_text(encoding="utf-8"))
    assert not re.search(r"(?<!\\)<(?! 0\.001)", text)
    links = re.findall(r"(?<!\\)\]\(([^)]*)\)", text)
    assert links and all(re.fullmatch(r"figures/[\w.-]+\.png", link) for link in links)


def test_files_stay_in_their_folder_under_names_of_their_own(written):
    out, _ = written
    assert [path.name for path in out.parent.iterdir()] == ["report"]
    pictures = {path.name for path in (out / "figures").glob("*.png")}
    assert len(pictures) == 5 + 2 * len(TASKS) + 1
    assert all(len(name) < 200 for name in pictures)


def test_the_terminal_shows_names_as_they_are(written):
    _, screen = written
    assert "[bold red]rich[/]" in screen and "[/nothing]" in screen
    assert "\x1b" not in screen and "\N{RIGHT-TO-LEFT OVERRIDE}" not in screen


def test_names_of_nothing_visible_get_a_mark_and_differ():
    assert names.distinct(["\n", "\x00", "a", "a\x00"]) == {"\n": "?", "\x00": "? #2", "a": "a", "a\x00": "a #2"}


@pytest.mark.parametrize(
    ("name", "shown"), [("adam_cosine", "adam_cosine"), ("$x$", r"\$x\$"), ("_x", " _x"), ("x" * 40, "x" * 31 + "…")]
)
def test_labels_of_figures_are_no_formulas(name, shown):
    assert label(name) == shown


@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "-")
def test_nothing_runs_in_a_browser(written):
    frames, messages = browser.look(written[0] / "report.html", (1280, 390))
    assert messages == []
    assert all(frame["requests"] == [] and frame["scroll_width"] <= frame["width"] for frame in frames)
