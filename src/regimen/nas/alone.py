"""Networks on their own: trained from scratch with the settings of the sampler, and looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from regimen.errors import Diverged
from regimen.handle import Run
from regimen.nas.classbatches import ClassBatches
from regimen.nas.evaluating.supernet_evaluator import rows_at_once
from regimen.nas.images import PictureBatches, Pictures
from regimen.nas.space import Architecture
from regimen.nas.stages import StageRun
from regimen.nas.supernettask import SupernetTask
from regimen.nas.tabular import written
from regimen.nas.training import Learning, Trained, train_network
from regimen.seeding import seed_globals

if TYPE_CHECKING:
    from regimen.nas.sampler import Sampler

_MOST_ROWS = 500
"""That are looked at together."""


class Alone:
    """How a network of the task's space is trained without the others."""

    def __init__(
        self, sampler: Sampler, task: SupernetTask, train: Pictures, valid: Pictures, device: torch.device
    ) -> None:
        self.sampler, self.task, self.train, self.valid, self.device = sampler, task, train, valid, device
        self.criterion = sampler.made_criterion
        self.inputs = task.inputs(self.criterion.num_outputs(task.num_classes))
        self.rows_at_once = rows_at_once(valid.classes, self.inputs.num_classes, _MOST_ROWS)

    def trained(self, architecture: Architecture, run: Run) -> Trained:
        """The network after training within the run's budget."""
        seed_globals(run.seed_for("initial weights"), self.device)
        network = self.task.space.make_network(architecture, self.inputs)
        model = Trained(network, self.criterion.head(self.task.num_classes)).to(self.device)

        def evaluate() -> Mapping[str, float]:
            loss, accuracy = self.looked_at(model, self.valid)
            return {"valid/loss": loss, "valid/accuracy": accuracy}

        train_network(self.learning(run), model, self.batches(run), evaluate)
        return model

    def accuracy(self, architecture: Architecture, seed: int, stage: StageRun) -> float:
        """On the rows for searching after training within the stage's budget, with this seed; nothing of it is recorded
        but that it diverged, and then it is NaN. Raises `Stopped` as soon as the stage is asked to stop.
        """
        try:
            model = self.trained(architecture, stage.unrecorded_with(seed))
        except Diverged as error:
            stage.note(f"{written(architecture)} diverged when it was trained alone: {error}")
            return math.nan
        return self.looked_at(model, self.valid)[1]

    def looked_at(self, model: Trained, rows: Pictures) -> tuple[float, float]:
        """(loss, accuracy) over all rows, in evaluation mode."""
        before = model.training
        model.eval()
        loss, right = 0.0, 0.0
        batches = zip(rows.inputs.split(self.rows_at_once), rows.classes.split(self.rows_at_once), strict=True)
        with torch.no_grad():
            for inputs, classes in batches:
                outputs = model(inputs)
                loss += float(self.criterion.losses(outputs, classes, model.criterion_head).sum(dtype=torch.float64))
                right += float(self.criterion.hits(outputs, classes, model.criterion_head).sum())
        model.train(before)
        return loss / len(rows.classes), right / len(rows.classes)

    @torch.no_grad()
    def test_metrics(self, model: Trained, rows: Pictures) -> dict[str, float]:
        """What the task says of the rows that are looked at once: its own numbers, or loss and accuracy."""
        if not self.task.judges_embeddings:
            loss, accuracy = self.looked_at(model, rows)
            return {"test/loss": loss, "test/accuracy": accuracy}
        model.eval()
        outputs = torch.cat([model(inputs) for inputs in rows.inputs.split(self.rows_at_once)])
        return {f"test/{name}": value for name, value in self.task.judged(self.criterion.embeddings(outputs)).items()}

    def batches(self, run: Run) -> PictureBatches:
        """The training rows, in the orders of this run."""
        size, seed, each = self.sampler.batch_size, run.seed_for("rows"), self.criterion.rows_of_a_class()
        order = None
        if each > 1:  # a criterion that compares rows needs several of a class in a batch
            classes = self.train.classes.cpu().numpy()
            order = ClassBatches(classes, batch_size=size, rows_of_a_class=each, seed=seed)
        return PictureBatches(self.train, size, seed, self.task.augment, self.device, order)

    def learning(self, run: Run) -> Learning:
        """How the sampler's settings say that weights learn."""
        sampler = self.sampler
        return Learning(run, self.criterion, sampler.optimizer, sampler.schedule, sampler.clip_norm, self.device)
