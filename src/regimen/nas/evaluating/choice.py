"""Which evaluator a search uses, as settings: `synflow`, or `{name: standalone, epochs: 5}`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from regimen.spec import Frozen, name_alone

EvaluatorName = Literal["supernet", "standalone", "synflow", "snip", "jacob_cov", "naswot"]
_EPOCHS = 5.0
_ROWS = 64
_TAKES = {"supernet": set[str](), "standalone": {"epochs", "seeds"}}
_PROXIES_TAKE = {"rows", "seeds"}


class EvaluatorSettings(Frozen):
    """What judges the architectures of a search. Only `supernet` needs a trained supernet."""

    _name_alone = model_validator(mode="before")(name_alone)

    name: EvaluatorName = "supernet"
    """supernet: accuracy with the shared weights; standalone: accuracy after training each alone; the others are scores
    of networks that were never trained
    """
    epochs: Annotated[float, Field(gt=0)] | None = None
    """of each training, for `standalone`; unset: 5"""
    rows: Annotated[int, Field(ge=2)] | None = None
    """training rows that a network is scored on, for synflow, snip, jacob_cov and naswot; unset: 64"""
    seeds: Annotated[int, Field(ge=1)] | None = None
    """first weights that a quality is the mean over, for all but `supernet`; unset: 1"""

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        for key in ("epochs", "rows", "seeds"):
            if getattr(self, key) is not None and key not in _TAKES.get(self.name, _PROXIES_TAKE):
                problem = f"is {getattr(self, key):g}, and has no effect on {self.name}."
                context = {"problem": problem, "keys": (key,), "fix": "Remove it, or choose another evaluator."}
                raise PydanticCustomError("no_effect", "{problem}", context)
        return self

    @property
    def needs_supernet(self) -> bool:
        return self.name == "supernet"

    @property
    def is_proxy(self) -> bool:
        return self.name not in _TAKES

    @property
    def metric(self) -> str:
        """What its qualities are recorded as."""
        return "score" if self.is_proxy else "accuracy"

    @property
    def words(self) -> str:
        """What its qualities are, for people."""
        if self.is_proxy:
            return f"score of {self.name}"
        if self.needs_supernet:
            return "accuracy with the supernet's weights"
        return f"accuracy after {_epochs(self.num_epochs)} alone"

    @property
    def who(self) -> str:
        """Who judges, at the beginning of a sentence in the singular."""
        if self.is_proxy:
            return self.name
        return "The supernet" if self.needs_supernet else f"Training for {_epochs(self.num_epochs)}"

    @property
    def num_epochs(self) -> float:
        return self.epochs or _EPOCHS

    @property
    def num_rows(self) -> int:
        return self.rows or _ROWS

    @property
    def num_seeds(self) -> int:
        return self.seeds or 1


def _epochs(number: float) -> str:
    return f"{number:g} epoch{'' if number == 1 else 's'}"
