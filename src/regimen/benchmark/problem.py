"""Test problems: a net, a loss, data and a regulariser, declared in a few lines.

A problem is a task of the benchmark family. It is light: data are read and the net is made when a run begins, through
`read` and `make_net`. What a runner gets is the live `TestProblem` that is made of it.
"""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.benchmark.examples import Examples, Splits
from regimen.spec import Budget
from regimen.task import Task


class Batch(NamedTuple):
    """What one forward pass sees; B rows."""

    inputs: Tensor
    """(B, ...)"""
    targets: Tensor
    """(B, ...)"""


class Problem(Task):
    """The base of test problems. A subclass gives `name`, `num_epochs`, `num_parameters`, `read` and `make_net`, and
    what else differs from classification by cross-entropy.

    >>> class Moons(Problem):
    ...     name, num_epochs, num_parameters, batch_size = "moons", 20, 82, 32
    ...     def read(self): return Splits.made(train, test, valid_rows=200)                # doctest: +SKIP
    ...     def make_net(self): return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
    """

    batch_size: Annotated[int, Field(ge=1, description="rows a step; a last short batch of training rows is left out")]
    batch_size = 128
    weight_decay: Annotated[
        float,
        Field(
            ge=0,
            description="factor f of the penalty f/2 |w|^2 that the training loss gets; no hyperparameter of the "
            "optimizer, which may have a weight_decay of its own",
        ),
    ] = 0.0

    reshuffle: Annotated[
        bool,
        Field(
            description="another order of the rows in every epoch; false: one order for all, as DeepOBS' published "
            "results have it (its TensorFlow iterator began anew with the same seed)"
        ),
    ] = True

    num_epochs: ClassVar[int]
    """The usual budget, used where the settings give none."""
    num_parameters: ClassVar[int]
    """Of the net; a net with another number is an error."""

    # ------------------------------------------------------------------ what a problem says

    def read(self) -> Splits:
        """The data, the same for every seed. Raises `DataError` that says what is missing and how to get it."""
        raise TypeError(f"{type(self).__name__} has no read()")

    def make_net(self) -> nn.Module:
        """A net with its initial weights, drawn from torch's global generator, which is seeded by the run."""
        raise TypeError(f"{type(self).__name__} has no make_net()")

    def forward(self, net: nn.Module, batch: Batch) -> Any:
        """What the losses are computed from."""
        return net(batch.inputs)

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        """One loss a row, (B,), without the penalty. The problem's loss is their mean."""
        return F.cross_entropy(outputs, batch.targets, reduction="none")

    def hits(self, outputs: Any, batch: Batch) -> Tensor | None:
        """How right each row is, (B,) in [0, 1], or None for a problem without accuracy."""
        right: Tensor = outputs.argmax(dim=1) == batch.targets
        return right.float()

    def is_regularized(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether the penalty includes a parameter: weights do, biases do not."""
        return not name.endswith("bias")

    def transform(self, inputs: Tensor) -> Tensor:
        """Stored inputs as the net wants them: bytes to floats, scaled. Done to every batch of every split."""
        return inputs

    def augment(self, inputs: Tensor, generator: Any) -> Tensor:
        """Training inputs (B, ...) changed at random, with a NumPy generator of this batch; after `transform`."""
        return inputs

    def sample(self, rows: int) -> Examples:
        """Made-up examples of the right shape and range, for tests and estimates where the data are not at hand."""
        raise TypeError(f"{type(self).__name__} has no sample()")

    # ------------------------------------------------------------------ what the framework asks

    @property
    def usual_budget(self) -> Budget:
        return Budget(epochs=self.num_epochs)

    def fingerprint(self) -> str:
        """Hash of the problem's source; a problem that reads files adds theirs."""
        source = inspect.getsourcefile(type(self))
        return hashlib.sha256(Path(source).read_bytes() if source else b"").hexdigest()

    def describe(self) -> dict[str, Any]:
        return {
            "parameters": self.num_parameters,
            "rows": dict.fromkeys(("train_eval", "valid", "test"), None),
            "batch_size": self.batch_size,
            "weight_decay": self.weight_decay,
        }
