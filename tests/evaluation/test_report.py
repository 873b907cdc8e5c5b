import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from evaluation.curves import Results, StepSizes
from evaluation.report import drawing, figures, learning_curves, markdown, page, score_tables, wording, writer
from evaluation.report.content import Content
from evaluation.saved_evaluation import SavedEvaluation
from evaluation.settings import Procedure
from tests.evaluation import browser
from tests.evaluation.runs import entry

FALLING = np.linspace(2.0, 1.0, 40)
PAIR = np.stack([FALLING, FALLING])
LONG = np.concatenate([FALLING, np.linspace(1.0, 0.25, 120)])


def _results(learned_losses, adam_losses, *, name="velo", stretched=()) -> Results:
    return Results(
        tasks=("tiny",),
        optimizers=(name, "adam"),
        reference="adam",
        entries=(
            entry(learned_losses, optimizer=name, is_learned=True),
            entry(adam_losses, optimizer="adam", rates=(1e-3, 1e-2, 1e-1), chosen=2, stretched=stretched),
        ),
    )


def _content(*losses, **options) -> Content:
    return Content(SavedEvaluation("demo", Procedure(num_seeds=2), _results(*losses, **options)))


def test_rows_hold_the_scores_of_the_reported_runs():
    velo, adam = score_tables.rows(_results(0.5 * PAIR, PAIR, stretched=[np.stack([LONG, LONG])]))
    assert (velo.ratio, velo.valid_ratio) == pytest.approx((0.5, 0.5))
    assert velo.ratio_interval == pytest.approx((0.5, 0.5))
    assert velo.speed_up > 1
    assert 1 < velo.envelope_speed_up < 4  # measured, in the longer run
    assert (velo.num_trials, adam.num_trials) == (0, 3)
    assert (velo.worth_trials, adam.worth_trials) == (np.inf, 1)
    assert (adam.ratio, adam.speed_up, adam.envelope_speed_up) == (1.0, 1.0, 1.0)
    assert adam.at_edge
    assert wording.hyperparameters(adam) == "1e-1 (edge)"


def test_the_summary_is_over_all_tasks():
    found, adam = _content(0.5 * PAIR, PAIR).summaries
    assert (found.ratio, found.geometric_ratio) == (pytest.approx(0.5), pytest.approx(0.5))
    assert found.improvement == 1.0
    assert found.record == (1, 0, 0)
    assert found.profile_score == 1.0
    assert (found.num_tuning_runs, adam.num_tuning_runs, adam.tuning_steps) == (0, 6, 240)
    assert (adam.ratio, adam.improvement, adam.record) == (1.0, 0.5, (0, 1, 0))
    assert np.isnan(adam.p_value)
    assert found.state_ratio == 1.0


def test_learned_optimizers_are_matched_with_all_others_over_tasks_and_seeds():
    one, two = _results(0.5 * PAIR, PAIR), _results(0.25 * PAIR, PAIR)
    again = tuple(dataclasses.replace(entry, task="other") for entry in two.entries)
    results = dataclasses.replace(one, tasks=("tiny", "other"), entries=(*one.entries, *again))
    [(name, [itself, over_adam])] = score_tables.matches(results)
    assert (name, itself) == ("velo", None)
    assert over_adam.ratio == pytest.approx(0.125**0.5)
    assert over_adam.interval == pytest.approx((0.25, 0.5))
    content = Content(SavedEvaluation("demo", Procedure(num_seeds=2), results))
    assert "| `velo` |  | 0.354x (0.250 to 0.500) |" in markdown.render(content, "figures")
    text = (
        "velo: geometric mean of final loss / adam's 0.354x, 95 % over tasks and seeds 0.250 to 0.500; "
        "faster than tuned adam on 100 % of the tasks"
    )
    assert wording.in_short(content.summaries[0], "adam") == text


