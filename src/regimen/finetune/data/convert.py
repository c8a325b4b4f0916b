"""Turns a row of any layout into one of the canonical forms, naming every field that is missing or wrong."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from regimen.errors import DataError, Problem
from regimen.finetune.data.canonical import Canonical, Conversation, Message, Messages, Pair, Preference, Text, Unpaired
from regimen.finetune.data.commonprefix import common_prefix_length
from regimen.finetune.data.findings import shown
from regimen.finetune.data.layouts import Layout
from regimen.finetune.data.table import Row
from regimen.finetune.data.turns import Faults, text_of, tools_of, turns_of

ASSISTANT_TURN = "\n\nAssistant:"
"""Where an answer begins in the transcripts of HH-RLHF."""


def canonical(row: Row, layout: Layout, place: object = "") -> Canonical:
    """The row in its canonical form. Raises `DataError` with everything that is wrong with it, at `place`."""
    faults = Faults()
    made = convert(row, layout, faults)
    if faults.errors:
        raise DataError([Problem(str(place), f"{fault.field} {fault.message}", fault.fix) for fault in faults.errors])
    return made


def convert(row: Row, layout: Layout, faults: Faults) -> Canonical:
    """As `canonical`, but what is wrong goes to `faults`; the value is meaningful only when no error was added."""
    return _CONVERT[layout.name](row, layout, faults)


def _value(row: Row, layout: Layout, field: str, faults: Faults) -> object:
    """A required field; a missing one is a fault and reads as an empty text that adds no second fault."""
    column = layout.columns[field]
    if column not in row or row[column] is None:
        what = "is missing" if column not in row else "is null"
        faults.error(column, f"{what}.", f"Every row of layout {layout.name} needs it: fill it in or remove the row.")
        return _MISSING
    return row[column]


_MISSING = "(missing)"


def _optional(row: Row, layout: Layout, field: str) -> object:
    column = layout.columns.get(field)
    return None if column is None else row.get(column)


def _optional_text(row: Row, layout: Layout, field: str, faults: Faults) -> str:
    value = _optional(row, layout, field)
    return "" if value is None else text_of(value, layout.columns[field], faults, may_be_empty=True)


def _text(row: Row, layout: Layout, faults: Faults) -> Text:
    return Text(text_of(_value(row, layout, "text", faults), layout.columns["text"], faults))


def _with_system(messages: Messages, system: str) -> Messages:
    return [Message(role="system", content=system), *messages] if system.strip() else messages


def _conversation(row: Row, layout: Layout, faults: Faults) -> Conversation:
    field = "messages" if layout.name == "messages" else "conversations"
    value = _value(row, layout, field, faults)
    tools = tools_of(_optional(row, layout, "tools"), "tools", faults)
    if value is _MISSING:
        return Conversation([])
    messages, untrained = turns_of(value, layout.columns[field], faults)
    _check_turns(messages, layout.columns[field], faults)
    system = _optional_text(row, layout, "system", faults)
    if system.strip():
        return Conversation(_with_system(messages, system), tools, frozenset(i + 1 for i in untrained))
    return Conversation(messages, tools, untrained)


def _check_turns(messages: Messages, where: str, faults: Faults) -> None:
    """What a chat must have to be trained on, and the orders of turns that many templates refuse."""
    roles = [message["role"] for message in messages]
    if messages and not faults.errors and "assistant" not in roles:
        faults.error(where, "has no assistant turn, so nothing in it can be learned.", "Add one or remove the row.")
    spoken = [role for role in roles if role != "system"]
    if spoken[:1] == ["assistant"]:
        faults.warn(where, "begins with an assistant turn.", "Many templates expect a user turn first.")
    if any(one == two == "user" for one, two in pairwise(spoken)):
        faults.warn(where, "has two user turns in a row.", "Many templates expect user and assistant to alternate.")
    if "system" in roles[1:]:
        faults.warn(where, "has a system turn that is not the first.", "Many templates expect it only there.")


def _two_turns(row: Row, layout: Layout, faults: Faults) -> Pair:
    """`instruction` and `input`+`output` rows: a user turn and an assistant turn."""
    if layout.name == "instruction":
        asked = text_of(_value(row, layout, "instruction", faults), layout.columns["instruction"], faults)
        extra = _optional_text(row, layout, "input", faults)
        asked = f"{asked}\n\n{extra}" if extra.strip() else asked
    else:
        asked = text_of(_value(row, layout, "input", faults), layout.columns["input"], faults)
    answer = text_of(_value(row, layout, "output", faults), layout.columns["output"], faults)
    prompt = _with_system([Message(role="user", content=asked)], _optional_text(row, layout, "system", faults))
    return Pair(prompt, [Message(role="assistant", content=answer)])


def _either(value: object, where: str, faults: Faults, *, may_be_empty: bool = False) -> str | Messages:
    """Text or turns, as the row has it."""
    if isinstance(value, list | dict):
        return turns_of(value, where, faults)[0]
    return text_of(value, where, faults, may_be_empty=may_be_empty)


def _answer(value: object, where: str, prompt: str | Messages, faults: Faults) -> str | Messages:
    """An answer in the form of its prompt: after turns, a text is an assistant's turn."""
    answer = _either(value, where, faults)
    if isinstance(prompt, list) and isinstance(answer, str):
        return [Message(role="assistant", content=answer)]
    if isinstance(prompt, str) and isinstance(answer, list):
        faults.error(where, "is turns, and its prompt is a text.", "Write both as texts or both as turns.")
    if isinstance(answer, list) and answer and answer[-1]["role"] != "assistant":
        faults.error(where, f"ends with a turn of the {answer[-1]['role']}.", "An answer ends with an assistant turn.")
    return answer


