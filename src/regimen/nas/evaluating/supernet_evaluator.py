"""How good architectures are by the weights that a supernet gives them, many at a time.

The rows are cached on the device; the architectures go through a prefix tree, batch by batch; networks that are the
same are looked at once, in all calls; and nothing is read from the device before the end. The qualities are, bit for
bit, those of one pass over the rows for each architecture, with batches of the same size.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from regimen.errors import Problem, SpecError
from regimen.nas.evaluating import batchnorm
from regimen.nas.evaluating.batchnorm import Moments, Normalization, batch_norms
from regimen.nas.evaluating.kept import Kept
from regimen.nas.evaluating.prefixtree import Node, Prefix, PrefixTree, Stage, StageKey
from regimen.nas.space import Architecture, Space
from regimen.nas.supernet import Supernet

Scores = Callable[[Tensor, Tensor], Tensor]
"""(outputs, targets) of a batch to one number a row, (B,); larger is better."""

_MIB = 2**20
_MOST_ROWS, _FEWEST_ROWS = 1000, 64
_NUMBERS = 2**20
"""Inputs of a batch, unless rows are very large or very small: the activations of one path must fit into memory."""
_OUTPUTS = 2**25
"""Outputs of a batch, at most: 128 MiB. Only language models have so many, one a word for each token."""


def hits(outputs_BC: Tensor, targets_B: Tensor) -> Tensor:
    """(B,): whether the largest output is the target's. Its mean is the accuracy."""
    return outputs_BC.argmax(dim=1) == targets_B


