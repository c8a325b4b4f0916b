"""One HTML page about many runs, complete in itself: no network, no JavaScript, no other file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from regimen.analysis import figures, words
from regimen.analysis.pairs import LEVEL, Difference
from regimen.analysis.summary import ProblemResult, Summary
from regimen.readable import number
from regimen.records.writer import replace_file
from regimen.report.chart import svg
from regimen.report.glossary import meaning
from regimen.report.markup import EMPTY, Markup, fold, join, section, table, tag
from regimen.report.shell import whole_page

_MOST_SETTINGS = 60
"""Lines of the table of all settings."""
_MOST_NAMED = 20


def write_page(summary: Summary, path: Path) -> Path:
    """Writes the page, replacing an earlier one. Raises `DiskFull` if there is no room; the earlier page then stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, analysis_page(summary).encode(), durable=False)
    return path


def analysis_page(summary: Summary) -> Markup:
    """The whole page, from the doctype on."""
    title = f"{summary.num_runs:,} runs in {Path(summary.source).name or summary.source}"
    return whole_page(
        title,
        tag("h1", title),
        tag("p", tag("code", summary.source), class_="sub"),
        *(_problem(problem, summary) for problem in summary.problems),
        _cautions(summary),
        _how(summary),
        _listed("Notes on the files", list(summary.notes)),
        _listed("Could not be read", [f"{place}: {why}" for place, why in summary.unreadable]),
    )


def _problem(problem: ProblemResult, summary: Summary) -> Markup:
    about = {caution.text for caution in summary.cautions if caution.problem == problem.problem}
    pointer = EMPTY
    if about:
        count = "One thing stands" if len(about) == 1 else f"{len(about)} things stand"
        link = tag("a", "before you believe it", href="#cautions")
        pointer = tag("p", f"{count} against these numbers: ", link, ".", class_="hint")
    return section(
        problem.problem,
        tag("p", words.headline(problem, summary.rule)),
        _table(problem),
        pointer,
        _charts(problem, summary),
        _differences([found for found in summary.differences if found.problem == problem.problem], problem),
        _sensitivity(problem),
        _settings(problem),
    )


def _table(problem: ProblemResult) -> Markup:
    rows = list(words.rows(problem))
    kept = [place for place in range(len(words.HEAD)) if any(row[place] != words.NOTHING for row in rows)]
    shown = [[_cell(row[place], strong=place in (0, 1)) for place in kept] for row in rows]
    numbers = frozenset(column for column, place in enumerate(kept) if place in (1, 2, 5, 6, 7))
    hint = "Mean and standard deviation are over seeds, one run each; the median counts a diverged seed as the worst."
    if "epochs to target" in (words.HEAD[place] for place in kept):
        hint += " Epochs to target is the median over seeds; one that never reaches it counts as later than all others."
    return join([table([words.HEAD[place] for place in kept], shown, numbers, "runs"), tag("p", hint, class_="hint")])


def _cell(cell: words.Cell, *, strong: bool) -> Markup:
    text = tag("b", cell.text) if strong else cell.text
    return join([text, tag("small", cell.detail)]) if cell.detail else join([text])


def _charts(problem: ProblemResult, summary: Summary) -> Markup:
    names = sorted({result.optimizer for each in summary.problems for result in each.results})
    charts = figures.learning_curves(problem, names)
    found = figures.sensitivity_chart(problem, names)
    drawn = [svg(chart) for chart in charts] + ([svg(found)] if found else [])
    said = "A thick line is the mean over the seeds of the best setting, a thin line one seed."
    if found:
        said += (
            f" By {found.horizontal}: each dot is a setting, a thin upright line runs from its lowest to its highest "
            "seed, and a cross marks a setting that diverged or is no better than the untrained model."
        )
    return join([tag("div", *drawn, class_="charts"), tag("p", said, class_="hint")]) if any(drawn) else EMPTY


