"""How good architectures are when each is trained alone: the truth that a supernet's ranking is held against."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from regimen.nas.space import Architecture, Space

TrainAlone = Callable[[Architecture, int], float]
"""(architecture, seed) to its quality; NaN where it could not be trained."""


class StandaloneEvaluator:
    """The mean quality over some seeds, each network trained once a seed.

    >>> evaluator = StandaloneEvaluator(space, train, seeds=(0, 1))             # doctest: +SKIP
    >>> evaluator.evaluate([(0, 1, 2)])                                         # doctest: +SKIP
    [0.87]
    >>> evaluator.by_seed[(0, 1, 2)]                                            # doctest: +SKIP
    {0: 0.86, 1: 0.88}

    How well two seeds agree about the order is the noise ceiling of any ranking. `state_dict` holds what was trained,
    so that an interrupted comparison goes on where it was.
    """

    def __init__(
        self,
        space: Space,
        train: TrainAlone,
        seeds: Sequence[int] = (0,),
        after_each: Callable[[], None] = lambda: None,
    ) -> None:
        """`after_each` is called when a network has been trained: a place to save `state_dict`, or to stop."""
        assert len(set(seeds)) == len(seeds) > 0, "seeds are different, and there is one"
        self.space, self.train, self.seeds, self.after_each = space, train, tuple(seeds), after_each
        self.by_seed: dict[Architecture, dict[int, float]] = {}
        """Quality by seed, of the canonical forms of all that was trained."""

    def evaluate(self, architectures: Sequence[Architecture]) -> list[float]:
        """One mean for each, in order; NaN where a seed of it is."""
        forms = [self.space.canonical(self.space.check(architecture)) for architecture in architectures]
        for form in dict.fromkeys(forms):
            known = self.by_seed.setdefault(form, {})
            for seed in self.seeds:
                if seed not in known:
                    known[seed] = float(self.train(form, seed))
                    self.after_each()
        return [math.fsum(self.by_seed[form][seed] for seed in self.seeds) / len(self.seeds) for form in forms]

    def state_dict(self) -> dict[str, Any]:
        """What was trained, as lists."""
        trained = [
            [list(form), seed, quality] for form, known in self.by_seed.items() for seed, quality in known.items()
        ]
        return {"trained": trained}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.by_seed = {}
        for architecture, seed, quality in state["trained"]:
            self.by_seed.setdefault(self.space.check(architecture), {})[int(seed)] = float(quality)
