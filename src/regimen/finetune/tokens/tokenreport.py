"""Counts what became of the rows when they were tokenized: kept, dropped and why, lengths, how much is trained."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from regimen.finetune.data.duplicates import content_key, repeats
from regimen.finetune.data.table import Place
from regimen.finetune.tokens.outcome import IGNORED, Dropped, Kept

EXAMPLES = 5
"""How many places a reason lists."""
_QUANTILES = {"min": 0.0, "median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


@dataclass
class Counted:
    """How many rows, and where the first ones are (`train.jsonl:17`)."""

    rows: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, place: Callable[[], Place]) -> None:
        self.rows += 1
        if len(self.places) < EXAMPLES:
            self.places.append(str(place()))


@dataclass
class TokenReport:
    """What became of the rows. Lengths are in tokens; for preference rows, of the prompt with both answers."""

    rows: int = 0
    kept: int = 0
    dropped: dict[str, Counted] = field(default_factory=dict)
    notes: dict[str, Counted] = field(default_factory=dict)
    """Kept rows with something noteworthy, such as an answer that was truncated."""
    tokens: int = 0
    trained_tokens: int = 0
    longest_dropped: int = 0
    """Tokens of the longest row that was too long: the max_length that would keep every row."""
    duplicates: int = 0
    """Kept rows whose tokens an earlier row has already."""
    lengths: dict[str, int] = field(default_factory=dict)
    """Quantiles over the kept rows: min, median, p90, p99, max."""

    @property
    def trained_fraction(self) -> float:
        """The part of the kept rows' tokens that is trained, 0 to 1."""
        return self.trained_tokens / self.tokens if self.tokens else 0.0

    def to_json(self) -> dict[str, object]:
        return {
            "rows": self.rows,
            "kept": self.kept,
            "dropped": {reason: vars(counted) for reason, counted in self.dropped.items()},
            "notes": {note: vars(counted) for note, counted in self.notes.items()},
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
            "trained_fraction": self.trained_fraction,
            "longest_dropped": self.longest_dropped,
            "duplicates": self.duplicates,
            "lengths": self.lengths,
        }

    def lines(self) -> list[str]:
        """The report for people, one finding a line."""
        quantiles = ", ".join(f"{name} {tokens:,}" for name, tokens in self.lengths.items())
        lines = [
            f"{self.kept:,} of {self.rows:,} rows, {self.tokens:,} tokens, {self.trained_fraction:.1%} of them trained",
            f"tokens a row: {quantiles}",
        ]
        for word, counts in (("dropped", self.dropped), ("note", self.notes)):
            lines += [f"{word}: {reason}: {_listed(counted)}" for reason, counted in counts.items()]
        if self.duplicates:
            lines.append(f"note: {self.duplicates:,} rows have the same tokens as an earlier row")
        return lines


def _listed(counted: Counted) -> str:
    more = ", ..." if counted.rows > len(counted.places) else ""
    return f"{counted.rows:,} rows ({', '.join(counted.places)}{more})"


class Tally:
    """Fills a `TokenReport` row by row; 12 bytes a row."""

    def __init__(self) -> None:
        self.report = TokenReport()
        self._lengths, self._keys = array("L"), array("Q")

    def dropped(self, outcome: Dropped, place: Callable[[], Place]) -> None:
        self.report.rows += 1
        self.report.dropped.setdefault(outcome.reason, Counted()).add(place)
        self.report.longest_dropped = max(self.report.longest_dropped, outcome.length)

    def kept(self, outcome: Kept, place: Callable[[], Place]) -> None:
        report = self.report
        length, trained = measured(outcome)
        report.rows += 1
        report.kept += 1
        report.tokens += length
        report.trained_tokens += trained
        for note in outcome.notes:
            report.notes.setdefault(note, Counted()).add(place)
        self._lengths.append(length)
        self._keys.append(content_key(list(outcome.tokens.values())))

    def finished(self) -> TokenReport:
        """The report with the figures that need all rows."""
        self.report.duplicates = len(repeats(self._keys))
        if self._lengths:
            ordered = np.sort(np.frombuffer(self._lengths, dtype=f"u{self._lengths.itemsize}"))
            self.report.lengths = {name: int(ordered[round(q * (len(ordered) - 1))]) for name, q in _QUANTILES.items()}
        return self.report


def measured(outcome: Kept) -> tuple[int, int]:
    """Tokens of a row, and how many of them are trained."""
    tokens = outcome.tokens
    if "labels" in tokens:
        return len(tokens["input_ids"]), len(tokens["labels"]) - tokens["labels"].count(IGNORED)
    answers = sum(len(ids) for name, ids in tokens.items() if name != "prompt_ids" and isinstance(ids, list))
    return len(tokens["prompt_ids"]) + answers, answers
