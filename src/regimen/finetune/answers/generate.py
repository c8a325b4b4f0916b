"""Answers of a model to prompts: many at once, or one of them token by token.

B prompts of a batch, T tokens, V vocabulary.

Greedy unless a temperature is given. Chance comes from generators of its own, one a prompt, so no global generator is
read or moved: evaluating more often changes nothing in training, and an answer does not depend on its neighbours.
What a model's own generation settings say (penalties, sampling) is not used: all models are compared by one rule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from queue import Queue
from threading import Event, Thread
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig, LogitsProcessor, PreTrainedTokenizerBase, StoppingCriteria

from regimen.finetune.answers.textstream import TextStream
from regimen.finetune.losses.head import unwrapped
from regimen.finetune.tokens.encoder import Encoder
from regimen.finetune.tokens.outcome import TokenSettings
from regimen.finetune.tokens.template import Template
from regimen.randomness import derived_seed

Prompt = Sequence[int]


class Sampling(NamedTuple):
    """How a token is chosen. Temperature 0 takes the likeliest; above 0 the draw is repeatable by its seed."""

    temperature: float = 0.0
    seed: int = 0


GREEDY = Sampling()


def stop_ids(tokenizer: PreTrainedTokenizerBase, model: nn.Module | None = None) -> list[int]:
    """Tokens that end an answer: the tokenizer's end, the chat template's, and those the model's own settings name."""
    found = {tokenizer.eos_token_id} - {None}
    if tokenizer.chat_template:
        found.add(Encoder(tokenizer, TokenSettings(), Template.from_tokenizer(tokenizer)).stop_id)
    own = getattr(getattr(_base(model), "generation_config", None), "eos_token_id", None) if model is not None else None
    return sorted(found | set(own if isinstance(own, list) else [] if own is None else [own]))


def answers(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    stop_ids: Collection[int],
    batch_size: int = 16,
    sampling: Sampling = GREEDY,
) -> list[str]:
    """The model's answer to each prompt (token ids, not empty), in order, without special tokens.

    Prompts of similar length share a batch. An answer ends at a stop token, after `max_new_tokens`, or where the model
    can take no more positions.
    """
    found = [""] * len(prompts)
    with _answering(model):
        for indices, room in _batches(model, prompts, max_new_tokens, batch_size):
            input_BT, mask_BT = _left_padded([prompts[index] for index in indices], tokenizer.pad_token_id or 0)
            output_BT = _generate(model, tokenizer, input_BT, mask_BT, room, stop_ids, sampling, indices)
            for index, ids in zip(indices, output_BT[:, input_BT.shape[1] :].tolist(), strict=True):
                found[index] = _decoded(tokenizer, ids, stop_ids)
    return found


def stream(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    *,
    max_new_tokens: int,
    stop_ids: Collection[int],
    sampling: Sampling = GREEDY,
) -> Iterator[str]:
    """One answer as pieces of text, each as soon as it is certain; joined they are what `answers` returns.

    Generation ends when the iterator is closed. What goes wrong in the model is raised here.
    """
    room = next((room for _, room in _batches(model, [prompt], max_new_tokens, 1)), 0)
    if not room:
        return
    waiting: Queue[list[int] | BaseException | None] = Queue()
    given_up = Event()

    def work() -> None:
        try:
            with _answering(model):
                input_BT, mask_BT = _left_padded([prompt], 0)
                _generate(
                    model,
                    tokenizer,
                    input_BT,
                    mask_BT,
                    room,
                    stop_ids,
                    sampling,
                    [0],
                    _Given(waiting),
                    _GivenUp(given_up),
                )
            waiting.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by the reader, below
            waiting.put(error)

    text = TextStream(lambda ids: _decoded(tokenizer, ids, ()))
    thread = Thread(target=work, name="generate", daemon=True)
    thread.start()
    try:
        while (ids := waiting.get()) is not None:
            if isinstance(ids, BaseException):
                raise ids
            if piece := text.add([token for token in ids if token not in stop_ids]):
                yield piece
        if piece := text.rest():
            yield piece
    finally:
        given_up.set()
        thread.join()