class SupernetEvaluator:
    """The mean of `scores` over the rows, by default the accuracy.

    >>> evaluator = SupernetEvaluator(supernet, inputs, targets, calibration=train_inputs[:512])   # doctest: +SKIP
    >>> evaluator.evaluate([(0, 1, 2), (0, 1, 1)])                                                 # doctest: +SKIP
    [0.81, 0.79]

    What was found is kept until the supernet's weights change. Evaluating leaves the supernet as it was: modes, batch
    norm statistics, forward state and active architecture. The quality is NaN where an output is not finite.
    """

    def __init__(
        self,
        supernet: Supernet,
        inputs: Tensor,
        targets: Tensor,
        *,
        normalization: Normalization = "recalibrated",
        calibration: Tensor | None = None,
        batch_size: int | None = None,
        scores: Scores = hits,
        memory_mib: int = 512,
    ) -> None:
        """`inputs` (N, ...) and `targets` (N, ...) are the rows that are judged; `calibration` (M, ...) are training
        inputs for `recalibrated`, cut into equal batches, some 500 to 2,000 rows in all.

        `batch_size`, unset, is 64 to 1,000 rows by their size, and all rows for `batch`, where it is cut into equal
        batches otherwise; `scores` sees one batch at a time. Up to
        `memory_mib` of activations are kept between calls, so that the children of architectures that were evaluated
        cost only what is new in them; 0 keeps none. Statistics of batch norms (kilobytes a stage) are kept beside them.

        Raises `SpecError` for `recalibrated` without rows for it.
        """
        if normalization == "recalibrated" and calibration is None and batch_norms(supernet):
            text = "is missing: the batch norms of each architecture are recalibrated on training inputs."
            raise SpecError(Problem("calibration", text, "Give some, or choose `batch` or `running`."))
        assert len(inputs) == len(targets) > 0, "inputs and targets differ in number, or there are none"
        self.supernet, self.normalization, self.scores = supernet, normalization, scores
        self.device = next((p.device for p in supernet.parameters()), inputs.device)
        size = batch_size or (len(inputs) if normalization == "batch" else usual_batch(inputs))
        inputs, targets = inputs.to(self.device), targets.to(self.device)
        cut = _evenly if normalization == "batch" else torch.Tensor.split
        self._batches = list(zip(cut(inputs, size), cut(targets, size), strict=True))
        self._calibration: list[Tensor] = []
        if normalization == "recalibrated" and calibration is not None:
            self._calibration = list(_evenly(calibration.to(self.device), size))
        self.num_rows = len(inputs)
        each = memory_mib * _MIB // (len(self._batches) + len(self._calibration))
        # The same room for each batch: with one room for all, the first batches would push out the last, and then the
        # last the first, and nothing would ever be found.
        self._kept = [Kept(each) for _ in self._batches]
        self._kept_calibration = [Kept(each) for _ in self._calibration]
        self._keeps = memory_mib > 0
        self.rows_through: Counter[StageKey] = Counter()
        """How many rows each stage has computed so far, calibration included."""
        self._known: dict[Architecture, float] = {}
        self._moments: dict[Prefix, list[Moments]] = {}
        self._norms: dict[StageKey, list[_BatchNorm]] = {}
        self._overwrites: dict[StageKey, bool] = {}
        self._weights = self._version()

    @property
    def space(self) -> Space:
        return self.supernet.space

    def evaluate(self, architectures: Sequence[Architecture]) -> list[float]:
        """One quality for each, in order; the number of calls and the company of others change none."""
        if self._version() != self._weights:
            self.forget()
        forms = [self.space.canonical(self.space.check(architecture)) for architecture in architectures]
        new = sorted(set(forms) - self._known.keys())
        if new:
            self._known.update(zip(new, self._measure(new), strict=True))
        return [self._known[form] for form in forms]

    def forget(self) -> None:
        """Drops all that was found and kept. Done by itself when the supernet's weights have changed."""
        for kept in (*self._kept, *self._kept_calibration):
            kept.clear()
        self._known.clear()
        self._moments.clear()
        self._norms.clear()
        self._weights = self._version()

    @torch.no_grad()
    def _measure(self, architectures: Sequence[Architecture]) -> list[float]:
        tree = PrefixTree([self._stages(architecture) for architecture in architectures])
        total_N = torch.zeros(len(architectures), dtype=torch.float64, device=self.device)
        with self._unchanged():
            moments = self._calibrated(tree) if self._calibration else {}
            compute = self._with(moments)
            if self.normalization == "batch":
                batchnorm.apply_batch(batch_norms(self.supernet))
            for (inputs, targets), kept in zip(self._batches, self._kept, strict=True):
                for node, outputs in tree.outputs(inputs, compute, lambda node: bool(node.ends), kept):
                    total = self.scores(outputs, targets).sum(dtype=torch.float64)
                    total += 0 * outputs.sum()  # NaN where an output is not finite
                    for number in node.ends:
                        total_N[number] += total
        return (total_N / self.num_rows).tolist()

    def _calibrated(self, tree: PrefixTree) -> dict[Prefix, list[Moments]]:
        """The moments of each node's batch norms. A node's depend on the stages before it alone, as its outputs do."""
        moments = {node.prefix: self._moments[node.prefix] for node in tree.nodes if node.prefix in self._moments}
        new = {node.prefix for node in tree.nodes if self._norms_of(node) and node.prefix not in moments}
        for node in tree.nodes:
            if node.prefix not in moments:
                moments[node.prefix] = batchnorm.blank(self._norms_of(node), self.device)
        every = batch_norms(self.supernet)

        def compute(node: Node, inputs: Tensor) -> Tensor:
            norms = self._norms_of(node)
            known = node.prefix not in new
            batchnorm.use(norms, batchnorm.blank(norms, self.device) if known else moments[node.prefix])
            return self._through(node, inputs)

        for number, (inputs, kept) in enumerate(zip(self._calibration, self._kept_calibration, strict=True)):
            batchnorm.collect(every, number)
            for _ in tree.outputs(inputs, compute, lambda node: node.prefix in new, kept):
                pass
        batchnorm.apply_moments(every)
        if self._keeps:
            self._moments.update({node.prefix: moments[node.prefix] for node in tree.nodes if node.children})
        return moments

    def _with(self, moments: dict[Prefix, list[Moments]]) -> Callable[[Node, Tensor], Tensor]:
        """Runs a stage, with the moments of its place in the tree where there are any."""

        def compute(node: Node, inputs: Tensor) -> Tensor:
            if moments:
                batchnorm.use(self._norms_of(node), moments[node.prefix])
            return self._through(node, inputs)

        return compute

    def _through(self, node: Node, inputs: Tensor) -> Tensor:
        """What a stage gives. Others need `inputs`, too: a stage that writes into them gets a copy."""
        self.rows_through[node.key] += len(inputs)
        overwrites = self._overwrites.get(node.key)
        given = inputs if overwrites is False else inputs.clone()
        version = given._version
        outputs: Tensor = node.module(given)
        if overwrites is None:
            self._overwrites[node.key] = given._version != version
        return outputs

    def _stages(self, architecture: Architecture) -> list[Stage]:
        return self.supernet.stages(architecture) or [(architecture, Whole(self.supernet, architecture))]

    def _norms_of(self, node: Node) -> list[_BatchNorm]:
        if node.key not in self._norms:
            self._norms[node.key] = batch_norms(node.module)
        return self._norms[node.key]

    def _version(self) -> tuple[int, ...]:
        """Another one after any change of a weight or a buffer in place."""
        tensors = itertools.chain(self.supernet.parameters(), self.supernet.buffers())
        return tuple(number for tensor in tensors for number in (tensor.data_ptr(), tensor._version))

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        supernet = self.supernet
        state, tau, active = supernet.state, supernet.tau, supernet.active
        try:
            with batchnorm.undisturbed(supernet):
                yield
        finally:
            supernet.state, supernet.tau, supernet.active = state, tau, active


class Whole(nn.Module):
    """The network of an architecture as one stage, for supernets that are no chain."""

    def __init__(self, supernet: Supernet, architecture: Architecture) -> None:
        super().__init__()
        self.supernet, self.architecture = supernet, architecture

    def forward(self, inputs: Tensor) -> Tensor:
        self.supernet.set_forward_state("single")
        self.supernet.set_activate_architecture(self.architecture)
        outputs: Tensor = self.supernet(inputs)
        return outputs


def rows_at_once(targets: Tensor, num_outputs: int, most: int) -> int:
    """Up to `most`; fewer where their outputs, `num_outputs` for each target, would be large."""
    return max(1, min(most, _OUTPUTS // (targets[0].numel() * num_outputs)))


def usual_batch(inputs: Tensor) -> int:
    """64 to 1,000 rows, by the size of a row."""
    return min(_MOST_ROWS, max(_FEWEST_ROWS, _NUMBERS // max(1, inputs[0].numel())))


def _evenly(rows: Tensor, size: int) -> Sequence[Tensor]:
    """Batches of up to `size` rows that differ by one row at most: each counts the same in a mean over batches."""
    return rows.tensor_split(-(-len(rows) // size))
