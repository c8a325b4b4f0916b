"""Random search: architectures drawn evenly from those that keep the limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from regimen.nas.searcher import Searcher
from regimen.nas.space import Architecture


class RandomSearcher(Searcher):
    """Evaluates random architectures, and takes the best: what every other searcher must beat."""

    name = "random"

    batch: Annotated[int, Field(ge=1, description="how many are evaluated together")] = 50

    def ask(self) -> list[Architecture]:
        return self.several(self.batch)
