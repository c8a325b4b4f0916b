"""What is tuned: for each settings path a range or a list of values, and where a value lies in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from regimen.complaints import shown
from regimen.spec import Frozen

DIGITS = 10
"""Significant digits of a tuned value: the same number on every machine, whatever the last bits of its logarithm."""
_NEAR = 0.05
"""A drawn value in the outer twentieth of its range is at the edge."""
Edge = Literal["low", "high"]


class Range(Frozen):
    """Numbers between two ends, both included."""

    low: float
    """the lower end"""
    high: float
    """the upper end"""
    log: bool = False
    """evenly spaced factors instead of evenly spaced differences; the ends must be above 0"""
    points: Annotated[int, Field(ge=2)] | None = None
    """how many of them a grid tries, ends included"""
    whole: bool = False
    """whole numbers only"""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise _wrong(f"ends at {self.high:g}, which is not above its low end {self.low:g}.", "Swap or change them.")
        if self.log and self.low <= 0:
            raise _wrong(
                f"begins at {self.low:g}, and a logarithmic range lies above 0.", "Raise low, or set log: false."
            )
        if self.whole and (self.low % 1 or self.high % 1):
            raise _wrong(f"goes from {self.low:g} to {self.high:g} in whole numbers.", "Give whole ends.")
        return self

    def at(self, part: float) -> float | int:
        """The value at `part` in [0, 1] of the range."""
        if self.whole and not self.log:  # each number is as likely as any other
            return int(min(self.low + math.floor(part * (self.high - self.low + 1)), self.high))
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = low + part * (high - low)
        return self.rounded(math.exp(value) if self.log else value)

    def rounded(self, value: float) -> float | int:
        return round(value) if self.whole else float(f"{value:.{DIGITS}g}")

    def grid(self) -> list[float | int]:
        """`points` values, ends included; fewer where whole numbers coincide."""
        assert self.points is not None
        ends = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        between = [ends[0] + (ends[1] - ends[0]) * index / (self.points - 1) for index in range(self.points)]
        return list(dict.fromkeys(self.rounded(math.exp(value) if self.log else value) for value in between))

    def edge(self, value: Any, *, drawn: bool) -> Edge | None:
        """The end at which a value lies: of a grid the first and the last point, of drawn values an outer twentieth."""
        if self.log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        near = _NEAR if drawn else 1e-6
        return "low" if part <= near else "high" if part >= 1 - near else None


class Choices(Frozen):
    """Values one by one: numbers, words, yes or no, or whole groups of settings."""

    choices: Annotated[list[Any], Field(min_length=1)]
    """the values; a list alone means the same"""

    def at(self, part: float) -> Any:
        return self.choices[min(int(part * len(self.choices)), len(self.choices) - 1)]

    def grid(self) -> list[Any]:
        return list(self.choices)

    def edge(self, value: Any, *, drawn: bool) -> Edge | None:
        """The first or last of three and more numbers; other values have no order."""
        if len(self.choices) < 3 or not all(type(choice) in (int, float) for choice in self.choices):
            return None
        return "low" if value == min(self.choices) else "high" if value == max(self.choices) else None


Dimension = Range | Choices
Space = Mapping[str, Dimension]


def dimension_of(value: object) -> Dimension:
    """A dimension from `{low, high, ...}`, `{choices: [...]}` or a list."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, list):
        value = {"choices": value}
    if not isinstance(value, dict):
        raise _wrong("is neither a range nor a list of values.", "Write {low: 1e-5, high: 1e2, log: true} or [a, b].")
    model: type[Range] | type[Choices] = Choices if "choices" in value else Range
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise PydanticCustomError("nested", "{nested}", {"nested": error, "model": model}) from None


def by_path(value: object) -> object:
    """A space as written, if it is a mapping."""
    if isinstance(value, Mapping):
        return value
    fix = "Write {strategy.optimizer.lr: {low: 1e-5, high: 1e2, log: true}}."
    raise _wrong(f"is {shown(value)}; expected settings paths, each with values to try.", fix)


def _wrong(problem: str, fix: str) -> PydanticCustomError:
    return PydanticCustomError("space", "{problem}", {"problem": problem, "fix": fix})
