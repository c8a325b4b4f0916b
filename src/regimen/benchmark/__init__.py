"""Optimizer benchmarks: what a runner or a test problem is written with."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regimen.benchmark.examples import Examples, Splits
    from regimen.benchmark.images import ImageProblem
    from regimen.benchmark.problem import Batch, Problem
    from regimen.benchmark.runner import Runner
    from regimen.benchmark.testproblem import TestProblem
    from regimen.benchmark.tokens import TokenProblem

_HOMES = {
    "Batch": "problem",
    "Examples": "examples",
    "ImageProblem": "images",
    "Problem": "problem",
    "Runner": "runner",
    "Splits": "examples",
    "TestProblem": "testproblem",
    "TokenProblem": "tokens",
}
__all__ = ["Batch", "Examples", "ImageProblem", "Problem", "Runner", "Splits", "TestProblem", "TokenProblem"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'regimen.benchmark' has no attribute {name!r}")
    return getattr(importlib.import_module(f"regimen.benchmark.{_HOMES[name]}"), name)
