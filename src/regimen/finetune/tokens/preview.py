"""Shows the exact tokens of some rows with what is trained, from the function that training uses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.text import Text
from transformers import PreTrainedTokenizerBase

from regimen.finetune.data.convert import canonical
from regimen.finetune.data.layouts import Layout
from regimen.finetune.data.table import Rows
from regimen.finetune.tokens.encoder import Encoder
from regimen.finetune.tokens.outcome import IGNORED, Dropped, Kept, Unusable

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
"""Data must not steer the terminal: control characters are shown by their code."""
OPEN, CLOSE = "⟦", "⟧"


@dataclass(frozen=True, slots=True)
class PreviewToken:
    """One token as it is trained: its text alone, its id, and which part of a preference row it belongs to."""

    text: str
    id: int
    trained: bool
    part: str = ""


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """A row's tokens; `dropped` is the reason when it is left out, and then there are no tokens."""

    place: str
    tokens: list[PreviewToken]
    notes: tuple[str, ...] = ()
    dropped: str = ""

    @property
    def trained(self) -> int:
        return sum(token.trained for token in self.tokens)

    def to_json(self) -> dict[str, object]:
        tokens = [
            {"text": token.text, "id": token.id, "trained": token.trained, "part": token.part} for token in self.tokens
        ]
        return {"place": self.place, "dropped": self.dropped, "notes": list(self.notes), "tokens": tokens}


def preview(rows: Rows, layout: Layout, encoder: Encoder, indices: Iterable[int] = range(3)) -> list[PreviewRow]:
    """The rows at `indices` (those that exist), tokenized. Raises `DataError` when one of them has wrong fields."""
    chosen = [index for index in indices if -len(rows) <= index < len(rows)]
    places = [str(rows.place(index % len(rows))) for index in chosen]
    forms = [canonical(rows[index], layout, place) for index, place in zip(chosen, places, strict=True)]
    shown = []
    for place, outcome in zip(places, encoder.encode(forms), strict=True):
        if isinstance(outcome, Kept):
            shown.append(PreviewRow(place, _tokens(outcome, encoder.tokenizer), outcome.notes))
        else:
            reason = (
                f"{outcome.reason} ({outcome.length:,} tokens)" if isinstance(outcome, Dropped) else outcome.message
            )
            shown.append(PreviewRow(place, [], (outcome.fix,) if isinstance(outcome, Unusable) else (), reason))
    return shown


def _tokens(outcome: Kept, tokenizer: PreTrainedTokenizerBase) -> list[PreviewToken]:
    tokens = outcome.tokens
    if "labels" in tokens:
        pairs = zip(tokens["input_ids"], tokens["labels"], strict=True)
        return [PreviewToken(_token_text(tokenizer, id_), id_, label != IGNORED) for id_, label in pairs]
    return [
        PreviewToken(_token_text(tokenizer, id_), id_, name != "prompt_ids", name.removesuffix("_ids"))
        for name, ids in tokens.items()
        if isinstance(ids, list)
        for id_ in ids
    ]


def _token_text(tokenizer: PreTrainedTokenizerBase, id_: int) -> str:
    """A token alone, with the leading space that decoding SentencePiece tokens one by one would lose."""
    text = str(tokenizer.decode([id_]))
    piece = str(tokenizer.convert_ids_to_tokens(id_))
    return f" {text}" if piece.startswith("▁") and not text.startswith(" ") else text


def render_preview(rows: Iterable[PreviewRow], *, ids: bool = False) -> Text:
    """The rows for a terminal: trained tokens are bold and green, the others dim. `ids` lists one token a line."""
    text = Text()
    for row in rows:
        text.append(f"{_heading(row)}\n", style="cyan")
        for token in row.tokens:
            style = "bold green" if token.trained else "dim"
            text.append(f"{_line(token)}\n" if ids else token.text.translate(_CONTROL), style=style)
        text.append("\n\n")
    return text


def preview_as_text(rows: Iterable[PreviewRow], *, ids: bool = False) -> str:
    """The rows without colour: what is trained stands in ⟦brackets⟧."""
    parts = []
    for row in rows:
        lines = [f"{_line(token)}\n" for token in row.tokens] if ids else _bracketed(row.tokens)
        parts.append(f"{_heading(row)}\n{''.join(lines)}\n")
    return "\n".join(parts)


def _heading(row: PreviewRow) -> str:
    if row.dropped:
        return f"{row.place}: left out: {row.dropped} {' '.join(row.notes)}".rstrip()
    notes = "".join(f"; {note}" for note in row.notes)
    return f"{row.place}: {len(row.tokens)} tokens, {row.trained} trained{notes}"


def _line(token: PreviewToken) -> str:
    part = f" {token.part}" if token.part else ""
    return f"{token.id:>7} {'trained' if token.trained else '       '}{part} {token.text!r}"


def _bracketed(tokens: list[PreviewToken]) -> list[str]:
    out = []
    trained, part = False, ""
    for token in tokens:
        if token.part != part:
            out.append(f"{CLOSE if trained else ''}\n{token.part}: " if token.part else "")
            trained, part = False, token.part
        if token.trained != trained:
            out.append(OPEN if token.trained else CLOSE)
            trained = token.trained
        out.append(token.text.translate(_CONTROL))
    return [*out, CLOSE if trained else ""]
