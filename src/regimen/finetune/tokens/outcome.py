"""What becomes of a row when it is tokenized: ids and labels, the reason it is left out, or why it is unusable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict, final

LossOn = Literal["assistant", "completion", "all"]
Overlength = Literal["drop", "truncate", "refuse"]
IGNORED = -100
"""The label of a token that is not trained."""


@final
class Tokenized(TypedDict):
    """A row for supervised training; both lists have the same length."""

    input_ids: list[int]
    labels: list[int]


@final
class TokenizedPreference(TypedDict):
    """A row for preference training, under TRL's names: each answer follows the prompt and ends with the end token."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


@final
class TokenizedUnpaired(TypedDict):
    prompt_ids: list[int]
    completion_ids: list[int]
    label: bool


Tokens = Tokenized | TokenizedPreference | TokenizedUnpaired


class Kept(NamedTuple):
    """A row that is trained, and what is noteworthy about it (`truncated`, `merged boundary`, ...)."""

    tokens: Tokens
    notes: tuple[str, ...] = ()


class Dropped(NamedTuple):
    """A row that is left out, and why."""

    reason: str
    length: int


class Unusable(NamedTuple):
    """A row that cannot be tokenized at all: the run is refused."""

    message: str
    fix: str


Outcome = Kept | Dropped | Unusable

TOO_LONG = "longer than max_length"
ANSWER_CUT = "max_length cuts away the whole answer"
NOTHING_TRAINED = "no token is trained"
EQUAL_WHEN_CUT = "chosen and rejected are equal when cut to max_length"
TRUNCATED = "truncated to max_length"
MERGED = "tokens merge across the end of the prompt"
FOREIGN_END = "the text ends with another tokenizer's end token"


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """How rows become tokens. `max_length` counts tokens of prompt and answer together; None is no limit."""

    max_length: int | None = None
    loss_on: LossOn = "assistant"
    overlength: Overlength = "truncate"