def test_speed_ups_are_sorted_for_each_optimizer_and_counted():
    """The first task's speed-up is between 1 and 4; on the second, even the longer runs never get as low."""
    one = _results(0.5 * PAIR, PAIR, stretched=[np.stack([LONG, LONG])])
    two = _results(0.01 * PAIR, PAIR, stretched=[np.stack([LONG, LONG])])
    again = tuple(dataclasses.replace(entry, task="other") for entry in two.entries)
    results = dataclasses.replace(one, tasks=("tiny", "other"), entries=(*one.entries, *again))
    velo, adam = score_tables.summaries(results, score_tables.rows(results))
    assert (velo.share_faster, velo.share_fast) == (1.0, 0.5)
    assert (adam.share_faster, adam.share_fast) == (0.0, 0.0)
    rows = figures.sorted_speed_ups(results, score_tables.rows(results), stretch=4).rows
    assert [row[:3] for row in rows if row[0] == "velo"] == [("velo", 1, "other"), ("velo", 2, "tiny")]
    assert rows[2][3] == np.inf
    text = wording.in_short(velo, "adam")
    assert text.endswith("faster than tuned adam on 100 % of the tasks, by 4x on 50 %")


def test_time_charges_for_overhead():
    results = _results(PAIR, PAIR)
    slow = results.entries[0]
    for curve in slow.reported:
        object.__setattr__(curve.cost, "seconds", 1.0)  # twice as slow as the reference
    velo, adam = score_tables.times(results)
    assert (adam.milliseconds_per_step, velo.milliseconds_per_step) == (12.5, 25.0)
    assert (velo.speed_up, velo.envelope_speed_up) == (0.5, 0.5)
    assert velo.ratio > 1.2
    assert score_tables.times_to_target(results, in_seconds=True).tolist() == [[1.0, 0.5]]


def test_the_finding_says_what_the_rows_say():
    content = _content(0.5 * PAIR, PAIR)
    text = wording.finding(content.summaries[0], content.rows, "adam", 4)
    assert "below tuned adam's final training loss on 1 of 1 task, within 1 % of it on 0, above it on 0" in text
    assert "50.0 % below tuned adam's" in text
    assert wording.duels(content.results) == [("velo", [None, (2, 0, 0)])]


@pytest.mark.parametrize(
    ("learned", "adam"),
    [
        (np.stack([FALLING, np.full(40, np.inf)]), PAIR),
        (PAIR, np.full((2, 40), np.nan)),
        (-PAIR, -0.5 * PAIR),
        (np.zeros((1, 1)), np.zeros((1, 1))),
    ],
    ids=["one seed diverged", "adam diverged", "negative", "zero in one step"],
)
def test_a_report_comes_out_whatever_the_losses(learned, adam):
    content = _content(learned, adam)
    object.__setattr__(content.saved, "meta_training", ((0, float("nan")),))
    text = page.render(content)
    assert "</html>" in text
    assert ">nan" not in text.lower()
    assert "nan" not in re.sub(r"[a-z]*nan[a-z]+", "", markdown.render(content, "figures").lower())


def test_failures_are_named():
    content = _content(np.stack([FALLING, np.where(np.arange(40) > 6, np.nan, FALLING)]), PAIR)
    velo, _ = content.rows
    assert velo.num_diverged == 1
    assert wording.number(velo.train_loss) == "diverged"
    assert wording.failures(content.results, content.rows) == [
        "tiny, velo, seed 1: its loss was no number from step 8.",
        "tiny, adam: the best learning rate, 1e-1, is the last that was tried; a better one may lie outside.",
    ]


@pytest.mark.parametrize("end", [np.nan, 1e9])
def test_an_optimizer_that_diverges_at_once_is_shown_as_diverged(end):
    """Even if most of the reference's trials diverged too."""
    at_once = np.where(np.arange(40) < 1, FALLING, end)
    results = _results(np.stack([at_once, at_once]), PAIR)
    adam = results.entries[1]
    worse = tuple(dataclasses.replace(curve, train_loss=np.full(40, 1e12, np.float32)) for curve in adam.trials[0])
    results = dataclasses.replace(
        results, entries=(results.entries[0], dataclasses.replace(adam, trials=(worse, worse, adam.trials[2])))
    )
    velo, _ = score_tables.rows(results)
    assert (velo.envelope_speed_up, velo.worth_trials, velo.speed_up) == (0.0, 0.0, 0.0)
    assert wording.envelope_speed_up(velo.envelope_speed_up, 4) == wording.trials(velo.worth_trials, 3) == "diverged"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (1.0, "1.00"), (0.06684, "0.0668"), (123.4, "123"), (2e-5, "2.00e-05"), (float("nan"), "-")],
)
def test_numbers_have_three_digits(value, text):
    assert wording.number(value) == text


