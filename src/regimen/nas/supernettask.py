"""A supernet and pictures to classify: what every task of architecture search has."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from regimen.choices import PluginOf
from regimen.nas.images import PictureSplits
from regimen.nas.searchspace import Inputs, SearchSpace
from regimen.nas.space import Architecture
from regimen.settings import PluginSettings
from regimen.spec import Budget, Choice, Frozen
from regimen.task import Task


class SupernetSettings(Frozen):
    """The supernet that is trained."""

    space: Annotated[Choice, PluginOf("space"), Field(description="the search space, with its settings")] = Choice(
        name="chain"
    )


class SupernetTask(Task):
    """The base of tasks of architecture search: a subclass says in `read` where the pictures are."""

    supernet: Annotated[SupernetSettings, Field(description="what is searched")] = SupernetSettings()

    num_epochs: ClassVar[int] = 20
    """The usual budget of the supernet."""

    def read(self) -> PictureSplits:
        """The pictures, the same for every seed. Raises `DataError`."""
        raise TypeError(f"{type(self).__name__} has no read()")

    def augment(self, inputs: Tensor, generator: np.random.Generator) -> Tensor:
        """Training pictures (B, C, H, W) changed at random."""
        return inputs

    judges_embeddings: ClassVar[bool] = False
    """Whether the test rows are judged by their embeddings, since training has not seen their classes."""

    def judged(self, embeddings: Tensor) -> dict[str, float]:
        """Numbers of the test rows, from their embeddings (N, D), in order."""
        raise TypeError(f"{type(self).__name__} has no judged(embeddings)")

    def export(self, network: nn.Module, architecture: Architecture, folder: Path) -> None:
        """Leaves what was found in a form that others read; by default nothing."""

    @cached_property
    def splits(self) -> PictureSplits:
        return self.read()

    @cached_property
    def space(self) -> SearchSpace:
        chosen = self.supernet.space
        assert isinstance(chosen, PluginSettings)
        made: SearchSpace = chosen.plugin.make(chosen)
        return made

    def inputs(self, num_outputs: int | None = None) -> Inputs:
        """What networks get and give; `num_outputs` where a criterion wants another number than one a class."""
        _, channels, height, width = self.splits.train.inputs.shape
        return Inputs(channels, height, width, num_outputs or self.num_classes)

    @property
    def num_classes(self) -> int:
        return int(self.splits.train.classes.max()) + 1

    @property
    def usual_budget(self) -> Budget:
        return Budget(epochs=self.num_epochs)

    def fingerprint(self) -> str:
        """Hash of all pictures and classes."""
        digest = hashlib.sha256()
        for part in (self.splits.train, self.splits.valid, self.splits.test):
            for tensor in part:
                digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        splits = self.splits
        return {
            "rows": {name: len(getattr(splits, name).classes) for name in ("train", "valid", "test")},
            "space": self.supernet.space.name,
        }
