"""Text from tokens that come one at a time, without ever showing half a letter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_UNFINISHED = "\ufffd"
"""What decoders write for bytes that are no whole letter yet."""


class TextStream:
    """Collects tokens and gives the text that later tokens cannot change.

    A letter may take several tokens, and some tokenizers put a space between two tokens only once both are there: so
    the tokens since the last certain place are decoded together, and only what they add is given.

    >>> letters = TextStream(lambda ids: bytes(ids).decode("utf-8", errors="replace"))
    >>> [letters.add([byte]) for byte in "né!".encode()], letters.rest()
    (['n', '', 'é', '!'], '')
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._anchor = 0
        """Tokens before it are done; those from it on are decoded again as context of the next ones."""
        self._given = 0
        """Tokens whose text has been given."""

    def add(self, ids: Sequence[int]) -> str:
        """What can be given now; empty while a letter is unfinished."""
        self._ids += ids
        before, now = self._decode(self._ids[self._anchor : self._given]), self._decode(self._ids[self._anchor :])
        if len(now) <= len(before) or now.endswith(_UNFINISHED):
            return ""
        self._anchor, self._given = self._given, len(self._ids)
        return now[len(before) :]

    def rest(self) -> str:
        """What is left at the end, an unfinished letter included."""
        before, now = self._decode(self._ids[self._anchor : self._given]), self._decode(self._ids[self._anchor :])
        self._anchor = self._given = len(self._ids)
        return now[len(before) :]
