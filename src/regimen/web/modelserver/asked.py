"""What the model server can be asked and what it says, in types that need no PyTorch and travel as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

Part = Literal["tuned", "base"]
Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Source:
    """Where a model's files are."""

    folder: str
    """Of an adapter or a model, as transformers and PEFT write them."""
    run: str = ""
    """The folder of the run it came from, whose settings name the base; empty if there is none."""
    part: Part = "tuned"
    quantized: bool = False
    """Whether the base is loaded in as few bits as the run trained it with, instead of in full precision."""


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen. Temperature 0 takes the likeliest; above 0 the draw is repeatable by its seed."""

    temperature: float = 0.0
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability are drawn from."""
    top_k: int = 0
    """Only so many of the likeliest tokens are drawn from; 0: all."""
    seed: int = 0
    frequency_penalty: float = 0.0
    """Taken from a token's logit for each time that the answer holds it."""
    presence_penalty: float = 0.0
    """Taken from a token's logit once if the answer holds it."""
    logit_bias: Mapping[str, float] = field(default_factory=dict)
    """Added to the logits of tokens, by their id in decimals."""


Turn = Mapping[str, Any]
"""`{"role": ..., "content": ...}`."""


@dataclass(frozen=True)
class Ask:
    """One answer to one prompt. Of `messages`, `text` and `ids`, one is given."""

    source: Source
    messages: list[Turn] | None = None
    """A chat, rendered with the template that the model was trained with."""
    text: str | None = None
    ids: list[int] | None = None
    """Token ids as they are; nothing is put before them."""
    max_new_tokens: int | None = 128
    """None: as many as the model takes. 0: the prompt is looked at, and nothing is written."""
    stop: list[str] = field(default_factory=list)
    """The answer ends before the first of these texts."""
    sampling: Sampling = Sampling()
    top: int | None = None
    """How many of the likeliest tokens are told beside each token; None: no probabilities."""
    prompt_tokens: bool = False
    """Whether the prompt's own tokens are told, with their probabilities if `top` is given."""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Ask:
        return cls(**{**body, "source": Source(**body["source"]), "sampling": Sampling(**body["sampling"])})


class Likely(TypedDict):
    """A token that could stand at a place. `logprob` is natural, of the model's own distribution: before
    temperature, penalties and nucleus; None where it is not finite."""

    id: int
    text: str
    logprob: float | None


class Token(Likely):
    """A token that stands there. `logprob` is None at the beginning of a prompt, and where none was asked for."""

    top: list[Likely]
    offset: int
    """Characters before it, in the prompt or in the answer."""


class Begun(TypedDict):
    """The first message of an answer."""

    prompt_ids: list[int]
    prompt_text: str
    prompt: list[Token]
    """Empty unless `prompt_tokens` was asked for."""


class Piece(TypedDict):
    """A message while it writes: text that is certain, and the tokens since the message before."""

    text: str
    tokens: list[Token]


class Ended(TypedDict):
    """The last message of an answer."""

    finish: Finish
    tokens: int
    """How many were written, one that ends the answer included."""
    time_ms: float
    """Of the writing, without loading and waiting."""
