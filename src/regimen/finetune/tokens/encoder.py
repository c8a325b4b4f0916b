"""Turns rows in canonical form into token ids and labels; training, preflight and preview all call this one.

The ids are TRL 1.16's for the same row and template. Labels are aligned with the ids, not shifted, and -100 where a
token is not trained (the convention of transformers). Rules:
- a text, a completion or an answer in plain text ends with the tokenizer's end token, and it is trained;
- a prompt and its completion are tokenized together; the completion begins where that differs from the prompt alone;
- a chat is what the template renders, with no token added; the end of each trained turn is trained;
- there is never more than one beginning token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from transformers import PreTrainedTokenizerBase

from regimen.finetune.data.canonical import Canonical, Conversation, Messages, Pair, Preference, Text, Unpaired
from regimen.finetune.tokens.boundary import REFUSED_BY_TEMPLATE, Asked, Split, split_chats, split_texts
from regimen.finetune.tokens.outcome import (
    ANSWER_CUT,
    EQUAL_WHEN_CUT,
    FOREIGN_END,
    IGNORED,
    NOTHING_TRAINED,
    TOO_LONG,
    TRUNCATED,
    Dropped,
    Kept,
    LossOn,
    Outcome,
    Overlength,
    Tokenized,
    TokenizedPreference,
    TokenizedUnpaired,
    TokenSettings,
    Unusable,
)
from regimen.finetune.tokens.spans import Marked, MaskError, mark_assistant
from regimen.finetune.tokens.stoptoken import stop_token
from regimen.finetune.tokens.template import Template, TemplateRefusalError
from regimen.finetune.tokens.tokenizing import Tokenizing, ids_of

_CANNOT_MASK = (
    "Set loss_on: all (or completion, for prompts with answers), or use a template with {% generation %} marks."
)


class Encoder:
    """Tokenizes rows with one tokenizer, template and settings.

    Without a `template`, the tokenizer's own is used once a row is a chat, and `Refused` is raised if it has none.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, settings: TokenSettings, template: Template | None = None
    ) -> None:
        self.tokenizer, self.settings = tokenizer, settings
        self._tokenizing = Tokenizing(tokenizer)
        self._template = template
        self.stop_id = self._tokenizing.end if template is None else stop_token(template, self._tokenizing)
        """The token that ends an answer; generation must stop at it."""

    @property
    def template(self) -> Template:
        """The chat template; looked up on the tokenizer when it is first needed."""
        if self._template is None:
            self._template = Template.from_tokenizer(self.tokenizer)
            self.stop_id = stop_token(self._template, self._tokenizing)
        return self._template

    def notes(self) -> list[str]:
        """What is noteworthy about tokenizer and template together, for preflight to show."""
        if self._template is None or not self._tokenizing.adds_beginning:
            return []
        ids = ids_of(self._tokenizing.rendered([self._template.render([{"role": "user", "content": "a"}]).text]))[0]
        if ids[:1] == [self.tokenizer.bos_token_id]:
            return []
        return [
            f"the chat template ({self._template.name}) writes no beginning token, which this tokenizer puts before "
            "plain text: if the model was trained with it, write {{ bos_token }} first in the template."
        ]

    @property
    def template_hash(self) -> str | None:
        """The template's hash, for the record; None while no chat has needed one."""
        return None if self._template is None else self._template.hash

    def encode(self, rows: Sequence[Canonical]) -> list[Outcome]:
        """What becomes of each row, in order. One call with many rows is many times faster than many calls."""
        kinds: dict[type, Callable[[list[Canonical]], list[Outcome]]] = {
            Text: self._texts,
            Conversation: self._conversations,
            Pair: self._pairs,
            Preference: self._preferences,
            Unpaired: self._unpaired,
        }
        outcomes: dict[int, Outcome] = {}
        for kind, encode in kinds.items():
            chosen = [index for index, row in enumerate(rows) if isinstance(row, kind)]
            if chosen:
                outcomes.update(zip(chosen, encode([rows[index] for index in chosen]), strict=True))
        return [outcomes[index] for index in range(len(rows))]

    def _texts(self, rows: list[Canonical]) -> list[Outcome]:
        texts = [cast(Text, row).text for row in rows]
        every = self._tokenizing.plain([self._tokenizing.ended(text) for text in texts])
        return [
            self._finish(Tokenized(input_ids=ids, labels=list(ids)), self._notes(text))
            for ids, text in zip(every, texts, strict=True)
        ]

    def _notes(self, *texts: str | Messages) -> tuple[str, ...]:
        return (FOREIGN_END,) if any(self._tokenizing.foreign_end(text) for text in texts) else ()

    def _conversations(self, rows: list[Canonical]) -> list[Outcome]:
        """Chats with the loss on the assistant's turns, on the last of them (completion), or on everything."""
        marked = [self._marked(cast(Conversation, row)) for row in rows]
        encoding = self._tokenizing.rendered([chat.text for chat in marked if isinstance(chat, Marked)])
        every = iter(enumerate(ids_of(encoding)))
        outcomes: list[Outcome] = []
        for chat in marked:
            if isinstance(chat, Unusable):
                outcomes.append(chat)
                continue
            position, ids = next(every)
            labels = list(ids) if self.settings.loss_on == "all" else [IGNORED] * len(ids)
            for span in chat.spans:
                first = encoding.char_to_token(position, span.start)
                last = encoding.char_to_token(position, span.end - 1)
                if first is not None and last is not None and span.end > span.start:
                    labels[first : last + 1] = ids[first : last + 1]
            outcomes.append(self._finish(Tokenized(input_ids=ids, labels=labels), ()))
        return outcomes

    def _marked(self, chat: Conversation) -> Marked | Unusable:
        loss_on, template = self.settings.loss_on, self.template
        try:
            if loss_on == "all":
                return Marked(template.render(chat.messages, chat.tools).text, [])
            special = tuple(self._tokenizing.special)
            return mark_assistant(chat, template, special, last_only=loss_on == "completion")
        except TemplateRefusalError as error:
            return Unusable(f"the chat template refuses it: {error}.", REFUSED_BY_TEMPLATE)
        except MaskError as error:
            return Unusable(f"{error}.", _CANNOT_MASK)

    def _pairs(self, rows: list[Canonical]) -> list[Outcome]:
        pairs = [cast(Pair, row) for row in rows]
        if self.settings.loss_on == "assistant" and all(isinstance(pair.prompt, list) for pair in pairs):
            return self._conversations([_as_chat(pair) for pair in pairs])
        asked = [Asked(pair.prompt, [pair.completion], pair.tools) for pair in pairs]
        return [
            self._labelled(pair, split) if isinstance(split, Split) else split
            for pair, split in zip(pairs, self._split(asked), strict=True)
        ]

    def _labelled(self, pair: Pair, split: Split) -> Outcome:
        prompt, (answer,), notes = split
        masked = prompt if self.settings.loss_on == "all" else [IGNORED] * len(prompt)
        tokens = Tokenized(input_ids=prompt + answer, labels=masked + answer)
        return self._finish(tokens, notes + self._notes(pair.completion))

    def _split(self, asked: list[Asked]) -> list[Split | Unusable]:
        texts = [row for row in asked if isinstance(row.prompt, str)]
        chats = [row for row in asked if not isinstance(row.prompt, str)]
        from_texts = iter(split_texts(texts, self._tokenizing) if texts else [])
        from_chats = iter(split_chats(chats, self._tokenizing, self.template) if chats else [])
        return [next(from_texts) if isinstance(row.prompt, str) else next(from_chats) for row in asked]

    def _preferences(self, rows: list[Canonical]) -> list[Outcome]:
        pairs = [cast(Preference, row) for row in rows]
        splits = self._split([Asked(pair.prompt, [pair.chosen, pair.rejected], pair.tools) for pair in pairs])
        return [
            self._judged(split, self._notes(pair.chosen, pair.rejected)) if isinstance(split, Split) else split
            for pair, split in zip(pairs, splits, strict=True)
        ]

    def _unpaired(self, rows: list[Canonical]) -> list[Outcome]:
        pairs = [cast(Unpaired, row) for row in rows]
        splits = self._split([Asked(pair.prompt, [pair.completion], pair.tools) for pair in pairs])
        return [
            self._judged(split, self._notes(pair.completion), pair.label) if isinstance(split, Split) else split
            for pair, split in zip(pairs, splits, strict=True)
        ]

    def _finish(self, tokens: Tokenized, notes: tuple[str, ...]) -> Outcome:
        """A supervised row within max_length, or the reason it is left out.

        The first token has nothing before it, so its label trains nothing and does not count.
        """
        ids, labels, limit = tokens["input_ids"], tokens["labels"], self.settings.max_length
        length = len(ids)
        if not any(label != IGNORED for label in labels[1:]):
            return Dropped(NOTHING_TRAINED, length)
        if limit is None or length <= limit:
            return Kept(tokens, notes)
        if self.settings.overlength != "truncate":
            return Dropped(TOO_LONG, length)
        cut = Tokenized(input_ids=ids[:limit], labels=labels[:limit])
        if not any(label != IGNORED for label in cut["labels"][1:]):
            return Dropped(ANSWER_CUT, length)
        return Kept(cut, (*notes, TRUNCATED))

    def _judged(self, split: Split, noted: tuple[str, ...], label: bool | None = None) -> Outcome:
        """A row of judged answers within max_length; answers are cut at their end, as TRL's `keep_start` does."""
        prompt, answers, notes = split
        limit, length = self.settings.max_length, len(prompt) + max(map(len, answers))
        notes += noted
        if not all(answers):
            return Dropped(NOTHING_TRAINED, length)
        if limit is not None and length > limit:
            if self.settings.overlength != "truncate":
                return Dropped(TOO_LONG, length)
            if len(prompt) >= limit:
                return Dropped(ANSWER_CUT, length)
            answers = [answer[: limit - len(prompt)] for answer in answers]
            notes = (*notes, TRUNCATED)
        if label is not None:
            return Kept(TokenizedUnpaired(prompt_ids=prompt, completion_ids=answers[0], label=label), notes)
        chosen, rejected = answers
        if chosen == rejected:
            return Dropped(EQUAL_WHEN_CUT, length)
        return Kept(TokenizedPreference(prompt_ids=prompt, chosen_ids=chosen, rejected_ids=rejected), notes)


def _as_chat(pair: Pair) -> Conversation:
    """A pair of turns as one chat in which the prompt's own assistant turns are not trained."""
    prompt, answer = cast(Messages, pair.prompt), cast(Messages, pair.completion)
    return Conversation(prompt + answer, pair.tools, frozenset(range(len(prompt))))


def tokenize_row(
    row: Canonical,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None = None,
    loss_on: LossOn = "assistant",
    overlength: Overlength = "truncate",
    template: Template | None = None,
) -> Outcome:
    """One row, through the same code as a million."""
    return Encoder(tokenizer, TokenSettings(max_length, loss_on, overlength), template).encode([row])[0]
