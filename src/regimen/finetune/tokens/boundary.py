"""Tokenizes a prompt together with each of its answers, and finds where the answers begin.

As TRL does: prompt + answer is one text, tokenized in one piece, and the answer begins at the first token that differs
from the prompt tokenized alone. Tokenizing the two apart would give ids that the model never meets when it answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from regimen.finetune.data.canonical import Messages, Tools
from regimen.finetune.data.commonprefix import common_prefix_length
from regimen.finetune.tokens.outcome import MERGED, Unusable
from regimen.finetune.tokens.template import Template, TemplateRefusalError
from regimen.finetune.tokens.tokenizing import Tokenizing, ids_of

REFUSED_BY_TEMPLATE = "Change the turns of this row, or choose another task.template."


class Asked(NamedTuple):
    """A prompt with its answers, all texts or all turns."""

    prompt: str | Messages
    answers: Sequence[str | Messages]
    tools: Tools | None


class Split(NamedTuple):
    """A prompt's ids, the ids of each answer after it, and what is noteworthy."""

    prompt: list[int]
    answers: list[list[int]]
    notes: tuple[str, ...]


def split_texts(asked: list[Asked], tokenizing: Tokenizing) -> list[Split]:
    """Plain texts; each answer gets the end token."""
    texts = [
        text
        for row in asked
        for text in (str(row.prompt), *(tokenizing.ended(f"{row.prompt}{answer}") for answer in row.answers))
    ]
    ids = iter(tokenizing.plain(texts))
    return [_cut([next(ids) for _ in range(1 + len(row.answers))]) for row in asked]


def split_chats(asked: list[Asked], tokenizing: Tokenizing, template: Template) -> list[Split | Unusable]:
    """Turns, as the template renders them; the prompt alone ends with the beginning of an answer."""
    written = [_rendered(row, template) for row in asked]
    texts = [text for row in written if isinstance(row, list) for text in row]
    ids = iter(ids_of(tokenizing.rendered(texts)))
    return [_cut([next(ids) for _ in row]) if isinstance(row, list) else row for row in written]


def _rendered(row: Asked, template: Template) -> list[str] | Unusable:
    prompt = cast(Messages, row.prompt)
    try:
        whole = [template.render(prompt + cast(Messages, answer), row.tools).text for answer in row.answers]
        return [template.render(prompt, row.tools, prompt=True).text, *whole]
    except TemplateRefusalError as error:
        return Unusable(f"the chat template refuses it: {error}.", REFUSED_BY_TEMPLATE)


def _cut(rows: list[list[int]]) -> Split:
    prompt, *whole = rows
    length = min(common_prefix_length(prompt, ids) for ids in whole)
    notes = (MERGED,) if length < len(prompt) else ()
    return Split(whole[0][:length], [ids[length:] for ids in whole], notes)
