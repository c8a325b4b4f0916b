"""Tokens of some rows as a run would train them, by the functions that training uses; nothing else of the data is read
but what finds its layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from regimen.agents import with_agents
from regimen.choices import CheckedSpec
from regimen.document import Document, check
from regimen.endings import plugins_named
from regimen.errors import DataError, Problem, Refused
from regimen.finetune.preparing import encoder, longest, token_settings
from regimen.finetune.previewing import previewed
from regimen.finetune.strategy import TrainingStrategy
from regimen.finetune.texttask import LanguageTask
from regimen.finetune.tokens.encoder import Encoder
from regimen.finetune.tokens.outcome import TokenSettings
from regimen.finetune.tokens.preview import PreviewRow, PreviewToken
from regimen.finetune.tokens.preview import preview as tokens_of
from regimen.finetune.tokens.template import Template
from regimen.published import usual_places


def preview(settings: Mapping[str, Any], split: str, offset: int, limit: int) -> dict[str, Any]:
    """The rows from `offset` on: each token's text, id, whether it is trained, and what is cut away.

    Raises `SpecError` and `DataError` as a run would, and `Refused` for a strategy that makes its own tokens.
    """
    strategy, task = _made(settings)
    previewed(strategy, task, split, 0)  # refuses what has no tokens to show
    assert isinstance(strategy, TrainingStrategy)
    assert isinstance(task, LanguageTask)
    template = Template.from_tokenizer(task.tokenizer) if task.tokenizer.chat_template else None
    encode, rows = encoder(strategy, task), task.rows[split]
    chosen = range(min(offset, len(rows)), min(offset + limit, len(rows)))
    shown = _shown(task, strategy, split, encode, chosen)
    whole = Encoder(encode.tokenizer, TokenSettings(None, strategy.loss_on, strategy.overlength), template)
    most = longest(task.tokenizer, task.model_config)
    limit_ = token_settings(strategy, most).max_length
    special = {getattr(task.tokenizer, f"{name}_token_id"): name for name in ("pad", "bos", "eos")}
    special[encode.stop_id] = "eos"
    special.pop(None, None)
    made = []
    for index, row in zip(chosen, shown, strict=True):
        is_cut = bool(row.dropped) or any("truncated" in note for note in row.notes)
        uncut = _shown(task, strategy, split, whole, [index])[0] if is_cut else row
        made.append(_row(row, uncut, special))
    return {
        "split": split,
        "total": len(rows),
        "layout": task.layout(strategy.layouts).name,
        "mapping": dict(task.layout(strategy.layouts).columns),
        "max_length": limit_,
        "rows": made,
    }


def _made(settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """Strategy and task, the data opened, and nothing asked that would read all of it as tokens."""
    spec = check(with_agents(Document(dict(settings))), CheckedSpec, usual_places())
    with plugins_named(spec.task.plugin, spec.strategy.plugin):
        task, strategy = spec.task.plugin.make(spec.task), spec.strategy.plugin.make(spec.strategy)
        task.cache = spec.output / ".cache"
        task.prepare()
        reason = strategy.why_not(task)
    if reason:
        raise Refused(Problem(f"strategy {spec.strategy.name}", reason))
    return strategy, task


def _shown(
    task: LanguageTask, strategy: TrainingStrategy, split: str, encode: Encoder, chosen: Iterable[int]
) -> list[PreviewRow]:
    """A row with wrong fields is shown as left out, with what is wrong; the others are shown all the same."""
    rows, layout, chosen = task.rows[split], task.layout(strategy.layouts), list(chosen)
    try:
        return tokens_of(rows, layout, encode, chosen)
    except DataError as error:
        if len(chosen) > 1:
            return [_shown(task, strategy, split, encode, [index])[0] for index in chosen]
        said = " ".join(f"{problem.message} {problem.fix}".strip() for problem in error.problems)
        return [PreviewRow(str(rows.place(chosen[0])), [], (), said)]


def _row(row: PreviewRow, uncut: PreviewRow, special: Mapping[Any, str]) -> dict[str, Any]:
    """The tokens that are trained or read, and after them those that are cut away or, of a dropped row, all."""
    kept = [_token(token, special, is_cut=False) for token in row.tokens]
    if row.dropped or not any(token.part for token in row.tokens):
        kept += [_token(token, special, is_cut=True) for token in uncut.tokens[len(kept) :]]
    return {
        "place": row.place.replace("datasets/", ""),
        "dropped": row.dropped,
        "notes": list(row.notes),
        "num_tokens": len(row.tokens),
        "num_trained": row.trained,
        "num_whole": len(uncut.tokens),
        "tokens": kept,
    }


def _token(token: PreviewToken, special: Mapping[Any, str], *, is_cut: bool) -> dict[str, Any]:
    return {
        "text": token.text,
        "id": token.id,
        "trained": token.trained and not is_cut,
        "part": token.part,
        "special": special.get(token.id, ""),
        "cut": is_cut,
    }
