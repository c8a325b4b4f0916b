"""A strategy that gets into trouble where the variable TROUBLE says: `how:process:batch`, or `nan:any:row`."""

import os
import signal
from typing import Any

import torch
from torch import nn

from regimen.finetune.strategy import TrainingStrategy
from regimen.strategy import Loss


class Troubled(TrainingStrategy):
    """Supervised fine-tuning that fails, diverges, is killed or asked to stop at a given batch of one process."""

    name = "troubled"
    _batches = 0

    def compute_loss(self, model: nn.Module, batch: Any) -> Loss:
        loss = super().compute_loss(model, batch)
        how, process, number = os.environ.get("TROUBLE", "none:0:0").split(":")
        if how == "nan" and int(number) in batch.rows:
            return Loss(loss.sum * float("nan"), loss.count)
        if not torch.is_grad_enabled():
            return loss
        self._batches += 1
        if (process, number) != (os.environ.get("RANK", "0"), str(self._batches)):
            return loss
        if how == "fail":
            raise ValueError("an odd row")
        if how == "ahead":
            self.session.run._earlier_s += 0.5  # its clock
        if how in ("kill", "term"):
            os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGTERM)
        return loss
