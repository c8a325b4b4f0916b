"""Trains a supernet on the paths that a sampler plans, and a single network, both with the one trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regimen.handle import Run
from regimen.nas.images import PictureBatches, Pictures
from regimen.nas.sampler import Path, Sampler
from regimen.nas.supernet import Supernet
from regimen.optim import Optimizer, make_optimizer
from regimen.processes import Processes
from regimen.strategy import Loss
from regimen.trainer import Plan, RateSchedule, Trainer

if TYPE_CHECKING:
    from regimen.nas.criterion import Criterion

Evaluate = Callable[[], Mapping[str, float]]


class Learning:
    """What the loop of a classifier is made of: how it learns, and what it makes small."""

    def __init__(
        self,
        run: Run,
        criterion: Criterion,
        optimizer: Optimizer,
        schedule: RateSchedule,
        clip_norm: float | None,
        device: torch.device,
    ) -> None:
        self.run, self.criterion, self.optimizer, self.schedule = run, criterion, optimizer, schedule
        self.clip_norm, self.device = clip_norm, device

    def trainer(
        self,
        model: nn.Module,
        batches: PictureBatches,
        loss: Callable[[nn.Module, Any], Loss | Iterator[Loss]],
        evaluate: Evaluate,
        state: Mapping[str, Any] | None = None,
    ) -> Trainer:
        settings = self.run.settings
        plan = Plan(
            schedule=self.schedule,
            clip_norm=self.clip_norm,
            precision="fp32" if settings.precision == "auto" else settings.precision,
            evaluate=settings.evaluate,
            checkpoint=settings.checkpoint,
            log=settings.log,
        )
        on_gpu = self.device.type == "cuda"
        optimizer = make_optimizer(self.optimizer, model.parameters(), on_gpu=on_gpu, partial=True)
        processes = Processes(rank=0, world=1, device=self.device)
        return Trainer(
            model, batches, loss, optimizer, self.run, plan, evaluate=evaluate, state=state, processes=processes
        )


class Trained(nn.Module):
    """A network together with the weights of its criterion, which are trained with it."""

    def __init__(self, network: nn.Module, head: nn.Module | None) -> None:
        super().__init__()
        self.network, self.criterion_head = network, head

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.network(inputs)
        return outputs


def train_supernet(
    learning: Learning,
    model: Trained,
    sampler: Sampler,
    batches: PictureBatches,
    evaluate: Evaluate,
    parts: Mapping[str, Any],
    before: Callable[[int], None],
) -> dict[str, float]:
    """Trains within the run's budget; a step is what `sampler.plan` says, on one batch. `before(step)` is called after
    the plan, in the forward state of its first path; `parts` are what checkpoints hold besides.
    """
    supernet = model.network
    assert isinstance(supernet, Supernet)

    def losses(_: nn.Module, batch: Pictures) -> Iterator[Loss]:
        paths = sampler.plan(trainer.at.step)
        activate(supernet, paths[0])  # what `before` finds must follow from the step alone, also after a resume
        before(trainer.at.step)
        outputs: list[Tensor] = []
        seen: list[Tensor] = []
        for number, path in enumerate(paths):
            activate(supernet, path)
            made = model(batch.inputs)
            outputs.append(made.detach())
            per_row = _path_losses(learning.criterion, model, path, made, outputs, batch.classes)
            seen.append(per_row.detach().mean())
            # The first path's rows are the count, so that the step's gradient is the sum of the paths' own means.
            metrics = {"path_loss": (per_row.detach().sum(), len(per_row))}
            yield Loss(path.weight * per_row.sum(), len(per_row) if number == 0 else 0, metrics)
        if type(sampler).observe is not Sampler.observe:
            sampler.observe([float(loss) for loss in seen])

    trainer = learning.trainer(model, batches, losses, evaluate, parts)
    return trainer.train()


def train_network(learning: Learning, model: Trained, batches: PictureBatches, evaluate: Evaluate) -> dict[str, float]:
    """Trains one network, as any classifier."""

    def loss(_: nn.Module, batch: Pictures) -> Loss:
        per_row = learning.criterion.losses(model(batch.inputs), batch.classes, model.criterion_head)
        return Loss(per_row.sum(), len(per_row))

    return learning.trainer(model, batches, loss, evaluate).train()


def activate(supernet: Supernet, path: Path) -> None:
    """Has the next forward pass be that of the path."""
    supernet.set_forward_state(path.forward, path.tau)
    if path.architecture is not None:
        supernet.set_activate_architecture(path.architecture)


def _path_losses(
    criterion: Criterion, model: Trained, path: Path, made: Tensor, outputs: list[Tensor], classes: Tensor
) -> Tensor:
    """(B,): the criterion's, or its distance to the outputs of an earlier path (in-place distillation, Yu et al.,
    arXiv:1903.05134).
    """
    if path.distill_from is None:
        return criterion.losses(made, classes, model.criterion_head)
    return criterion.distilled(made, outputs[path.distill_from], model.criterion_head)
