"""The few forms that every row is brought to, whatever columns it came with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict


class FunctionCall(TypedDict):
    name: str
    arguments: object


class ToolCall(TypedDict, total=False):
    type: str
    id: str
    function: FunctionCall


class Message(TypedDict, total=False):
    """One turn: `role` (system, user, assistant, tool) and `content` always, the others where the row has them."""

    role: str
    content: str
    reasoning_content: str
    tool_calls: list[ToolCall]
    tool_call_id: str
    name: str


Messages = list[Message]
Tools = list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class Text:
    """Running text, all of it trained."""

    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns of a chat; `untrained` are the indices of assistant turns that the row excludes (weight 0)."""

    messages: Messages
    tools: Tools | None = None
    untrained: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Pair:
    """What is given and what is answered: both plain text, written one after the other, or both turns of a chat."""

    prompt: str | Messages
    completion: str | Messages
    tools: Tools | None = None


@dataclass(frozen=True, slots=True)
class Preference:
    """One prompt with the better and the worse answer; all three plain text, or all three turns."""

    prompt: str | Messages
    chosen: str | Messages
    rejected: str | Messages
    tools: Tools | None = None


@dataclass(frozen=True, slots=True)
class Unpaired:
    """One prompt with one answer that somebody found good (`label` true) or bad."""

    prompt: str | Messages
    completion: str | Messages
    label: bool
    tools: Tools | None = None


Canonical = Text | Conversation | Pair | Preference | Unpaired
