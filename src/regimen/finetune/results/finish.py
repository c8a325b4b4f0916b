"""What happens once training has ended: the test split, sample answers, the saved model, its proof, its card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from regimen.errors import StrategyFailed
from regimen.finetune.answers.examples import token_rows
from regimen.finetune.answers.samples import Samples
from regimen.finetune.assemble import loss_function
from regimen.finetune.data.canonical import Conversation, Text
from regimen.finetune.data.convert import convert
from regimen.finetune.data.turns import Faults
from regimen.finetune.evaluate import Evaluation
from regimen.finetune.losses.head import unwrapped
from regimen.finetune.results import export
from regimen.finetune.results.asked import write_asked
from regimen.finetune.results.card import card
from regimen.finetune.results.proof import Proof, logits, probe, prove
from regimen.finetune.session import Session
from regimen.finetune.texttask import LanguageTask
from regimen.records.reader import Record
from regimen.records.writer import replace_file
from regimen.spec import RunSpec

if TYPE_CHECKING:
    from regimen.finetune.strategy import TrainingStrategy


def finish(
    session: Session,
    strategy: TrainingStrategy,
    model: nn.Module,
    splits: Mapping[str, Any],
    samples: Samples,
    final: Mapping[str, float],
) -> dict[str, float]:
    """The final metrics with those of test split and proof; `model` holds the weights that are the result."""
    task = session.task
    assert task is not None
    metrics = dict(final) | _test(session, strategy, model, task.tokenizer, splits.get("test"))
    if not session.processes.first:
        return metrics
    samples.ask_after(model)
    if not hasattr(unwrapped(model), "save_pretrained"):
        session.run.note(f"warning: nothing was exported: {type(unwrapped(model)).__name__} has no save_pretrained.")
        return metrics
    ids = probe(splits)
    trained = logits(model, ids)  # before anything is saved: saving must not touch the model either
    folder = export.save(model, task.tokenizer, task, session.run.artifacts)
    metrics |= _as_metrics(prove(session, model, trained, folder, ids, strategy.quantize))
    chat = _trains_chats(strategy, task)
    if not strategy.prepares_itself:
        write_asked(folder, chat=chat)
    _write_card(session, model, folder, metrics, chat=chat)
    return metrics


def _test(
    session: Session, strategy: TrainingStrategy, model: nn.Module, tokenizer: PreTrainedTokenizerBase, split: Any
) -> dict[str, float]:
    """`test/...`: looked at here, once, with the weights that are the result."""
    rows = token_rows(split)
    if rows is None:
        return {}
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    torch.manual_seed(session.run.seed_for("test"))
    try:
        with torch.no_grad(), session.autocast():
            values = Evaluation(strategy, model, rows, tokenizer, session, loss_function(strategy), "test").values()
    except StrategyFailed as error:  # hours of training are not given up for one number
        session.run.note(f"warning: the test split could not be evaluated: {error}")
        return {}
    finally:
        for module, mode in modes:
            module.training = mode
    session.run.log(session.run.spent.steps, values)
    return values


def _as_metrics(proof: Proof) -> dict[str, float]:
    if proof.problem:
        return {}
    return {
        "final/proof_reload_difference": proof.reload_difference,
        "final/proof_base_difference": proof.base_difference,
    }


def _write_card(session: Session, model: nn.Module, folder: Path, metrics: Mapping[str, float], *, chat: bool) -> None:
    run = session.run
    if isinstance(run.settings, RunSpec) and (run.folder / "spec.yaml").exists():
        text = card(Record(run.folder), run.settings, metrics, kind=export.kind_of(model), chat=chat)
        replace_file(folder / "README.md", text.encode())


def _trains_chats(strategy: TrainingStrategy, task: LanguageTask) -> bool:
    """Whether the rows are chats under the tokenizer's template, rather than plain text."""
    if strategy.prepares_itself:
        return False  # its rows may have no layout that we know
    layout = task.layout(strategy.layouts)
    row = convert(task.rows["train"][0], layout, Faults())
    return isinstance(row, Conversation) or (not isinstance(row, Text) and not isinstance(row.prompt, str))
