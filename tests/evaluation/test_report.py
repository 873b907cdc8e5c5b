import numpy as np
import pytest

from evaluation.report import figures, page, words
from evaluation.results import Results
from evaluation.settings import Evaluation
from tests.evaluation.runs import entry

FALLING = np.linspace(2.0, 1.0, 40)


def _results(learned_losses, adam_losses) -> Results:
    return Results(
        tasks=("tiny",),
        optimizers=("velo", "adam"),
        reference="adam",
        entries=(
            entry(learned_losses, optimizer="velo", is_learned=True),
            entry(adam_losses, optimizer="adam", rates=(1e-3, 1e-2, 1e-1), chosen=2),
        ),
    )


def test_rows_hold_the_scores_of_the_reported_runs():
    results = _results(0.5 * np.stack([FALLING, FALLING]), np.stack([FALLING, FALLING]))
    velo, adam = results.rows()
    assert velo.ratio == pytest.approx(0.5)
    assert velo.ratio_interval == pytest.approx((0.5, 0.5))
    assert velo.speed_up > 1
    assert (velo.num_trials, adam.num_trials) == (0, 3)
    assert (adam.ratio, adam.speed_up, adam.envelope_speed_up) == (1.0, 1.0, 1.0)
    assert adam.at_edge
    assert "edge of the grid" in words.hyperparameters(adam)


def test_the_finding_says_what_the_rows_say():
    results = _results(0.5 * np.stack([FALLING, FALLING]), np.stack([FALLING, FALLING]))
    text = words.finding(results.rows(), "velo", "adam")
    assert "below tuned adam's final training loss on 1 of 1 task, within 1 % of it on 0, above it on 0" in text
    assert "50.0 % below tuned adam's" in text
    assert words.duels(results) == [("velo", [None, (2, 0, 0)])]


@pytest.mark.parametrize(
    ("learned", "adam"),
    [
        (np.full((2, 40), np.nan), np.stack([FALLING, FALLING])),
        (np.stack([FALLING, np.full(40, np.inf)]), np.stack([FALLING, FALLING])),
        (np.stack([FALLING, FALLING]), np.full((2, 40), np.nan)),
        (np.full((2, 40), np.nan), np.full((2, 40), np.nan)),
        (-np.stack([FALLING, FALLING]), -0.5 * np.stack([FALLING, FALLING])),
        (np.zeros((1, 40)), np.zeros((1, 40))),
        (FALLING[None, :1], FALLING[None, :1]),
    ],
    ids=["learned diverged", "one seed diverged", "adam diverged", "all diverged", "negative", "zero", "one step"],
)
def test_a_page_comes_out_whatever_the_losses(learned, adam):
    results = _results(learned, adam)
    text = page.render(Evaluation(num_seeds=len(learned)), results, results.rows(), meta_training=[(0, np.nan)])
    assert "</html>" in text
    assert ">nan" not in text.lower()


def test_diverged_runs_are_counted():
    velo, _ = _results(np.stack([FALLING, np.full(40, np.nan)]), np.stack([FALLING, FALLING])).rows()
    assert velo.num_diverged == 1
    assert words.number(velo.train_loss) == "diverged"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (1.0, "1.00"), (0.06684, "0.0668"), (123.4, "123"), (2e-5, "2.00e-05"), (float("nan"), "-")],
)
def test_numbers_have_three_digits(value, text):
    assert words.number(value) == text


@pytest.mark.parametrize(("value", "text"), [(1e-3, "1e-3"), (0.00372759, "3.7e-3"), (1.0, "1e0")])
def test_rates_are_short(value, text):
    assert words.rate(value) == text


def test_every_optimizer_has_its_own_colour_and_the_figures_name_themselves():
    results = _results(np.stack([FALLING, FALLING]), np.stack([FALLING, FALLING]))
    colors = [stroke.color for stroke in figures.strokes(results).values()]
    assert len(set(colors)) == len(colors)
    assert figures.training_curves(results, "tiny") == figures.training_curves(results, "tiny")
    assert 'aria-label="Training curves on tiny"' in figures.training_curves(results, "tiny")
