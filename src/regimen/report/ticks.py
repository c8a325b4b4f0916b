"""Where an axis has its ticks and what they say, linear and logarithmic."""

from __future__ import annotations

import math
from typing import NamedTuple


class Tick(NamedTuple):
    at: float
    label: str


class Range(NamedTuple):
    low: float
    high: float


def linear_ticks(low: float, high: float, about: int = 5) -> list[Tick]:
    """Multiples of 1, 2 or 5 times a power of ten, within [low, high].

    >>> [tick.label for tick in linear_ticks(0, 1000)], [tick.label for tick in linear_ticks(1.02, 2.9)]
    (['0', '200', '400', '600', '800', '1,000'], ['1.5', '2', '2.5'])
    """
    if not high > low:
        return [Tick(low, label(low, 0.0))]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda size: abs(math.log(size / rough)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [Tick(place * step, label(place * step, step)) for place in range(first, last + 1)]


def step_ticks(low: float, high: float, about: int = 5) -> list[Tick]:
    """For a count: whole numbers only."""
    return [tick for tick in linear_ticks(low, high, about) if abs(tick.at - round(tick.at)) < 1e-9]


def log_ticks(low: float, high: float) -> list[Tick]:
    """Powers of ten, with 2 and 5 between them where there are few; `low` is above 0.

    >>> [tick.label for tick in log_ticks(0.8, 30)], [tick.label for tick in log_ticks(1e-6, 1)]
    (['1', '2', '5', '10', '20'], ['1e-6', '1e-4', '0.01', '1'])
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = max(1, math.ceil((len(decades) - 1) / 5))
    factors = (1, 2, 5) if high <= 100 * low else (1,)
    places = [factor * 10.0**power for power in decades if power % every == 0 for factor in factors]
    return [Tick(at, label(at, at)) for at in places if low * 0.9999 <= at <= high * 1.0001]


def label(value: float, step: float) -> str:
    """As few digits as tell ticks `step` apart.

    >>> label(0.25, 0.05), label(2e-5, 1e-5), label(40_000, 10_000), label(3_000_000, 1_000_000)
    ('0.25', '2e-5', '40k', '3M')
    """
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e15 or size < 1e-3:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    for unit, above in (("B", 1e9), ("M", 1e6), ("k", 1e4)):
        if size >= above:
            scale = {"B": 1e9, "M": 1e6, "k": 1e3}[unit]
            return f"{value / scale:.6g}{unit}"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 3
    return f"{value:,.{decimals}f}".rstrip("0").rstrip(".") if decimals else f"{value:,.0f}"


def padded(values: list[float], *, log: bool, share: float = 0.06) -> Range:
    """The range of `values` (finite, at least one; above 0 for `log`), a little wider, and never empty."""
    low, high = min(values), max(values)
    if log:
        ends = math.log10(low), math.log10(high)
        gap = share * (ends[1] - ends[0]) or 0.3
        return Range(10 ** (ends[0] - gap), 10 ** (ends[1] + gap))
    gap = share * (high - low) or abs(high) * 0.1 or 1.0
    bottom = low - gap
    return Range(0.0 if low >= 0 > bottom else bottom, high + gap)
