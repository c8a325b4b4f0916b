"""The processes that train together: one, or those that torchrun or Ray started, joined through Accelerate.

Small messages (flags, counts, texts) go over the CPU, gradients over the device. What one process dies of it tells the
others before it closes its connections, so none of them waits for it, and the first can record it.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch

from regimen.errors import Problem, ProcessLost, SpecError

T = TypeVar("T")

PATIENCE = timedelta(hours=2)
"""How long processes wait for the first while it alone generates, exports or proves."""
_LAUNCHED_BY = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_WORDS, _GONE = "regimen/last words", "regimen/gone"
_GOODBYE_S = 3.0
"""How long the process that keeps what others said stays for them to read it."""


def num_launched() -> int:
    """How many processes a launcher says there are; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process keeps the record: the only one, or rank 0 of those that a launcher started."""
    return num_launched() == 1 or int(os.environ.get("RANK", "0")) == 0


@dataclass(frozen=True)
class Processes:
    """This process among those that train together; alone, every method does the obvious."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this one keeps the record."""
        return self.rank == 0

    @classmethod
    def join(cls, device: str = "auto") -> Processes:
        """Joins the group that the launcher's variables describe (`WORLD_SIZE`); alone where there are none.

        The first call decides on which devices the group works; later ones find it. Raises `SpecError` where
        variables are missing.
        """
        if num_launched() == 1:
            return cls(0, 1, _device(device))
        missing = [name for name in _LAUNCHED_BY if name not in os.environ]
        if missing and not torch.distributed.is_initialized():
            text = f"is {os.environ['WORLD_SIZE']}, and {', '.join(missing)} is not set."
            raise SpecError(Problem("WORLD_SIZE", text, "Start with torchrun, or unset it to train in one process."))
        from accelerate import PartialState

        on_gpu = device != "cpu" and torch.cuda.is_available()
        if not torch.distributed.is_initialized():
            atexit.register(_closed)
            _share_cores()
        state = PartialState(cpu=not on_gpu, backend="cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
        return cls(state.process_index, state.num_processes, state.device)

    # ------------------------------------------------------------------ numbers

    def totals(self, numbers: Sequence[float]) -> list[float]:
        """Each number added up over all processes."""
        if self.world == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64)
        self.add([sums])
        return [float(number) for number in sums]

    def add(self, tensors: Iterable[torch.Tensor]) -> None:
        """Adds up tensors of one type over all processes, in place, in one message: many small ones cost more than
        their bytes.
        """
        tensors = list(tensors)
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        if flat.device.type == "cpu":
            flat = flat.to(self._mail)
        with self._together():
            torch.distributed.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def share(self, tensors: Iterable[torch.Tensor]) -> None:
        """Gives every process the first one's values."""
        if self.world > 1:
            with self._together():
                for tensor in tensors:
                    torch.distributed.broadcast(tensor.detach(), src=0)

    def merged(self, sums: Mapping[str, list[float]]) -> dict[str, list[float]]:
        """Sums and counts of all processes added up on the first; the others are left with none."""
        if self.world == 1:
            return dict(sums)
        parts = self.gathered(dict(sums))
        total: dict[str, list[float]] = {}
        for part in parts if self.first else ():
            for key, (value, count) in part.items():
                entry = total.setdefault(key, [0.0, 0.0])
                entry[0], entry[1] = entry[0] + value, entry[1] + count
        return total

    # ------------------------------------------------------------------ agreeing

    def agreed(self, value: T) -> T:
        """The first process's value, on every process; none goes on before the first has come here."""
        if self.world == 1:
            return value
        box = [value]
        with self._together():
            torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def gathered(self, value: T) -> list[T]:
        """Every process's value, by rank, on every process."""
        found = [value] * self.world
        if self.world > 1:
            with self._together():
                torch.distributed.all_gather_object(found, value)
        return found

    def agreed_flags(self, firsts: Sequence[float], anyones: Sequence[bool] = ()) -> tuple[list[float], list[bool]]:
        """The first process's numbers, and for each flag whether any process set it, in one message."""
        if self.world == 1:
            return list(firsts), list(anyones)
        mine = [*(firsts if self.first else [0.0] * len(firsts)), *map(float, anyones)]
        numbers = torch.tensor(mine, dtype=torch.float64)
        self.add([numbers])
        said = numbers.tolist()
        return said[: len(firsts)], [number > 0 for number in said[len(firsts) :]]

    def first_says(self, flag: bool) -> bool:
        """The first process's answer, so that all stop at one step."""
        return self.agreed_flags([float(flag)])[0][0] > 0

    def wait(self) -> None:
        """Until all are here."""
        self.add([torch.zeros(1)])

    # ------------------------------------------------------------------ ending

    def leave(self, words: str) -> None:
        """To be called by a process that failed: leaves its last words, unless another has, and closes its
        connections, which wakes up all that wait for it.
        """
        if self.world == 1 or not torch.distributed.is_initialized():
            return
        store = torch.distributed.distributed_c10d._get_default_store()  # the launcher's, or the first process's own
        try:
            store.compare_set(_WORDS, "", words)
            _closed()
            gone = store.add(_GONE, 1)
            deadline = time.monotonic() + _GOODBYE_S
            while self.first and gone < self.world and time.monotonic() < deadline:
                time.sleep(0.01)
                gone = store.add(_GONE, 0)
        except RuntimeError:  # the store went with its process
            _closed()

    def last_words(self) -> str | None:
        """What another process left when it failed; None if none did."""
        if self.world == 1 or not torch.distributed.is_initialized():
            return None
        store = torch.distributed.distributed_c10d._get_default_store()
        try:
            return store.get(_WORDS).decode() if store.check([_WORDS]) else None
        except RuntimeError:  # the store went with its process
            return None

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if not isinstance(error, torch.distributed.DistError) and "gloo" not in str(error):
                raise
            raise ProcessLost(
                Problem(
                    f"process {self.rank} of {self.world}",
                    f"has lost another, which ended without a word ({_reason(error)}).",
                    "It may have been killed; `regimen resume` goes on from the last checkpoint.",
                )
            ) from error

    @property
    def _mail(self) -> torch.device:
        """Where tensors of the CPU travel: as they are, unless the group was made for GPUs alone (Ray's is)."""
        return torch.device("cpu") if "gloo" in torch.distributed.get_backend_config() else self.device


def why_no_device(name: str) -> str | None:
    """The reason why a device that was asked for is not to be had here; None if it is."""
    kind, _, number = name.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        return f"is {name!r}, and PyTorch finds no GPU here."
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        return f"is {name!r}, and there are {torch.cuda.device_count()} GPUs here, counted from 0."
    if kind == "mps" and not torch.backends.mps.is_available():
        return f"is {name!r}, which only an Apple machine has."
    if num_launched() > 1 and (number or kind == "mps"):
        return f"is {name!r}, one device, and {num_launched()} processes train together."
    return None


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _reason(error: RuntimeError) -> str:
    """Of a broken connection, without the place in PyTorch's sources."""
    return str(error).rpartition("] ")[2].partition(". This is")[0].lstrip(": ").rstrip(".").lower()


def _share_cores() -> None:
    """As torchrun does: the variable keeps Accelerate from choosing again whenever a trainer asks it."""
    if "OMP_NUM_THREADS" not in os.environ:
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", num_launched()))
        torch.set_num_threads(max(1, torch.get_num_threads() // beside))
        os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())


def _closed() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
