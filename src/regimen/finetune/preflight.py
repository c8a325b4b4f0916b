"""What a look at the whole data finds before any weight is loaded: every row, its tokens, what would go wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from regimen.errors import DataError, MissingExtra, Problem, Refused
from regimen.finetune.answers.metrics import check_installed, wanted
from regimen.finetune.data.layouts import suggested_columns
from regimen.finetune.data.split import overlap
from regimen.finetune.fitting import misfits, too_large
from regimen.finetune.preparing import longest, tokenized
from regimen.finetune.texttask import LanguageTask
from regimen.finetune.tokens.prepare import Prepared
from regimen.spec import RunSettings
from regimen.strategy import Change, Finding

if TYPE_CHECKING:
    from regimen.finetune.strategy import TrainingStrategy

MANY_DROPPED = 0.5
"""Part of the rows above which dropping them is no accident: the run is refused."""


def findings(strategy: TrainingStrategy, task: LanguageTask, settings: RunSettings) -> list[Finding]:
    """All of them: errors refuse the run, the rest is shown and recorded."""
    found = [
        *_run(task, settings),
        *_without_effect(strategy, task),
        *misfits(strategy, task.model_config, settings),
        *_fields(strategy, task),
    ]
    if any(finding.level == "error" for finding in found) or strategy.prepares_itself:
        return found
    splits: dict[str, Prepared] = {}
    for split in task.rows:
        try:
            splits[split] = tokenized(strategy, task, split)
        except (Refused, DataError) as error:
            said = {finding.problem for finding in found}
            remedy = _for_columns(strategy, task)
            found += [Finding("error", problem, remedy) for problem in error.problems if problem not in said]
    for split, prepared in splits.items():
        found += _tokens(split, prepared, strategy, task)
    if "train" in splits and "valid" in splits:
        found += _overlap(strategy, task)
    if "train" in splits:
        report = splits["train"].report
        found += too_large(strategy, task.model_config, settings, report.lengths["max"], report.trained_fraction)
    return found


def _run(task: LanguageTask, settings: RunSettings) -> Iterator[Finding]:
    try:
        check_installed(wanted(task))
    except MissingExtra as error:
        yield from (Finding("error", problem) for problem in error.problems)
    best = settings.checkpoint.best
    if best and not best.startswith("valid/"):
        fix = "The best checkpoint is chosen on valid alone: valid/loss, valid/exact_match, ..."
        remedy = (Change("checkpoint.best", "valid/loss"),) if "valid" in task.rows else ()
        yield Finding("error", Problem("checkpoint.best", f"is {best!r}, which is not measured on valid.", fix), remedy)
    reason = task.why_not_here()
    if reason:
        problem = Problem("task.provider", reason, "Set task.provider: huggingface.")
        yield Finding("error", problem, (Change("task.provider", "huggingface"),))


def _without_effect(strategy: TrainingStrategy, task: LanguageTask) -> Iterator[Finding]:
    """Settings that this strategy or this task leaves no room for."""
    if strategy.packing and not strategy.collates_rows:
        text = f"is true, and {strategy.get_strategy_name()} makes batches of its own."
        yield Finding("error", Problem("strategy.packing", text, "Remove it."), (Change("strategy.packing", False),))
    if strategy.layouts == ("preference",) and strategy.loss_on != type(strategy).loss_on:
        text = f"is {strategy.loss_on}, and a preference is always about the answers."
        usual = Change("strategy.loss_on", type(strategy).loss_on)
        yield Finding("error", Problem("strategy.loss_on", text, "Remove it."), (usual,))
    if task.metrics and not task.rows.keys() & {"valid", "test"}:
        text = f"asks for {', '.join(task.metrics)}, and there are no valid or test rows to ask about."
        yield Finding("error", Problem("task.metrics", text, "Give some, or remove it."), (Change("task.metrics", []),))


def _fields(strategy: TrainingStrategy, task: LanguageTask) -> Iterator[Finding]:
    """The columns that the strategy says it needs."""
    wanted = strategy.get_required_dataset_fields()
    for rows in task.rows.values():
        there = {*rows.columns, *task.columns}
        missing = [name for name in wanted if name not in there]
        if missing and strategy.prepares_itself:
            names = ", ".join(map(repr, missing))
            text = f"lacks {names}, which {strategy.get_strategy_name()} needs; it has {', '.join(rows.columns)}."
            theirs = rows.columns[0] if rows.columns else "..."
            fix = f"Rename the columns, or map them: task.data.columns: {{{missing[0]}: {theirs}}}."
            yield Finding("error", Problem(str(rows.source), text, fix))


def _tokens(split: str, prepared: Prepared, strategy: TrainingStrategy, task: LanguageTask) -> Iterator[Finding]:
    report = prepared.report
    yield Finding("info", Problem(split, "; ".join(report.lines()[:2]) + "."))
    for reason, counted in report.dropped.items():
        where = ", ".join(counted.places[:3]) + (", ..." if counted.rows > 3 else "")
        too_many = counted.rows > MANY_DROPPED * report.rows
        fix, remedy = _for_long_rows(strategy, task, report.longest_dropped) if report.longest_dropped else ("", ())
        text = f"{counted.rows:,} of {report.rows:,} rows are dropped: {reason} ({where})."
        yield Finding("error" if too_many else "warning", Problem(split, text, fix), remedy)
    for note, counted in report.notes.items():
        yield Finding("warning", Problem(split, f"{counted.rows:,} rows: {note} ({', '.join(counted.places[:3])})."))
    if report.duplicates:
        text = f"{report.duplicates:,} rows have the same tokens as an earlier one."
        yield Finding("warning", Problem(split, text, "Remove them if they are no intent."))
    largest = _largest_id(prepared)
    vocabulary = getattr(task.model_config.get_text_config(), "vocab_size", math.inf)
    if largest >= vocabulary:
        text = f"the tokenizer gives token {largest}, and the model knows {vocabulary} tokens."
        yield Finding("error", Problem("task.model", text, "Use the tokenizer that belongs to the model."))


def _for_columns(strategy: TrainingStrategy, task: LanguageTask) -> tuple[Change, ...]:
    """The column map that would make a layout of columns that fit none."""
    try:
        task.layout(strategy.layouts)
    except DataError:
        suggested = suggested_columns(task.rows["train"].columns, strategy.layouts)
        if suggested and not task.columns and hasattr(task, "data"):
            return (Change("task.data.columns", suggested),)
    return ()


def _for_long_rows(strategy: TrainingStrategy, task: LanguageTask, needed: int) -> tuple[str, tuple[Change, ...]]:
    """What can be done about rows of up to `needed` tokens, and the way that keeps the most of them."""
    most = longest(task.tokenizer, task.model_config)
    ways = [] if strategy.overlength == "truncate" else ["choose strategy.overlength: truncate"]
    if (strategy.max_length or most) < most:
        ways.insert(0, f"raise strategy.max_length (to {min(needed, most)}; the model takes {most})")
    else:
        ways.append(f"shorten them: the model takes {most} tokens")
    said = ", or ".join(ways)
    remedy: tuple[Change, ...] = ()
    if needed <= most and (strategy.max_length or most) < needed:
        remedy = (Change("strategy.max_length", needed),)
    elif strategy.overlength != "truncate":
        remedy = (Change("strategy.overlength", "truncate"),)
    return f"{said[0].upper()}{said[1:]}.", remedy


def _largest_id(prepared: Prepared) -> int:
    import pyarrow.compute as compute

    columns = [name for name in prepared.dataset.column_names if name.endswith("_ids")]
    chunks = [chunk for name in columns for chunk in prepared.dataset.data.column(name).chunks]
    largest = [compute.max(compute.list_flatten(chunk)).as_py() for chunk in chunks]
    return max((token for token in largest if token is not None), default=0)


def _overlap(strategy: TrainingStrategy, task: LanguageTask) -> Iterator[Finding]:
    layout = task.layout(strategy.layouts)
    shared = overlap(task.rows["train"], task.rows["valid"], layout)
    strategy.looked.overlap.update({"to the letter": shared.exact, "but for case and spaces": shared.normalized})
    if shared.normalized:
        places = ", ".join(f"{valid} is {train}" for valid, train in shared.places[:3])
        text = f"{shared.normalized:,} rows are in train, too ({shared.exact:,} to the letter): {places}."
        yield Finding(
            "warning",
            Problem("valid", text, "Its numbers will flatter the model; remove them, or split by another key."),
        )
