"""The report as Markdown, for a repository or a paper's draft; its figures are the PNG files beside it."""

from collections.abc import Sequence

from evaluation import curve_key as identity
from evaluation.report import wording as words
from evaluation.report.content import Content


def render(content: Content, figures_folder: str) -> str:
    """The same for the same curves, but for the part under "Time"."""
    return "\n".join([*_head(content), *_summary(content), *_tasks(content), *_end(content, figures_folder)]) + "\n"


def _head(content: Content) -> list[str]:
    settings, results = content.settings, content.results
    lines = [
        f"# {settings.suite}: {words.count(len(results.tasks), 'task')}, {words.count(settings.num_seeds, 'seed')}",
        "",
        f"Reference: tuned `{results.reference}`. Hyperparameters are chosen on "
        f"{words.count(settings.num_tuning_seeds, 'seed')} apart from the reported ones.",
        "",
    ]
    if not content.manifest.is_whole:
        lines += ["Unfinished: only the tasks on which every optimizer is finished.", ""]
    for note in content.manifest.notes:
        lines += [note, ""]
    return lines


def _summary(content: Content) -> list[str]:
    reference, stretch = content.results.reference, content.settings.stretch
    header = (
        "optimizer", "trials per task", f"final loss / {reference}'s", "95 %", "P(better)", "wins-ties-losses", "p",
        f"speed-up over {reference}", "profile score", f"worth {reference} trials", "tuning steps", "diverged",
    )  # fmt: skip
    body = [
        (
            f"`{found.optimizer}`",
            str(found.num_trials or "none"),
            words.ratio(found.ratio),
            words.interval(found.ratio_interval),
            words.percent(found.improvement),
            words.record(found.record),
            words.p_value(found.p_value),
            words.envelope_speed_up(found.envelope_speed_up, stretch),
            f"{found.profile_score:.2f}",
            words.trials(found.worth_trials, content.num_reference_trials),
            f"{found.tuning_steps:,}",
            f"{found.num_diverged} of {found.num_runs}",
        )
        for found in content.summaries
    ]
    return ["## Over all tasks", "", *_table(header, body), ""]


def _tasks(content: Content) -> list[str]:
    """Ratios to the reference, a column an optimizer: the least of a row in bold."""
    results = content.results
    others = [name for name in results.optimizers if name != results.reference]
    by_place = {(row.task, row.optimizer): row for row in content.rows}
    body = []
    for task in results.tasks:
        ratios = [by_place[task, name].ratio for name in others]
        reference = by_place[task, results.reference]
        best = min((ratio for ratio in ratios if ratio < 1), default=None)
        cells = [f"**{words.number(ratio)}**" if ratio == best else words.number(ratio) for ratio in ratios]
        body.append((f"`{task}`", words.number(reference.train_loss), words.hyperparameters(reference), *cells))
    header = ("task", f"{results.reference}'s final loss", "its rate", *(f"`{name}`" for name in others))
    return [
        "## Final training losses",
        "",
        f"As multiples of tuned `{results.reference}`'s, geometric means over seeds.",
        "",
        *_table(header, body),
        "",
    ]


def _end(content: Content, figures_folder: str) -> list[str]:
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
                words.ratio(speed["pace"]),
                words.ratio(speed["cpu_pace"]),
                words.envelope_speed_up(speed["envelope_speed_up"], content.settings.stretch),
                words.ratio(speed["ratio"]),
            )
        )
    header = (
        "optimizer",
        "seconds per step",
        "processor seconds per step",
        "speed-up in seconds",
        "final loss in equal time",
    )
    lines += [*_table(header, body), "", "## Failures", ""]
    lines += [f"- {line}" for line in words.failures(results, content.rows)] or ["None."]
    lines += ["", "## Figures", ""]
    lines += [f"![{drawing.title}]({figures_folder}/{drawing.file_name}.png)" for drawing in content.files]
    versions = ", ".join(f"{name} {version}" for name, version in identity.versions().items())
    return [*lines, "", f"Made with {versions}."]


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    rows = [header, ["---"] * len(header), *body]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
