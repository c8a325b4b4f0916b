"""Brings the turns of a chat to one form: role names, ShareGPT's from/value, content in blocks, tool calls."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import NamedTuple

from regimen.finetune.data.canonical import FunctionCall, Message, Messages, ToolCall, Tools
from regimen.finetune.data.findings import shown

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "bot": "assistant",
    "function_call": "assistant",
    "tool": "tool", "observation": "tool", "function": "tool", "ipython": "tool",
}  # fmt: skip
"""Role names in use, and ours for each."""
_KEPT = ("tool_call_id", "name")


class Fault(NamedTuple):
    """One thing wrong with a row: the field, what was found, what to do."""

    field: str
    message: str
    fix: str


@dataclass
class Faults:
    """What is wrong with one row, and what is only noteworthy."""

    errors: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)

    def error(self, where: str, message: str, fix: str) -> None:
        self.errors.append(Fault(where, message, fix))

    def warn(self, where: str, message: str, fix: str) -> None:
        self.warnings.append(Fault(where, message, fix))


def text_of(value: object, where: str, faults: Faults, *, may_be_empty: bool = False) -> str:
    """`value` as text that is not blank; anything else is a fault (a null never becomes the word "None")."""
    if isinstance(value, str) and (may_be_empty or value.strip()):
        return value
    if isinstance(value, str):
        faults.error(where, "is empty." if not value else f"is blank, {value!r}.", "Fill it in or remove the row.")
    else:
        faults.error(where, f"is {shown(value)}, where a text is expected.", "Write it as a text in quotes.")
    return ""


def turns_of(value: object, where: str, faults: Faults) -> tuple[Messages, frozenset[int]]:
    """A list of turns (or one turn) in our form, and which assistant turns have weight 0."""
    turns = [value] if isinstance(value, dict) else value
    if not isinstance(turns, list):
        faults.error(where, f"is {shown(value)}, where a list of turns is expected.", _TURN)
        return [], frozenset()
    if not turns:
        faults.error(where, "is an empty list.", "Give it turns or remove the row.")
    untrained = set[int]()
    messages: Messages = []
    for number, turn in enumerate(turns):
        place = f"{where}[{number}]"
        if not isinstance(turn, dict):
            faults.error(place, f"is {shown(turn)}, where an object is expected.", _TURN)
            continue
        messages.append(_turn(turn, place, faults))
        if not _is_trained(turn, place, faults) and messages[-1]["role"] == "assistant":
            untrained.add(len(messages) - 1)
    return messages, frozenset(untrained)


_TURN = 'Write {"role": "user", "content": "..."}.'


def _turn(turn: dict[str, object], where: str, faults: Faults) -> Message:
    theirs = turn.get("role", turn.get("from"))
    role = ROLES.get(theirs) if isinstance(theirs, str) else None
    if role is None:
        what = "has no role" if theirs is None else f"has the unknown role {theirs!r}"
        faults.error(where, f"{what}.", f"Known: {', '.join(ROLES)}.")
        role = "user"
    content = turn.get("content") if "content" in turn else turn.get("value")
    message: Message = {"role": role, "content": ""}
    if theirs == "function_call":
        message["tool_calls"] = _calls_in_text(content, where, faults)
    else:
        _set_content(message, content, bool(turn.get("tool_calls")), where, faults)
    if turn.get("tool_calls"):
        message["tool_calls"] = _calls(turn["tool_calls"], f"{where}.tool_calls", faults)
    reasoning = turn.get("reasoning_content") or turn.get("reasoning") or turn.get("thinking")
    if isinstance(reasoning, str):
        message["reasoning_content"] = reasoning
    for key in _KEPT:
        if isinstance(turn.get(key), str):
            message[key] = turn[key]  # type: ignore[literal-required]
    return message


def _set_content(message: Message, content: object, has_calls: bool, where: str, faults: Faults) -> None:
    if isinstance(content, list):
        _set_blocks(message, content, where, faults)
    elif content is None and has_calls:
        return
    else:
        may_be_empty = has_calls or message["role"] in ("system", "tool")
        message["content"] = text_of(content, f"{where}.content", faults, may_be_empty=may_be_empty)


def _set_blocks(message: Message, blocks: list[object], where: str, faults: Faults) -> None:
    """Content written as a list of blocks: text, reasoning and tool calls; other media cannot be trained here."""
    texts: list[str] = []
    for number, block in enumerate(blocks):
        place = f"{where}.content[{number}]"
        kind = block.get("type", "text") if isinstance(block, dict) else None
        value = (block.get("text") or block.get("value")) if isinstance(block, dict) else block
        if kind == "tool_call":
            message.setdefault("tool_calls", []).extend(_calls_in_text(value, place, faults))
        elif kind in ("reasoning", "thinking"):
            message["reasoning_content"] = text_of(value, place, faults)
        elif kind in ("text", None):
            texts.append(text_of(value, place, faults))
        else:
            faults.error(place, f"is of type {kind!r}; only text is trained here.", "Remove it or the row.")
    message["content"] = "".join(texts)
    if not texts and "tool_calls" not in message and not blocks:
        faults.error(f"{where}.content", "is an empty list.", "Fill it in or remove the row.")


def _calls_in_text(value: object, where: str, faults: Faults) -> list[ToolCall]:
    """Tool calls that are written as JSON in a text, as ShareGPT's `function_call` turns are."""
    try:
        parsed = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        faults.error(where, f"its tool call is no JSON ({error}).", 'Write {"name": ..., "arguments": {...}}.')
        return []
    return _calls(parsed if isinstance(parsed, list) else [parsed], where, faults)


def _calls(value: object, where: str, faults: Faults) -> list[ToolCall]:
    calls: list[ToolCall] = []
    for call in value if isinstance(value, list) else [value]:
        function = call.get("function", call) if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(call, dict) or not isinstance(function, dict) or not isinstance(name, str):
            faults.error(where, f"is {shown(call)}, not a tool call.", 'Write {"name": ..., "arguments": {...}}.')
            continue
        made: ToolCall = {"type": "function", "function": FunctionCall(name=name, arguments=_arguments(function))}
        if isinstance(call.get("id"), str):
            made["id"] = call["id"]
        calls.append(made)
    return calls


def _arguments(function: dict[str, object]) -> object:
    """Arguments as an object: OpenAI writes them as JSON in a text, and chat templates expect the object."""
    arguments = function.get("arguments", {})
    if not isinstance(arguments, str):
        return arguments
    try:
        parsed: object = json.loads(arguments)
    except ValueError:
        return arguments
    return parsed if isinstance(parsed, dict) else arguments


def _is_trained(turn: dict[str, object], where: str, faults: Faults) -> bool:
    weight = turn.get("loss_weight", turn.get("weight"))
    if weight is None or (isinstance(weight, int | float) and weight in (0, 1)):
        return weight is None or weight == 1
    faults.error(where, f"has the weight {shown(weight)}; a turn is trained (1) or not (0).", "Write 0 or 1.")
    return True


def tools_of(value: object, where: str, faults: Faults) -> Tools | None:
    """The tools a chat may call, as a list of JSON schemas; written as a list, or as JSON in a text."""
    if value is None or value == "" or value == "[]":
        return None
    try:
        parsed = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        faults.error(where, f"is no JSON ({error}).", "Write a list of tool schemas.")
        return None
    if not isinstance(parsed, list) or not all(isinstance(tool, dict) for tool in parsed):
        faults.error(where, f"is {shown(parsed)}, not a list of tools.", "Write a list of tool schemas.")
        return None
    return [tool if "function" in tool else {"type": "function", "function": tool} for tool in parsed] or None
