"""Finds the token that ends an assistant's turn; a template that trains none is refused: no answer would ever stop."""

from __future__ import annotations

from regimen.errors import Problem, Refused
from regimen.finetune.data.canonical import Conversation
from regimen.finetune.tokens.spans import Marked, MaskError, mark_assistant
from regimen.finetune.tokens.template import Template, TemplateRefusalError
from regimen.finetune.tokens.tokenizing import Tokenizing, ids_of

_NO_END = (
    "The model would never learn to stop: write {{ eos_token }} after the answer, inside {% generation %}, "
    "or use task.template: plain."
)


def stop_token(template: Template, tokenizing: Tokenizing) -> int:
    """The id of the last trained token of a turn, blank ones aside; it must be an added token, or the tokenizer's end.

    Raises `Refused` for a template that ends a turn with no such token, writes two beginning tokens, or fails.
    """
    text, spans = _probe(template, tokenizing)
    encoding = tokenizing.rendered([text])
    ids = ids_of(encoding)[0]
    last = encoding.char_to_token(0, spans[-1].end - 1) if spans and spans[-1].end else None
    special = {tokenizing.end, *tokenizing.special.values()}
    while last and ids[last] not in special and not str(tokenizing.tokenizer.decode([ids[last]])).strip():
        last -= 1
    if last is None or ids[last] not in special:
        message = f"the chat template ({template.name}) trains no token that ends the assistant's turn."
        raise Refused(Problem("task.template", message, _NO_END))
    if tokenizing.two_beginnings(ids):
        message = f"the chat template ({template.name}) writes two beginning tokens."
        raise Refused(Problem("task.template", message, "Remove one of them."))
    return int(ids[last])


def _probe(template: Template, tokenizing: Tokenizing) -> Marked:
    chat = Conversation([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    try:
        return mark_assistant(chat, template, tuple(tokenizing.special), last_only=False)
    except (TemplateRefusalError, MaskError) as error:
        message = f"the chat template ({template.name}) fails on a user turn and an answer: {error}."
        raise Refused(Problem("task.template", message, "Correct it, or use task.template: plain.")) from None
