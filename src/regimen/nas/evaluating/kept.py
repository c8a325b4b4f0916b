"""Activations that are kept within so many bytes; those that were not used for longest go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from torch import Tensor


class Kept:
    """Tensors by key. What does not fit into `max_bytes` is not kept; 0 keeps nothing."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._tensors: OrderedDict[Hashable, Tensor] = OrderedDict()

    def get(self, key: Hashable) -> Tensor | None:
        """The tensor, which counts as used now; None where it is not kept."""
        found = self._tensors.get(key)
        if found is not None:
            self._tensors.move_to_end(key)
        return found

    def put(self, key: Hashable, tensor: Tensor) -> None:
        if tensor.nbytes > self.max_bytes or key in self._tensors:
            return
        self._tensors[key] = tensor
        self.num_bytes += tensor.nbytes
        while self.num_bytes > self.max_bytes:
            self.num_bytes -= self._tensors.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        self._tensors.clear()
        self.num_bytes = 0