def _pair(row: Row, layout: Layout, faults: Faults) -> Pair:
    prompt = _either(_value(row, layout, "prompt", faults), layout.columns["prompt"], faults)
    completion = _value(row, layout, "completion", faults)
    tools = tools_of(_optional(row, layout, "tools"), "tools", faults)
    answer = "" if completion is _MISSING else _answer(completion, layout.columns["completion"], prompt, faults)
    return Pair(prompt, answer, tools)


def _unpaired(row: Row, layout: Layout, faults: Faults) -> Unpaired:
    label = _label(_value(row, layout, "label", faults), layout.columns["label"], faults)
    if "prompt" in layout.columns:
        pair = _pair(row, layout, faults)
        return Unpaired(pair.prompt, pair.completion, label, pair.tools)
    where = layout.columns["messages"]
    value = _value(row, layout, "messages", faults)
    turns = [] if value is _MISSING else turns_of(value, where, faults)[0]
    if turns and turns[-1]["role"] != "assistant":
        faults.error(where, f"ends with a turn of the {turns[-1]['role']}.", "The last turn is the one that is judged.")
    return Unpaired(turns[:-1], turns[-1:], label, tools_of(_optional(row, layout, "tools"), "tools", faults))


def _label(value: object, where: str, faults: Faults) -> bool:
    """true or false; CSV has only texts, so "true" and "false" count too."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if value is not _MISSING:
        faults.error(where, f"is {shown(value)}, where true or false is expected.", "Write true (good) or false (bad).")
    return False


def _preference(row: Row, layout: Layout, faults: Faults) -> Preference:
    raw_chosen, raw_rejected = _value(row, layout, "chosen", faults), _value(row, layout, "rejected", faults)
    tools = tools_of(_optional(row, layout, "tools"), "tools", faults)
    if raw_chosen is _MISSING or raw_rejected is _MISSING:
        return Preference("", "", "", tools)
    if raw_chosen == raw_rejected:
        faults.error(
            layout.columns["chosen"], "and rejected are equal, so there is nothing to prefer.", "Remove the row."
        )
    raw_prompt = _optional(row, layout, "prompt")
    # A text prompt beside chats that hold it already (UltraFeedback): the chats are complete, as TRL reads them too.
    if raw_prompt is None or (isinstance(raw_prompt, str) and isinstance(raw_chosen, list)):
        if "prompt" in layout.columns and raw_prompt is None:
            faults.error(layout.columns["prompt"], "is missing or null.", "Fill it in or remove the row.")
        return _split_preference(raw_chosen, raw_rejected, layout, faults)
    prompt = _either(raw_prompt, layout.columns["prompt"], faults)
    system = _optional_text(row, layout, "system", faults)
    prompt = _with_system(prompt, system) if isinstance(prompt, list) else prompt
    chosen = _answer(raw_chosen, layout.columns["chosen"], prompt, faults)
    return Preference(prompt, chosen, _answer(raw_rejected, layout.columns["rejected"], prompt, faults), tools)


def _split_preference(raw_chosen: object, raw_rejected: object, layout: Layout, faults: Faults) -> Preference:
    """Two complete chats or transcripts: what they share, up to the last answer, is the prompt."""
    chosen = _either(raw_chosen, layout.columns["chosen"], faults)
    rejected = _either(raw_rejected, layout.columns["rejected"], faults)
    if isinstance(chosen, str) and isinstance(rejected, str):
        shared = chosen[: common_prefix_length(chosen, rejected)]
        cut = shared.rfind(ASSISTANT_TURN)
        at = 0 if cut < 0 else cut + len(ASSISTANT_TURN)
        for name, text in (("chosen", chosen), ("rejected", rejected)):
            if text and not text[at:].strip():
                faults.error(layout.columns[name], "ends without an answer.", "Fill it in or remove the row.")
        return Preference(chosen[:at], chosen[at:], rejected[at:])
    if isinstance(chosen, str) or isinstance(rejected, str):
        faults.error(layout.columns["chosen"], "and rejected are a text and turns.", "Write both in one way.")
        return Preference("", "", "")
    at = 0
    while at < min(len(chosen), len(rejected)) - 1 and chosen[at] == rejected[at]:
        at += 1
    for name, turns in (("chosen", chosen), ("rejected", rejected)):
        if turns and turns[-1]["role"] != "assistant":
            faults.error(
                layout.columns[name], f"ends with a turn of the {turns[-1]['role']}.", "It must end with the answer."
            )
    return Preference(chosen[:at], chosen[at:], rejected[at:])


_CONVERT: dict[str, Callable[[Row, Layout, Faults], Canonical]] = {
    "text": _text,
    "messages": _conversation,
    "sharegpt": _conversation,
    "prompt_completion": _pair,
    "input_output": _two_turns,
    "instruction": _two_turns,
    "preference": _preference,
    "unpaired_preference": _unpaired,
}
