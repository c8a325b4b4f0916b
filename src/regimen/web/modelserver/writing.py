"""Has a model answer: tells the prompt's tokens, then each token as soon as it is chosen, then how it ended.

B prompts of a batch (always 1), T tokens, V vocabulary.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

from regimen.errors import Problem, SpecError
from regimen.finetune.answers.textstream import TextStream
from regimen.finetune.data.canonical import Message
from regimen.finetune.losses.head import unwrapped
from regimen.finetune.tokens.template import Template, TemplateRefusalError
from regimen.web.modelserver.asked import Ask, Begun, Ended, Likely, Piece, Token
from regimen.web.modelserver.choosing import Choosing
from regimen.web.modelserver.holding import Held
from regimen.web.modelserver.stopping import StopTexts

Say = Callable[[Mapping[str, Any]], None]
_ROWS = 256
"""Places of a prompt whose probabilities are worked out at once."""


def write(held: Held, ask: Ask, say: Say, given_up: Callable[[], bool]) -> Ended:
    """One answer: says a `Begun` and `Piece`s, and returns the end. Stops within a token once it is `given_up`.

    Raises `SpecError` for a prompt that the model cannot take.
    """
    ids = prompt_ids(held, ask)
    room = _room(held, ids, ask)
    _check_bias(held, ask)
    prompt = list(_prompt(held, ids, ask.top)) if ask.prompt_tokens else []
    say(Begun(prompt_ids=ids, prompt_text=held.decode(ids), prompt=prompt))
    started, answer = time.perf_counter(), _Answer(held, ask, say, given_up)
    if room:
        _generate(held, ids, room, answer)
    answer.close()
    spent_ms = 1000 * (time.perf_counter() - started)
    return Ended(finish="stop" if answer.stopped else "length", tokens=answer.count, time_ms=round(spent_ms, 3))


def prompt_ids(held: Held, ask: Ask) -> list[int]:
    """The prompt as tokens. A text without any token begins as a text does; a chat is what the template renders."""
    tokenizer = held.tokenizer
    if ask.messages is not None:
        if not tokenizer.chat_template:
            fix = "Ask with a plain prompt."
            raise SpecError(Problem("messages", "are a chat, and the model was trained without a chat template.", fix))
        try:
            text = (
                Template.from_tokenizer(tokenizer)
                .render([cast(Message, turn) for turn in ask.messages], prompt=True)
                .text
            )
        except TemplateRefusalError as error:
            raise SpecError(Problem("messages", f"are refused by the model's chat template: {error}.")) from None
        ids = list(tokenizer(text, add_special_tokens=False).input_ids)
    elif ask.ids is not None:
        ids = list(ask.ids)
        wrong = [token for token in ids if not 0 <= token < held.vocabulary]
        if wrong:
            text = f"holds token {wrong[0]}; the model has tokens 0 to {held.vocabulary - 1}."
            raise SpecError(Problem("prompt", text, "Use the model's own tokenizer."))
    else:
        ids = list(tokenizer(ask.text or "").input_ids)
    if not ids:
        ids = [token for token in (tokenizer.bos_token_id, tokenizer.eos_token_id) if token is not None][:1]
    if not ids:
        raise SpecError(Problem("prompt", "is empty, and the model has no token to begin with.", "Give some text."))
    return ids


def _room(held: Held, ids: Sequence[int], ask: Ask) -> int:
    """How many tokens may follow."""
    left = None if held.longest is None else held.longest - len(ids)
    if left is not None and (left < 0 or (left == 0 and ask.max_new_tokens != 0)):
        text = f"has {len(ids)} tokens; the maximum context length of the model is {held.longest}, answer included."
        raise SpecError(Problem("prompt", text, "Shorten it."))
    if ask.max_new_tokens is None:
        return MOST_TOKENS if left is None else min(left, MOST_TOKENS)
    return ask.max_new_tokens if left is None else min(left, ask.max_new_tokens)


MOST_TOKENS = 1024
"""Of an answer for which no number was asked, where the model's own limit is not lower."""


def _check_bias(held: Held, ask: Ask) -> None:
    for token in ask.sampling.logit_bias:
        if not 0 <= int(token) < held.vocabulary:
            text = f"names token {token}; the model has tokens 0 to {held.vocabulary - 1}."
            raise SpecError(Problem("logit_bias", text, "Use the model's own tokenizer."))


