"""Sentences of a small grammar whose next letter is as hard to guess as we say: text without a file.

A sentence is a subject and a predicate; nouns may carry a clause (`that sees a bird`) with another one inside, and a
verb agrees with its own noun, which may be far to the left: `the dogs that see a bird sleep.` The grammar is
unambiguous, so the information in a text is the sum over the choices that made it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LETTERS = " .abcdefghijklmnopqrstuvwxyz"
"""All that can occur."""
_NOUNS = ("dog", "cat", "bird", "child", "sailor", "queen", "farmer", "teacher", "river", "machine", "poet", "wolf")
_PLURALS = {"child": "children", "wolf": "wolves"}
_ADJECTIVES = ("small", "old", "clever", "quiet", "golden", "hungry", "strange", "young")
_ACTING = ("see", "chase", "follow", "remember", "paint", "fear", "greet", "help")
_BEING = ("sleep", "wait", "sing", "wander", "smile", "vanish")
_CLAUSE, _ADJECTIVE, _PLURAL, _OBJECT = 0.3, 0.4, 0.5, 0.6
"""How often there is one."""


class Written(NamedTuple):
    """A text and the nats a letter that remain for a reader who knows the grammar: no model can do better for long."""

    text: str
    nats: float


def write(letters: int, generator: np.random.Generator) -> Written:
    """A text of so many letters; the last sentence may be cut."""
    writer = _Writer(generator)
    text = ""
    while len(text) < letters:
        text += writer.sentence()
    return Written(text[:letters], writer.nats / len(text))


class _Writer:
    """Draws sentences and adds up the information in what it draws."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.nats = 0.0

    def sentence(self) -> str:
        noun, plural = self._noun()
        return f"{noun} {self._does(plural)}. "

    def _noun(self) -> tuple[str, bool]:
        plural, noun = self._whether(_PLURAL), self._one_of(_NOUNS)
        adjective = f"{self._one_of(_ADJECTIVES)} " if self._whether(_ADJECTIVE) else ""
        article = self._one_of(("the", "some") if plural else ("the", "one"))
        clause = f" that {self._does(plural)}" if self._whether(_CLAUSE) else ""
        return f"{article} {adjective}{_PLURALS.get(noun, noun + 's') if plural else noun}{clause}", plural

    def _does(self, plural: bool) -> str:
        if self._whether(_OBJECT):
            return f"{_agreeing(self._one_of(_ACTING), plural)} {self._noun()[0]}"
        return _agreeing(self._one_of(_BEING), plural)

    def _one_of(self, words: Sequence[str]) -> str:
        self.nats += math.log(len(words))
        return words[int(self.generator.integers(len(words)))]

    def _whether(self, probability: float) -> bool:
        happens = bool(self.generator.random() < probability)
        self.nats -= math.log(probability if happens else 1 - probability)
        return happens


def _agreeing(verb: str, plural: bool) -> str:
    return verb if plural else f"{verb}es" if verb.endswith("sh") else f"{verb}s"