def _differences(found: list[Difference], problem: ProblemResult) -> Markup:
    if not found:
        return EMPTY
    rows = [
        (
            join([f"{one.first} − {one.second}", tag("small", words.verdict(one))]),
            tag("b", words.difference(one)) if one.verdict.endswith("better") else words.difference(one),
            words.p_value(one.corrected_p),
        )
        for one in found
    ]
    name = meaning(problem.measure.reported).title.lower()
    hint = (
        f"Difference of mean {name} with its 95 % interval. The p-value is of Welch's test, corrected after Holm for "
        f"all pairs on this page; below {LEVEL} it is evidence. Where there is none, they may still differ."
    )
    head = ("pair, and what the seeds show", "difference of means", "p")
    return join([tag("h3", "Differences"), table(head, rows, frozenset({1, 2})), tag("p", hint, class_="hint")])


def _sensitivity(problem: ProblemResult) -> Markup:
    found = [(one.optimizer, one.sensitivity) for one in problem.results if one.sensitivity is not None]
    if not found:
        return EMPTY
    rows = [(tag("b", name), words.good_range(one)) for name, one in found]
    title = f"How much depends on {found[0][1].hyperparameter}"
    hint = "A wide range means that the optimizer forgives a wrong value. One decade is a factor of ten."
    return join([tag("h3", title), table((), rows, look="narrow"), tag("p", hint, class_="hint")])


def _settings(problem: ProblemResult) -> Markup:
    rows = []
    count = 0
    for result in problem.results:
        for rank, one in enumerate(result.choice.ranked, start=1):
            count += 1
            if rank > _MOST_SETTINGS // len(problem.results):
                continue
            diverged = f", {one.reported.num_diverged} diverged" if one.reported.num_diverged else ""
            rows.append(
                (
                    result.optimizer,
                    number(rank),
                    one.runs.label,
                    f"{one.reported.num_seeds}{diverged}",
                    words.with_spread(one.chosen_by) if one.chosen_by.num_seeds > 1 else number(one.chosen_by.mean, 5),
                )
            )
    if count <= len(problem.results):
        return EMPTY
    head = ("optimizer", "rank", "setting", "seeds", f"mean {problem.measure.chosen_by}, tuning seeds")
    rest = f" (the best {len(rows)} of {count})" if len(rows) < count else ""
    return fold(f"All settings, as they were ranked{rest}", table(head, rows, frozenset({1, 4})))


def _cautions(summary: Summary) -> Markup:
    if not summary.cautions:
        return EMPTY
    items = [tag("li", tag("b", who), f": {text}") for who, text in words.cautions(summary)]
    return tag("section", tag("h2", "Before you believe it", id="cautions"), tag("ul", *items))


def _how(summary: Summary) -> Markup:
    return section("How these numbers were made", tag("ul", *(tag("li", text) for text in _steps(summary))))


def _steps(summary: Summary) -> Iterator[str]:
    chosen = {problem.measure.chosen_by.partition("/")[0] for problem in summary.problems}
    value = "at its best evaluation" if summary.rule == "best" else "at its last evaluation"
    on = "validation data" if chosen == {"valid"} else " and ".join(sorted(chosen)) + " data"
    yield f"A run counts with its metric {value}. The setting of an optimizer is chosen on {on}, among those tried."
    if summary.question.keep_tuning_seeds:
        yield "All seeds of the best setting are counted, those on which it was chosen included, as DeepOBS does."
    else:
        yield (
            "The seeds on which settings were compared are left out of the final numbers where the best setting was "
            "run on other seeds, too: the luck of a seed that won is not quality."
        )
    yield "A diverged run is counted, never averaged: nothing is invented for the epochs that it did not train."
    if any(problem.is_own_target and problem.target is not None for problem in summary.problems):
        yield (
            "No target was given, so it was taken from the runs: of each optimizer's median seed the value at the end, "
            "and of those the middle one (the worse of two)."
        )


def _listed(title: str, entries: list[str]) -> Markup:
    if not entries:
        return EMPTY
    rest = len(entries) - _MOST_NAMED
    more = [tag("li", f"and {rest:,} more")] if rest > 0 else []
    return section(title, tag("ul", *(tag("li", entry) for entry in entries[:_MOST_NAMED]), *more))