def _generate(held: Held, ids: Sequence[int], room: int, answer: _Answer) -> None:
    model: Any = unwrapped(held.model)
    input_BT = torch.tensor([ids], device=held.device)
    settings = GenerationConfig(
        max_new_tokens=room,
        do_sample=False,
        eos_token_id=list(held.stop_ids) or None,
        pad_token_id=next(iter(held.stop_ids), 0),
        use_cache=True,
    )
    with torch.no_grad():
        model.generate(
            input_ids=input_BT,
            attention_mask=torch.ones_like(input_BT),
            generation_config=settings,
            logits_processor=[_Chosen(answer)],
            stopping_criteria=[_Over(answer)],
        )


class _Answer:
    """What has been written so far."""

    def __init__(self, held: Held, ask: Ask, say: Say, given_up: Callable[[], bool]) -> None:
        self.held, self.ask, self.say, self.given_up = held, ask, say, given_up
        self.choosing = Choosing(ask.sampling, held.vocabulary)
        self.text, self.stops = TextStream(held.decode), StopTexts(ask.stop)
        self.count, self.length, self.stopped = 0, 0, False

    def next(self, logits_V: torch.Tensor) -> int:
        """Chooses the next token and says it."""
        chosen = self.choosing.choose(logits_V)
        self.count += 1
        if chosen in self.held.stop_ids:
            self.stopped = True
            return chosen
        logprobs_V = None if self.ask.top is None else logits_V.float().log_softmax(-1)
        token = _token(self.held, chosen, logprobs_V, self.ask.top or 0, self.length)
        piece = self.text.add([chosen])
        self.length += len(piece)
        self.say(Piece(text=self.stops.add(piece), tokens=[token]))
        self.stopped = self.stops.found
        return chosen

    @property
    def is_over(self) -> bool:
        return self.stopped or self.given_up()

    def close(self) -> None:
        """Says what was held back."""
        if rest := self.stops.add(self.text.rest()) + self.stops.rest():
            self.say(Piece(text=rest, tokens=[]))
        self.stopped = self.stopped or self.stops.found


class _Chosen(LogitsProcessor):  # type: ignore[misc]
    """Leaves one possible token: the one that the answer has chosen."""

    def __init__(self, answer: _Answer) -> None:
        self.answer = answer

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        only = torch.full_like(scores, -torch.inf)
        only[0, self.answer.next(scores[0])] = 0
        return only


class _Over(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, answer: _Answer) -> None:
        self.answer = answer

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **more: object) -> torch.Tensor:
        return torch.full((1,), self.answer.is_over, device=input_ids.device)


def _prompt(held: Held, ids: Sequence[int], top: int | None) -> Iterator[Token]:
    """The prompt's tokens, each with its probability after those before it; the first has none."""
    text = TextStream(held.decode)
    rows = None if top is None else _logprobs(held, ids)
    length = 0
    for place, token in enumerate(ids):
        logprobs_V = next(rows) if rows is not None and place else None
        yield _token(held, token, logprobs_V, top or 0, length)
        length += len(text.add([token]))


def _logprobs(held: Held, ids: Sequence[int]) -> Iterator[torch.Tensor]:
    """What the model expects after the first token, after the first two, ..."""
    with torch.no_grad():
        logits_BTV = held.model(input_ids=torch.tensor([ids], device=held.device), use_cache=False).logits
    for rows_TV in logits_BTV[0, -len(ids) : -1].split(_ROWS):  # prompt tuning puts places of its own before
        yield from rows_TV.float().log_softmax(-1)


def _token(held: Held, token: int, logprobs_V: torch.Tensor | None, top: int, offset: int) -> Token:
    likely: list[Likely] = []
    if logprobs_V is not None and top:
        best = logprobs_V.topk(min(top, len(logprobs_V)))
        likely = [
            Likely(id=other, text=held.name(other), logprob=_finite(value))
            for value, other in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
    logprob = None if logprobs_V is None else _finite(float(logprobs_V[token]))
    return Token(id=token, text=held.name(token), logprob=logprob, top=likely, offset=offset)


def _finite(value: float) -> float | None:
    """None for what JSON has no number for: a model that diverged says NaN."""
    return value if math.isfinite(value) else None
