"""Ends a text before the first of some stop texts, without ever showing the beginning of one."""

from __future__ import annotations

from collections.abc import Sequence


class StopTexts:
    """Takes a text piece by piece and gives what certainly is before every stop text.

    >>> stops = StopTexts(["\\n\\n", "END"])
    >>> [stops.add(piece) for piece in ("one\\n", "two E", "ND three")], stops.found
    (['one', '\\ntwo ', ''], True)
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.found = False
        """Whether a stop text has come: nothing after it is given."""

    def add(self, piece: str) -> str:
        """What can be given now."""
        if self.found:
            return ""
        text = self._held + piece
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.found, self._held = True, ""
            return text[: min(places)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back, once the text has ended without a stop text."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """How much of the text's end is the beginning of `stop`."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
