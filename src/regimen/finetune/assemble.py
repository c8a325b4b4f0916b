"""Puts a fine-tune together: token rows, batches, optimizer and evaluation as the parts of the one trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import torch
from torch import nn

from regimen.errors import Problem, SpecError, StrategyFailed
from regimen.finetune.batches.collate import collate_packed
from regimen.finetune.batches.order import Indices, length_batches
from regimen.finetune.batches.packing import pack
from regimen.finetune.evaluate import Evaluation
from regimen.finetune.foreign.stages import in_tokens, in_turn, token_stages
from regimen.finetune.session import Session
from regimen.finetune.tokens.tokenrows import TokenRows
from regimen.loading import Loader
from regimen.optim import OptimizerSettings, make_optimizer
from regimen.randomness import derived_generator
from regimen.strategy import Loss
from regimen.trainer import Plan, Trainer

if TYPE_CHECKING:
    from regimen.finetune.strategy import TrainingStrategy


def make_trainer(
    strategy: TrainingStrategy,
    model: nn.Module,
    train_dataset: Any,
    eval_dataset: Any,
    tokenizer: Any,
    config: Mapping[str, Any],
    callbacks: Sequence[Any],
) -> Trainer:
    """Regimen's own trainer over tokenized datasets. `callbacks` are called with (step, metrics) for every recorded
    line.
    """
    session = strategy.session or Session.by_hand(strategy, config)
    settings = session.run.settings
    pad_id = tokenizer.pad_token_id or 0
    stages = token_stages(strategy, train_dataset, tokenizer)
    train = TokenRows(stages[0] if len(stages) == 1 else datasets.concatenate_datasets(stages))
    valid = (
        TokenRows(in_tokens(strategy, eval_dataset, tokenizer))
        if eval_dataset is not None and len(eval_dataset)
        else None
    )
    for callback in callbacks:
        if not callable(callback):
            text = f"{type(callback).__name__} is not callable."
            raise SpecError(
                Problem(
                    "callbacks",
                    text,
                    "Regimen's trainer calls callback(step, metrics); a transformers one needs its own Trainer.",
                )
            )
        session.run.listen(callback)
    strategy.before_training(model, train, valid, pad_id)
    loss = loss_function(strategy)
    return Trainer(
        model,
        batches(strategy, train, pad_id, session, [len(stage) for stage in stages]),
        loss,
        make_optimizer(
            strategy.optimizer,
            parameter_groups(model, strategy.optimizer),
            on_gpu=session.processes.device.type == "cuda",
        ),
        session.run,
        Plan(
            schedule=strategy.schedule,
            accumulate=strategy.accumulate,
            clip_norm=strategy.clip_norm,
            precision=session.precision,
            evaluate=settings.evaluate,
            checkpoint=settings.checkpoint,
            log=settings.log,
        ),
        evaluate=Evaluation(strategy, model, valid, tokenizer, session, loss).values if valid else None,
        one_by_one=lambda batch: one_by_one(strategy, train, batch, pad_id, session.name_row),
        state={"strategy": strategy},
        processes=session.processes,
    )


def batches(
    strategy: TrainingStrategy, rows: TokenRows, pad_id: int, session: Session, sizes: Sequence[int] = ()
) -> Loader[Any]:
    """The training batches: rows of similar length together, or packed; their order follows from (seed, epoch).

    `sizes` are the rows of each stage, where there are stages: every epoch goes through them in turn.
    """
    seed, size = session.run.seed_for("order"), strategy.batch_size
    lengths = strategy.lengths(rows)
    more: dict[str, Any] = {
        "seed": session.run.seed_for("items"),
        "workers": session.run.settings.workers,
        "rank": session.processes.rank,
        "world": session.processes.world,
        "augment": getattr(strategy, "augment", None),
    }
    if not strategy.packing:

        def order(epoch: int) -> Sequence[Indices]:
            generator = derived_generator(seed, epoch)
            group = strategy.group_by_length
            return in_turn(
                sizes or [len(rows)], lengths, lambda part: length_batches(part, size, generator, group=group)
            )

        return Loader(rows, order, lambda items: strategy.collate(items, pad_id), **more)
    if len(sizes) > 1:
        fix = "Set packing: false; rows of different stages must not share a batch."
        raise SpecError(Problem("strategy.packing", "is true, and prepare_dataset returned stages.", fix))
    bins = pack(lengths, int(strategy.max_length or lengths.max()))

    def order_of_bins(epoch: int) -> Sequence[Indices]:
        return length_batches(
            np.ones(len(bins), dtype=np.int64),
            max(1, size // _rows_a_bin(bins)),
            derived_generator(seed, epoch),
            group=False,
        )

    return Loader(_Bins(rows, bins), order_of_bins, lambda items: collate_packed(items, pad_id), **more)


def _rows_a_bin(bins: Sequence[Indices]) -> int:
    """So that a batch of bins has about as many rows as `batch_size` says."""
    return max(1, round(sum(map(len, bins)) / len(bins)))


class _Bins(Sequence[Any]):
    def __init__(self, rows: TokenRows, bins: Sequence[Indices]) -> None:
        self.rows, self.bins = rows, bins

    def __len__(self) -> int:
        return len(self.bins)

    def __getitem__(self, index: Any) -> Any:
        return [self.rows[int(row)] for row in self.bins[index]]


def loss_function(strategy: TrainingStrategy) -> Callable[[nn.Module, Any], Loss]:
    """The strategy's `compute_loss`; a bare scalar is taken as the mean over the batch's rows."""

    def loss(model: nn.Module, batch: Any) -> Loss:
        made = strategy.compute_loss(model, batch)
        if isinstance(made, Loss):
            return made
        if not isinstance(made, torch.Tensor) or made.numel() != 1:
            kind = f"a tensor of shape {tuple(made.shape)}" if isinstance(made, torch.Tensor) else type(made).__name__
            raise StrategyFailed(
                Problem(
                    f"{type(strategy).__name__}.compute_loss",
                    f"returned {kind}.",
                    "Return Loss(sum, count), or a scalar mean.",
                )
            )
        count = len(getattr(batch, "rows", ())) or 1
        return Loss(made.reshape(()) * count, count)

    return loss


def parameter_groups(model: nn.Module, optimizer: OptimizerSettings) -> list[dict[str, Any]]:
    """Matrices decay; biases and norms (one dimension) do not, as is usual for transformers."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise StrategyFailed(
            Problem(
                "strategy.tuning", "leaves no parameter to train.", "Check target_modules, or choose another method."
            )
        )
    if not optimizer.hyperparameters.get("weight_decay", 0.01):
        return [{"params": trained}]
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    vectors = [parameter for parameter in trained if parameter.ndim <= 1]
    return [group for group in ({"params": matrices}, {"params": vectors, "weight_decay": 0.0}) if group["params"]]


def one_by_one(
    strategy: TrainingStrategy, rows: TokenRows, batch: Any, pad_id: int, name: Callable[[int], str]
) -> Iterator[tuple[str, Any]]:
    """The rows of a batch as batches of one, each with its file and line."""
    wanted = set(getattr(batch, "rows", ()))
    numbers: Iterable[int] = range(len(rows))
    for index in numbers:
        row = rows[index]
        if int(row["row"]) in wanted:
            yield name(int(row["row"])), strategy.collate([row], pad_id)
