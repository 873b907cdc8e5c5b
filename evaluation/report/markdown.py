"""The report as Markdown, for a repository or the draft of a paper; its figures are the PNG files beside it."""

from collections.abc import Sequence

from evaluation import curve_key
from evaluation.report import wording
from evaluation.report.content import Content


def render(content: Content, figures_folder: str) -> str:
    """The report as text. It is the same for the same curves, except the part under "Time"."""
    return "\n".join([*_head(content), *_summary(content), *_tasks(content), *_end(content, figures_folder)]) + "\n"


def _head(content: Content) -> list[str]:
    """Title, procedure and notes."""
    procedure, results = content.procedure, content.results
    lines = [
        f"# {content.suite}: {wording.count(len(results.tasks), 'task')}, {wording.count(procedure.num_seeds, 'seed')}",
        "",
        f"Reference: tuned `{results.reference}`. Hyperparameters are chosen on "
        f"{wording.count(procedure.num_tuning_seeds, 'seed')} apart from the reported ones.",
        "",
    ]
    if not content.saved.is_whole:
        lines += ["Unfinished: only the tasks on which every optimizer is finished.", ""]
    for note in content.saved.notes:
        lines += [note, ""]
    return lines


def _summary(content: Content) -> list[str]:
    """The table over all tasks."""
    reference, stretch = content.results.reference, content.procedure.stretch
    header = (
        "optimizer", "trials per task", f"final loss / {reference}'s", "95 %", "P(better)", "wins-ties-losses", "p",
        f"speed-up over {reference}", "profile score", f"worth {reference} trials", "tuning steps", "diverged",
    )  # fmt: skip
    body = [
        (
            f"`{found.optimizer}`",
            str(found.num_trials or "none"),
            wording.ratio(found.ratio),
            wording.interval(found.ratio_interval),
            wording.percent(found.improvement),
            wording.record(found.record),
            wording.p_value(found.p_value),
            wording.envelope_speed_up(found.envelope_speed_up, stretch),
            f"{found.profile_score:.2f}",
            wording.trials(found.worth_trials, content.num_reference_trials),
            f"{found.tuning_steps:,}",
            f"{found.num_diverged} of {found.num_runs}",
        )
        for found in content.summaries
    ]
    return ["## Over all tasks", "", *table(header, body), ""]


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
        body.append((f"`{task}`", wording.number(reference.train_loss), wording.hyperparameters(reference), *cells))
    header = ("task", f"{results.reference}'s final loss", "its rate", *(f"`{name}`" for name in others))
    return [
        "## Final training losses",
        "",
        f"As multiples of tuned `{results.reference}`'s, geometric means over seeds.",
        "",
        *table(header, body),
        "",
    ]


def _end(content: Content, figures_folder: str) -> list[str]:
    """Times, failures and figures."""
    results = content.results
    lines = [
        "## Time",
        "",
        "Medians over tasks; the clock of the machine that ran this, whatever else it was doing.",
        "",
    ]
    body = []
    for name in results.optimizers:
        speed = content.speed(name)
        body.append(
            (
                f"`{name}`",
                wording.ratio(speed["pace"]),
                wording.ratio(speed["cpu_pace"]),
                wording.envelope_speed_up(speed["envelope_speed_up"], content.procedure.stretch),
                wording.ratio(speed["ratio"]),
            )
        )
    header = (
        "optimizer",
        "seconds per step",
        "processor seconds per step",
        "speed-up in seconds",
        "final loss in equal time",
    )
    lines += [*table(header, body), "", "## Failures", ""]
    lines += [f"- {line}" for line in wording.failures(results, content.rows)] or ["None."]
    lines += ["", "## Figures", ""]
    lines += [f"![{drawing.title}]({figures_folder}/{drawing.file_name}.png)" for drawing in content.files]
    versions = ", ".join(f"{name} {version}" for name, version in curve_key.versions().items())
    return [*lines, "", f"Made with {versions}."]


def table(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    rows = [header, ["---"] * len(header), *body]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