def _base(model: nn.Module) -> Any:
    """The transformers model inside wrappers and adapters."""
    inner: Any = unwrapped(model)
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


@contextmanager
def _answering(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and neutral generation settings, and back to what was before."""
    modes, base = [(module, module.training) for module in model.modules()], _base(model)
    own = base.generation_config
    model.eval()
    base.generation_config = GenerationConfig()
    try:
        with torch.no_grad():
            yield
    finally:
        base.generation_config = own
        for module, mode in modes:
            module.training = mode


def _batches(
    model: nn.Module, prompts: Sequence[Prompt], max_new_tokens: int, batch_size: int
) -> Iterator[tuple[list[int], int]]:
    """Prompts that share a batch, longest first, and how many tokens may follow; a prompt without room is in none."""
    limit = getattr(_base(model).config, "max_position_embeddings", None)
    order = np.argsort([-len(prompt) for prompt in prompts], kind="stable").tolist()
    rooms = [min(max_new_tokens, limit - len(prompt)) if limit else max_new_tokens for prompt in prompts]
    # A prompt near the model's end is alone, so that no other answer is cut short because of it.
    yield from (([index], rooms[index]) for index in order if 0 < rooms[index] < max_new_tokens)
    free = [index for index in order if rooms[index] == max_new_tokens]
    yield from ((free[start : start + batch_size], max_new_tokens) for start in range(0, len(free), batch_size))


def _left_padded(prompts: Sequence[Prompt], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, prompts))
    input_BT = torch.full((len(prompts), longest), pad_id)
    mask_BT = torch.zeros((len(prompts), longest), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        input_BT[row, longest - len(prompt) :] = torch.as_tensor(np.asarray(prompt, dtype=np.int64))
        mask_BT[row, longest - len(prompt) :] = 1
    return input_BT, mask_BT


def _generate(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    input_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    max_new_tokens: int,
    stops: Collection[int],
    sampling: Sampling,
    numbers: Iterable[int],
    streamer: Any = None,
    criterion: StoppingCriteria | None = None,
) -> torch.Tensor:
    """Prompts and answers, shape (B, T + new tokens)."""
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else next(iter(stops), 0)
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=list(stops) or None,
        pad_token_id=pad_id,
        use_cache=True,
    )
    device = next(model.parameters()).device
    inner: Any = unwrapped(model)
    made: torch.Tensor = inner.generate(
        input_ids=input_BT.to(device),
        attention_mask=mask_BT.to(device),
        generation_config=settings,
        logits_processor=[_Chance(sampling, numbers)] if sampling.temperature > 0 else [],
        stopping_criteria=[criterion] if criterion else [],
        streamer=streamer,
    )
    return made


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], stops: Collection[int]) -> str:
    end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
    return str(tokenizer.decode(list(ids[:end]), skip_special_tokens=True, clean_up_tokenization_spaces=False))


class _Chance(LogitsProcessor):  # type: ignore[misc]
    """Gumbel noise on the scores: the likeliest token is then a draw from softmax(scores / temperature)."""

    def __init__(self, sampling: Sampling, numbers: Iterable[int]) -> None:
        self.temperature = sampling.temperature
        self.generators = [torch.Generator().manual_seed(derived_seed(sampling.seed, "answer", n)) for n in numbers]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        draws = [
            torch.rand(scores.shape[1:], generator=generator, dtype=torch.float64) for generator in self.generators
        ]
        noise = -torch.log(-torch.log(torch.stack(draws).clamp(min=1e-300)))
        return scores.double() / self.temperature + noise.to(scores.device)


class _Given:
    """Passes on what `generate` streams: first the prompt, which is known, then each token."""

    def __init__(self, waiting: Queue[list[int] | BaseException | None]) -> None:
        self.waiting, self.prompt_came = waiting, False

    def put(self, ids: torch.Tensor) -> None:
        if self.prompt_came:
            self.waiting.put(ids.reshape(-1).tolist())
        self.prompt_came = True

    def end(self) -> None:
        """All of the answer has been put; the thread says so itself once the model is as it was."""


class _GivenUp(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, given_up: Event) -> None:
        self.given_up = given_up

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **more: object) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self.given_up.is_set(), device=input_ids.device)
