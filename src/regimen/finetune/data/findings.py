"""A capped list of problems, so that one message reports everything that is wrong with the data."""

from __future__ import annotations

from dataclasses import dataclass, field

from regimen.errors import DataError, Problem, Refused

SHOWN = 20
"""How many problems a message lists; the others are counted."""


@dataclass
class Findings:
    """Problems in the order they were found; the first `SHOWN` are kept, all are counted."""

    problems: list[Problem] = field(default_factory=list)
    count: int = 0

    def add(self, place: object, message: str, fix: str = "") -> None:
        self.count += 1
        if len(self.problems) < SHOWN:
            self.problems.append(Problem(str(place), message, fix))

    def listed(self) -> list[Problem]:
        """What to show: the kept problems, and a last line that says how many more there are."""
        more = self.count - len(self.problems)
        return [*self.problems, Problem("", f"and {more:,} more.")] if more else list(self.problems)

    def raise_data_error(self) -> None:
        """Raise `DataError` with everything found, or do nothing when nothing was."""
        if self.count:
            raise DataError(self.listed())

    def raise_refused(self) -> None:
        """Raise `Refused` with everything found, or do nothing when nothing was."""
        if self.count:
            raise Refused(self.listed())


def shown(value: object, limit: int = 60) -> str:
    """A value as a message shows it: its type in JSON's words and the beginning of it.

    >>> shown(None), shown(True), shown([1, 2]), shown("a")
    ('null', 'the boolean true', 'a list [1, 2]', "the text 'a'")
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    text = repr(value)
    text = text if len(text) <= limit else f"{text[:limit]}..."
    kinds: list[tuple[type, str]] = [(str, "the text"), (int, "the number"), (float, "the number"), (list, "a list")]
    kind = next((words for type_, words in kinds if isinstance(value, type_)), None)
    return f"{kind or ('an object' if isinstance(value, dict) else 'a value')} {text}"