@pytest.mark.parametrize(("value", "text"), [(1e-3, "1e-3"), (0.00372759, "3.7e-3"), (1.0, "1e0")])
def test_rates_are_short(value, text):
    assert wording.rate(value) == text


def test_every_optimizer_has_its_own_colour_and_a_figure_is_the_same_twice():
    results = _results(PAIR, PAIR)
    colors = [stroke.color for stroke in drawing.strokes(results).values()]
    assert len(set(colors)) == len(colors)
    assert learning_curves.training_curves(results, "tiny").svg == learning_curves.training_curves(results, "tiny").svg
    assert 'aria-label="Training curves on tiny"' in learning_curves.training_curves(results, "tiny").svg


def test_the_figure_of_tuning_costs_is_in_units_of_the_best_trial():
    rows = figures.tuning_cost(_results(0.5 * PAIR, PAIR)).rows
    assert rows == [("adam", 1, 1.0), ("adam", 2, 1.0), ("adam", 3, 1.0), ("velo", 1, pytest.approx(0.5))]


VOID = {"meta", "br", "line", "path", "use", "rect", "img", "link"}


class _Checker(HTMLParser):
    """Fails on tags that don't nest; keeps the addresses."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action")]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with a report in which every section has content."""
    out = tmp_path_factory.mktemp("report")
    results = _results(0.5 * PAIR, PAIR, name="odd & <name>", stretched=[np.stack([LONG, LONG])])
    record = StepSizes(("w", "b"), np.array([0, 20]), np.array([[0.1, 0.0], [0.01, 0.02]], np.float32))
    for curve in results.entries[0].reported:
        object.__setattr__(curve, "step_sizes", record)
    points = tuple((step, -step / 10) for step in range(5))
    saved = SavedEvaluation("demo", Procedure(num_seeds=2), results, ("Little can be <said>.",), points)
    writer.write(out, saved, Console(quiet=True))
    return out


def test_the_page_is_whole_and_reaches_for_nothing_outside_itself(written):
    text = (written / "report.html").read_text()
    checker = _Checker()
    checker.feed(text)
    assert not checker.open
    assert all(address.startswith(("#", "data:")) for address in checker.addresses)
    assert not re.search(r"https?://|@import|url\((?!#)|<script", text)
    shown = " ".join(checker.text)
    for expected in ("odd & <name>", "Little can be <said>.", "Meta-training", "tiny", "Sensitivity", "What ran"):
        assert expected in shown
    # The meta-loss, four over all tasks, curves, sensitivity, step sizes, the profile in seconds.
    assert text.count("<svg role=") == 9
    assert text.count('download="') == 9 + 3
    identifiers = re.findall(r'\bid="([mp][0-9a-f]{10})"', text)  # of markers and clips, which are referred to
    assert len(identifiers) == len(set(identifiers)) > 8


def test_figures_and_tables_are_files_for_papers(written):
    names = {path.stem for path in (written / "figures").glob("*.png")}
    assert names == {path.stem for path in (written / "figures").glob("*.csv")}
    assert len(names) == 9 + 1
    everything = pd.read_csv(written / "figures" / "curves.csv")
    assert set(everything.task) == {"tiny"}
    curves = pd.read_csv(written / "figures" / "curves-tiny.csv")
    assert list(curves.columns) == ["optimizer", "step", "mean", "least", "greatest"]
    assert everything[curves.columns].equals(curves)
    results = pd.read_csv(written / "results.csv")
    assert results.set_index("optimizer").ratio.to_dict() == {"odd & <name>": 0.5, "adam": 1.0}
    assert list(pd.read_csv(written / "summary.csv").record_wins) == [1, 0]
    text = (written / "report.md").read_text()
    assert all(f"](figures/{name}.png)" in text for name in names)


@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "-")
def test_the_page_in_a_browser(written):
    """No message on the console, no request, nothing wider than the window, no small print below 11 px."""
    frames, messages = browser.look(written / "report.html", (1280, 390))
    assert messages == []
    assert [frame["width"] for frame in frames] == [1280, 390]
    for frame in frames:
        assert frame["requests"] == []
        assert frame["scroll_width"] <= frame["width"]
        assert frame["least_font"] >= 11
        assert frame["body_font"] >= 16
        assert frame["least_figure_font"] >= 9
