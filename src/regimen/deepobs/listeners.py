"""Where the losses of a run go besides its record, when they are asked for: the screen, and TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from regimen.errors import MissingExtra
from regimen.events import Event, Metrics


class LossLines:
    """Prints each recorded training loss in a line."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Metrics) and "train/loss" in event.values:
            epoch, loss = event.values.get("train/epoch", 0.0), event.values["train/loss"]
            sys.stdout.write(f"epoch {epoch:.2f}, step {event.step}: loss {loss:g}\n")


class TensorBoard:
    """Writes every recorded number as a scalar; a context manager. Raises `MissingExtra` without the package."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra("tb_log needs the package tensorboard. Install it: pip install tensorboard.") from error
        self._writer: Any = SummaryWriter(log_dir=str(folder))

    def __call__(self, event: Event) -> None:
        if isinstance(event, Metrics):
            for name, value in event.values.items():
                self._writer.add_scalar(name, value, event.step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
