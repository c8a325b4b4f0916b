"""A tree of stages: architectures that begin alike share what they compute, and each stage is computed once.

A batch goes through the tree depth first, so that only the activations of one path from the root are held at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn

from regimen.nas.evaluating.kept import Kept

StageKey = tuple[int, ...]
"""Names a stage; equal keys after equal keys compute the same."""
Prefix = tuple[StageKey, ...]
Stage = tuple[StageKey, nn.Module]


class Node:
    """A stage behind all stages that led to it."""

    def __init__(self, prefix: Prefix, module: nn.Module) -> None:
        self.prefix, self.module = prefix, module
        self.children: dict[StageKey, Node] = {}
        self.ends: list[int] = []
        """Numbers of the architectures whose last stage this is."""

    @property
    def key(self) -> StageKey:
        return self.prefix[-1]

    @property
    def depth(self) -> int:
        """1 for a first stage."""
        return len(self.prefix)


class PrefixTree:
    """The stages of some architectures, each prefix once.

    >>> tree = PrefixTree([[((0,), stem), ((1, 0), a)], [((0,), stem), ((1, 1), b)]])      # doctest: +SKIP
    >>> len(tree.nodes)                                                                   # doctest: +SKIP
    3
    """

    def __init__(self, architectures: Sequence[Sequence[Stage]]) -> None:
        top = Node((), nn.Identity())
        for number, stages in enumerate(architectures):
            node = top
            for key, module in stages:
                if key not in node.children:
                    node.children[key] = Node((*node.prefix, key), module)
                node = node.children[key]
            node.ends.append(number)
        self.nodes = _depth_first(top)
        """Each node behind its parent, and behind all that comes from the parent's earlier children."""
        self._deepest = max((node.depth for node in self.nodes), default=0)

    def outputs(
        self,
        inputs: Tensor,
        compute: Callable[[Node, Tensor], Tensor],
        wanted: Callable[[Node], bool],
        kept: Kept,
    ) -> Iterator[tuple[Node, Tensor]]:
        """The outputs of the wanted nodes for one batch, in the order of `nodes`.

        `compute(node, inputs)` runs a stage on what its parent gave: for each wanted node, and for what it needs down
        from the deepest activation that is in `kept`, where those of inner nodes are put. An output must not be changed
        in place: others need it.
        """
        trail: list[Node | None] = [None] * (self._deepest + 1)
        values: list[Tensor | None] = [inputs, *[None] * self._deepest]
        for node in self.nodes:
            trail[node.depth] = node
            values[node.depth :] = [None] * (len(values) - node.depth)  # frees what the last path held
            if not wanted(node):
                continue
            output = self._known(trail, values, node.depth - 1, kept)
            for depth in range(output[0] + 1, node.depth + 1):
                at = trail[depth]
                assert at is not None
                output = (depth, compute(at, output[1]))
                values[depth] = output[1]
                if at.children:
                    kept.put(at.prefix, output[1])
            yield node, output[1]

    def _known(
        self, trail: Sequence[Node | None], values: list[Tensor | None], depth: int, kept: Kept
    ) -> tuple[int, Tensor]:
        """The deepest activation on the way to `depth` that is there, and its depth; 0 is the batch."""
        while (value := values[depth]) is None:
            node = trail[depth]
            assert node is not None
            value = values[depth] = kept.get(node.prefix)
            if value is not None:
                break
            depth -= 1
        return depth, value


def _depth_first(top: Node) -> list[Node]:
    order: list[Node] = []
    left = list(reversed(top.children.values()))
    while left:
        node = left.pop()
        order.append(node)
        left.extend(reversed(node.children.values()))
    return order
