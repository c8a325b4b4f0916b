"""One path a step, drawn from the architecture parameters, with a gradient for them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from regimen.nas.supernet import ForwardState
from regimen.strategies.nas.gumbel import GumbelSampler


class GDASSampler(GumbelSampler):
    """Draws one choice a layer with Gumbel noise and computes it alone; the architecture parameters get the gradient of
    the probability that it was drawn with (GDAS, Dong and Yang, arXiv:1910.04465).

    A step costs what a single path costs. The temperature is multiplied by `decay` from step to step; in the paper it
    falls in a line. Choose `search: differentiable` with it, which moves the architecture parameters.
    """

    name = "gdas"
    forward: ClassVar[ForwardState] = "gumbel_single"

    tau: Annotated[float, Field(gt=0, description="temperature at the first step; high is an even draw's gradient")] = (
        10.0
    )
