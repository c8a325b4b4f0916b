"""The chat template: the tokenizer's own, or the one the user names; rendered in transformers' sandbox only.

A template decides what a chat looks like to the model, in training and ever after. The chosen one is set on the
tokenizer, so it is saved with the model, and its hash is written in the record. Two short ones come with the package
for tokenizers that have none: `plain` needs no special token but the end token, `chatml` needs `<|im_start|>` and
`<|im_end|>` in the vocabulary.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jinja2
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from regimen.errors import Problem, Refused, SpecError, did_you_mean
from regimen.finetune.data.canonical import Message, Tools

PLAIN = """\
{%- if tools %}{{ 'Tools:\\n' ~ (tools | tojson) ~ '\\n' }}{% endif -%}
{%- for message in messages -%}
{{ '' if loop.first else '\\n' }}
{%- if message.role == 'assistant' -%}
{{ 'Assistant:\\n' }}
{%- generation -%}
{{ message.content | trim }}
{%- if message.tool_calls %}{{ '\\nCalls: ' ~ (message.tool_calls | tojson) }}{% endif -%}
{{ eos_token }}
{%- endgeneration -%}
{%- else -%}
{{ (message.role | capitalize) ~ ':\\n' ~ (message.content | trim) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '\\nAssistant:\\n' }}{% endif -%}
"""
CHATML = """\
{%- if tools %}{{ raise_exception('the chatml template has no place for tools') }}{% endif -%}
{%- for message in messages -%}
{%- if message.tool_calls %}{{ raise_exception('the chatml template has no place for tool calls') }}{% endif -%}
{{ '<|im_start|>' ~ message.role ~ '\\n' }}
{%- if message.role == 'assistant' -%}
{%- generation -%}{{ message.content ~ '<|im_end|>' }}{%- endgeneration -%}
{%- else -%}
{{ message.content ~ '<|im_end|>' }}
{%- endif -%}
{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
"""
NAMED = {"plain": PLAIN, "chatml": CHATML}
_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
# What a template can raise: it is somebody else's code, run in a sandbox.
_TEMPLATE_ERRORS = (
    jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError
)  # fmt: skip


class TemplateRefusalError(ValueError):
    """A template raised on a chat; the text is what it said."""


class Rendered(NamedTuple):
    """A chat as text, and where the template's `{% generation %}` marks are: (start, end) in characters."""

    text: str
    marks: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Template:
    """A chat template on its tokenizer. `name` is "tokenizer", "plain", "chatml" or the file's path."""

    tokenizer: PreTrainedTokenizerBase
    name: str
    text: str

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerBase, template: str | None = None) -> Template:
        """The template named by `template` (a name, a `.jinja` file), else the tokenizer's own; set on the tokenizer.

        Raises `Refused` when there is none, or when it cannot work with this tokenizer; `SpecError` for a name or file
        that cannot be read.
        """
        if template is None:
            made = cls(tokenizer, "tokenizer", _own(tokenizer))
        elif template in NAMED:
            made = cls(tokenizer, template, _with_beginning(tokenizer, NAMED[template]))
            _check_tokens(tokenizer, template)
        else:
            made = cls(tokenizer, template, _from_file(template))
        _check_syntax(made)
        tokenizer.chat_template = made.text
        return made

    @property
    def hash(self) -> str:
        """The sha256 of the template's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def has_marks(self) -> bool:
        """Whether the template says itself what the assistant generates (`{% generation %}`)."""
        return _MARK.search(self.text) is not None

    def render(
        self, messages: Sequence[Message], tools: Tools | None = None, *, prompt: bool = False, marks: bool = False
    ) -> Rendered:
        """The chat as text; `prompt` adds the beginning of an answer. Raises `TemplateRefusalError` with its words."""
        try:
            texts, found = render_jinja_template(
                conversations=[messages],
                tools=tools,
                chat_template=self.text,
                add_generation_prompt=prompt,
                return_assistant_tokens_mask=marks,
                **self.tokenizer.special_tokens_map,
            )
        except _TEMPLATE_ERRORS as error:
            raise TemplateRefusalError(str(error) or type(error).__name__) from None
        return Rendered(texts[0], list(found[0]) if marks else [])


_WAY_OUT = (
    "Say which to use: task.template: plain (short, for any tokenizer), chatml, or the path of a .jinja file. "
    "It is stored with the model."
)


def _own(tokenizer: PreTrainedTokenizerBase) -> str:
    own: object = tokenizer.chat_template
    if isinstance(own, dict):
        own = own.get("default")
    if not isinstance(own, str) or not own.strip():
        raise Refused(Problem("task.template", "the rows are chats, and the tokenizer has no chat template.", _WAY_OUT))
    return own


def _from_file(template: str) -> str:
    path = Path(template).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        names = ", ".join(NAMED)
        fix = f"Give a .jinja file, or one of: {names}. {did_you_mean(template, NAMED)}"
        raise SpecError(Problem("task.template", f"{template!r} cannot be read: {reason}.", fix)) from None
    if not text.strip():
        raise SpecError(Problem("task.template", f"{template!r} is empty.", "Give a file with a Jinja chat template."))
    return text


def adds_beginning(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer puts a beginning token before a plain text by itself."""
    ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id is not None and len(ids) > 0 and ids[0] == tokenizer.bos_token_id


def _with_beginning(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    return "{{ bos_token }}" + text if adds_beginning(tokenizer) else text


def _check_tokens(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    missing = [token for token in ("<|im_start|>", "<|im_end|>") if token not in tokenizer.get_vocab()]
    if name == "chatml" and missing:
        message = f"chatml needs {' and '.join(missing)} in the tokenizer's vocabulary."
        raise Refused(Problem("task.template", message, "Use task.template: plain."))
    if name == "plain" and tokenizer.eos_token is None:
        message = "the tokenizer has no end token, so the model could not learn to stop."
        raise Refused(Problem("task.template", message, "Set eos_token in its tokenizer_config.json."))


def _check_syntax(template: Template) -> None:
    """A template that does not compile, or that the sandbox refuses, is refused before any row is read."""
    try:
        template.render([{"role": "user", "content": "a"}], prompt=True)
    except TemplateRefusalError as error:
        message = f"the chat template ({template.name}) cannot render one user turn: {error}."
        raise Refused(Problem("task.template", message, "Correct it, or choose another one.")) from None
