"""An analysis as text for a terminal: a table a problem, the differences, and what stands against the numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from regimen.analysis import words
from regimen.analysis.pairs import LEVEL
from regimen.analysis.summary import ProblemResult, Summary

_WIDTH = 110
_MOST_PLACES = 5
"""Unreadable places and notes that are named."""


def as_text(summary: Summary) -> str:
    """Everything a reader needs to judge the numbers, without colours."""
    lines = [f"{summary.num_runs:,} runs in {summary.source}"]
    for problem in summary.problems:
        lines += ["", *_problem(problem, summary)]
    lines += _cautions(summary)
    lines += _listed("notes:", list(summary.notes))
    lines += _listed("cannot be read:", [f"{place}: {why}" for place, why in summary.unreadable])
    return "\n".join(lines)


def _problem(problem: ProblemResult, summary: Summary) -> Iterator[str]:
    yield problem.problem
    yield from _wrapped(words.headline(problem, summary.rule), "  ")
    yield from _table(
        [words.HEAD, *([str(cell) for cell in row] for row in words.rows(problem))], right=frozenset({2, 5, 6, 7})
    )
    pairs = [found for found in summary.differences if found.problem == problem.problem]
    if pairs:
        yield "  differences of means (95 % interval, p of Welch's test corrected after Holm)"
        yield from _table(
            [
                (
                    f"{found.first} - {found.second}",
                    words.difference(found),
                    words.p_value(found.corrected_p),
                    words.verdict(found),
                )
                for found in pairs
            ],
            right=frozenset(),
            indent="    ",
        )
    sensible = [(one.optimizer, one.sensitivity) for one in problem.results if one.sensitivity is not None]
    if sensible:
        yield f"  sensitivity to {sensible[0][1].hyperparameter}"
        yield from _table(
            [(name, words.good_range(found)) for name, found in sensible], right=frozenset(), indent="    "
        )


def _cautions(summary: Summary) -> list[str]:
    if not summary.cautions:
        return []
    lines = ["", "before you believe it:"]
    for who, text in words.cautions(summary):
        lines += _wrapped(f"{who}: {text}", "  - ")
    if any(found.verdict == "no evidence of a difference" for found in summary.differences):
        text = f"No evidence of a difference (p of {LEVEL} or more) is not evidence that there is none."
        lines += _wrapped(text, "  - ")
    return lines


def _listed(title: str, entries: Sequence[str]) -> list[str]:
    if not entries:
        return []
    rest = len(entries) - _MOST_PLACES
    lines = [line for entry in entries[:_MOST_PLACES] for line in _wrapped(entry, "  - ")]
    return ["", title, *lines, *([f"  and {rest:,} more."] if rest > 0 else [])]


def _wrapped(text: str, first: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)


def _table(rows: Sequence[Sequence[str]], right: frozenset[int], indent: str = "  ") -> Iterator[str]:
    """Aligned columns; one in which nothing is said is left out."""
    kept = [place for place in range(len(rows[0])) if any(row[place] != "-" for row in rows[-(len(rows) - 1) :])]
    widths = {place: max(len(row[place]) for row in rows) for place in kept}
    for row in rows:
        cells = (
            row[place].rjust(widths[place]) if place in right else row[place].ljust(widths[place]) for place in kept
        )
        yield (indent + "  ".join(cells)).rstrip()
