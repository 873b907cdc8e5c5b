"""The report as Markdown, for a repository or a draft of a paper; its figures are the PNG files beside it."""

from collections.abc import Sequence

from evaluation import curve_key
from evaluation.report import score_tables, wording
from evaluation.report.content import Content
from evaluation.report.names import code, escape_markdown


def render(content: Content, figures_folder: str) -> str:
    """The report as text. Equal curves give equal text, except in the section "Time"."""
    return (
        "\n".join(
            [*_head(content), *_summary(content), *_matches(content), *_tasks(content), *_end(content, figures_folder)]
        )
        + "\n"
    )


def _head(content: Content) -> list[str]:
    """Title, procedure and notes."""
    procedure, results = content.procedure, content.results
    counts = f"{wording.count(len(results.tasks), 'task')}, {wording.count(procedure.num_seeds, 'seed')}"
    lines = [
        f"# {escape_markdown(content.suite)}: {counts}",
        "",
        f"Reference: tuned {code(results.reference)}. Hyperparameters are chosen on "
        f"{wording.count(procedure.num_tuning_seeds, 'seed')} apart from the reported ones.",
        "",
    ]
    if not content.saved.is_whole:
        lines += ["Unfinished: only the tasks on which every optimizer is finished.", ""]
    for note in content.saved.notes:
        lines += [escape_markdown(note), ""]
    return lines


def _summary(content: Content) -> list[str]:
    """The table over all tasks."""
    reference, stretch = escape_markdown(content.results.reference), content.procedure.stretch
    header = (
        "optimizer", "trials per task", f"final loss / {reference}'s", "95 %", "geometric mean", "95 % over tasks too",
        "P(better)", "wins-ties-losses", "p",
        f"speed-up over {reference}", f"faster than {reference}", "4x faster", "profile score",
        f"worth {reference} trials", "tuning steps", "diverged",
    )  # fmt: skip
    body = [
        (
            code(found.optimizer),
            str(found.num_trials or "none"),
            wording.ratio(found.ratio),
            wording.interval(found.ratio_interval),
            wording.ratio(found.geometric_ratio),
            wording.interval(found.geometric_interval),
            wording.percent(found.improvement),
            wording.record(found.record),
            wording.p_value(found.p_value),
            wording.envelope_speed_up(found.envelope_speed_up, stretch),
            wording.percent(found.share_faster),
            wording.percent(found.share_fast),
            f"{found.profile_score:.2f}",
            wording.trials(found.worth_trials, content.num_reference_trials),
            f"{found.tuning_steps:,}",
            f"{found.num_diverged} of {found.num_runs}",
        )
        for found in content.summaries
    ]
    return [
        "## Over all tasks",
        "",
        "The first ratio is the mean of the middle half of all runs, with an interval over seeds; the geometric mean "
        "is over all tasks and seeds, with an interval over both.",
        "",
        *table(header, body),
        "",
    ]


def _matches(content: Content) -> list[str]:
    """The table of loss ratios of each learned optimizer to every other, for choosing weights; empty without any."""
    found = score_tables.matches(content.results)
    if not found:
        return []
    header = ("optimizer", *(f"over {code(name)}" for name in content.results.optimizers))
    body = [(code(name), *(_match(cell) for cell in cells)) for name, cells in found]
    return [
        "## Against each other",
        "",
        "Geometric mean of final loss / the other's under the same seed, with 95 % over tasks and seeds.",
        "",
        *table(header, body),
        "",
    ]


def _match(cell: score_tables.Match | None) -> str:
    """A ratio with its interval if there is one; empty for an optimizer against itself."""
    if cell is None:
        return ""
    interval = wording.interval(cell.interval)
    return f"{wording.ratio(cell.ratio)} ({interval})" if interval else wording.ratio(cell.ratio)


def _tasks(content: Content) -> list[str]:
    """The table of loss ratios: a row for each task, a column for each optimizer, the least of a row in bold."""
    results = content.results
    others = [name for name in results.optimizers if name != results.reference]
    by_place = {(row.task, row.optimizer): row for row in content.rows}
    body = []
    for task in results.tasks:
        ratios = [by_place[task, name].ratio for name in others]
        reference = by_place[task, results.reference]
        best = min((ratio for ratio in ratios if ratio < 1), default=None)
        cells = [f"**{wording.number(ratio)}**" if ratio == best else wording.number(ratio) for ratio in ratios]
        body.append(
            (
                code(task),
                wording.number(reference.train_loss),
                escape_markdown(wording.hyperparameters(reference)),
                *cells,
            )
        )
    header = (
        "task",
        f"{escape_markdown(results.reference)}'s final loss",
        "its rate",
        *(code(name) for name in others),
    )
    return [
        "## Final training losses",
        "",
        f"As multiples of tuned {code(results.reference)}'s, geometric means over seeds.",
        "",
        *table(header, body),
        "",
    ]


def _end(content: Content, figures_folder: str) -> list[str]:
    """The sections on times, failures and figures."""
    results = content.results
    lines = [
        "## Time",
        "",
        f"{wording.clock(results)} Medians over tasks.",
        "",
    ]
    body = []
    for name, found in zip(results.optimizers, content.summaries, strict=True):
        speed = content.speed(name)
        body.append(
            (
                code(name),
                wording.ratio(speed["pace"]),
                wording.ratio(speed["cpu_pace"]),
                wording.envelope_speed_up(found.envelope_speed_up, content.procedure.stretch),
                wording.envelope_speed_up(speed["envelope_speed_up"], content.procedure.stretch),
                wording.ratio(speed["ratio"]),
            )
        )
    header = (
        "optimizer",
        "seconds per step",
        "processor seconds per step",
        "speed-up in steps",
        "speed-up in seconds",
        "final loss in equal time",
    )
    lines += [*table(header, body), "", *_speed_ups(content), "", "## Failures", ""]
    lines += [f"- {escape_markdown(line)}" for line in wording.failures(results, content.rows)] or ["None."]
    lines += ["", "## Figures", ""]
    lines += [
        f"![{escape_markdown(drawing.title)}]({figures_folder}/{drawing.file_name}.png)" for drawing in content.files
    ]
    versions = ", ".join(f"{name} {version}" for name, version in curve_key.versions().items())
    return [*lines, "", f"Made with {versions}."]


def _speed_ups(content: Content) -> list[str]:
    """The table of speed-ups in steps and in seconds: a row for each task, a column for each optimizer."""
    results, stretch = content.results, content.procedure.stretch
    reference = escape_markdown(results.reference)
    header = ("task", f"{reference}'s ms per step", *map(code, results.optimizers))
    body = []
    for task in results.tasks:
        found = content.times_on(task)
        milliseconds = next(one.milliseconds_per_step for one in found if one.optimizer == results.reference)
        cells = (wording.both_speed_ups(one, stretch) for one in found)
        body.append((code(task), wording.number(milliseconds), *cells))
    return [f"Speed-up over tuned {code(results.reference)} in steps / in seconds:", "", *table(header, body)]


def table(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    rows = [header, ["---"] * len(header), *body]
    return ["| " + " | ".join(row) + " |" for row in rows]
