"""Finds which characters of a rendered chat the assistant wrote, the token that ends its turn included.

With `{% generation %}` marks the template says it. Without, each turn is the difference between the chat rendered up to
it and through it; that holds only if each is a beginning of the whole chat's text, which is verified for every row.
Where only the end differs, the turn ends with the first special token after its own words.
"""

from __future__ import annotations

from typing import NamedTuple

from regimen.finetune.data.canonical import Conversation, Messages
from regimen.finetune.tokens.template import Rendered, Template


class Span(NamedTuple):
    """Characters of the rendered text, [start, end)."""

    start: int
    end: int


class MaskError(ValueError):
    """The assistant's part of a chat cannot be told from the template; the text says why."""


class Marked(NamedTuple):
    text: str
    spans: list[Span]


def mark_assistant(chat: Conversation, template: Template, special: tuple[str, ...], *, last_only: bool) -> Marked:
    """The text of a chat with the spans that are trained.

    `special` are the texts of the tokenizer's special tokens; `last_only` keeps only the turns after the last turn of
    anybody else. Raises `MaskError`, or what `Template.render` raises.
    """
    wanted = _wanted(chat, last_only)
    if template.has_marks:
        return _by_marks(chat, template.render(chat.messages, chat.tools, marks=True), wanted)
    return _by_prefixes(chat, template, wanted, special)


def _assistants(messages: Messages) -> list[int]:
    return [index for index, message in enumerate(messages) if message["role"] == "assistant"]


def _wanted(chat: Conversation, last_only: bool) -> list[int]:
    """Indices of the assistant turns to train."""
    others = [index for index, message in enumerate(chat.messages) if message["role"] != "assistant"]
    first = others[-1] + 1 if last_only and others else 0
    return [index for index in _assistants(chat.messages) if index >= first and index not in chat.untrained]


def _by_marks(chat: Conversation, rendered: Rendered, wanted: list[int]) -> Marked:
    every = _assistants(chat.messages)
    if wanted == every:
        return Marked(rendered.text, [Span(*mark) for mark in rendered.marks])
    if len(rendered.marks) != len(every):
        raise MaskError(
            f"the template marks {len(rendered.marks)} passages for {len(every)} assistant turns, so single turns "
            "cannot be left out"
        )
    marks = dict(zip(every, rendered.marks, strict=True))
    return Marked(rendered.text, [Span(*marks[index]) for index in wanted])


def _by_prefixes(chat: Conversation, template: Template, wanted: list[int], special: tuple[str, ...]) -> Marked:
    whole = template.render(chat.messages, chat.tools).text
    return Marked(whole, [_turn_span(chat, index, whole, template, special) for index in wanted])


def _turn_span(chat: Conversation, index: int, whole: str, template: Template, special: tuple[str, ...]) -> Span:
    """Where turn `index` lies in the text: after what the chat is before it, up to the token that ends it."""
    before = template.render(chat.messages[:index], chat.tools, prompt=True).text
    if not whole.startswith(before):
        raise MaskError(
            f"the template begins turn {index} differently when it is asked for than when it is there, so the "
            "assistant's part cannot be told"
        )
    last = index == len(chat.messages) - 1
    through = whole if last else template.render(chat.messages[: index + 1], chat.tools).text
    if whole.startswith(through):
        return Span(len(before), len(before) + len(_without_tail(through[len(before) :], special)))
    return Span(len(before), _end_after_content(chat, index, whole, len(before), special))


def _end_after_content(chat: Conversation, index: int, whole: str, start: int, special: tuple[str, ...]) -> int:
    """The end of a turn that is rendered differently as the last one (Qwen3 adds an empty thought, Phi-3 an end).

    It is the first special token after the turn's own words, with nothing but blanks between.
    """
    message = chat.messages[index]
    words = message["content"].strip()
    at = whole.find(words, start) if words and not message.get("tool_calls") else -1
    rest = whole[at + len(words) :]
    token = next((token for token in special if rest.lstrip().startswith(token)), None)
    if at < 0 or token is None:
        raise MaskError(
            f"the template renders turn {index} differently when more turns follow, so the assistant's part "
            "cannot be told"
        )
    return len(whole) - len(rest.lstrip()) + len(token)


def _without_tail(turn: str, special: tuple[str, ...]) -> str:
    """The turn up to its end token: the line break that templates put after it is not the assistant's."""
    stripped = turn.rstrip()
    return stripped if stripped.endswith(special) else turn
