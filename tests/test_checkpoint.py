"""Checkpoints: what goes in comes out, and whatever happens while one is written, the newest whole one is found."""

from __future__ import annotations

import errno
import itertools
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from regimen.checkpoint import Checkpoints, read, tensors_of, verify
from regimen.errors import CheckpointError
from regimen.pruning import prune_run

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool]


@some.composite
def tensors(draw: some.DrawFn) -> torch.Tensor:
    shape = draw(some.lists(some.integers(0, 3), max_size=3))
    values = draw(some.lists(some.sampled_from([0.0, 1.0, -2.5, 3e-5, math.nan, math.inf]), min_size=27, max_size=27))
    dtype = draw(some.sampled_from(DTYPES))
    made = torch.tensor(values)[: math.prod(shape)].reshape(shape)
    made = made.nan_to_num(7, 7, 7).abs() if not dtype.is_floating_point else made
    return made.to(dtype).T if len(shape) == 2 else made.to(dtype)  # transposed: not contiguous


LEAVES = (
    some.none()
    | some.booleans()
    | some.integers(-(2**70), 2**70)
    | some.floats(allow_subnormal=False)  # libraries that were loaded may have switched them off
    | some.text()
    | some.sampled_from(["$tensor", "NaN"])
    | tensors()
)
KEYS = some.text(max_size=5) | some.integers() | some.sampled_from(["$tensor", "$items", "$tuple"])
STATES = some.dictionaries(
    KEYS,
    some.recursive(
        LEAVES,
        lambda inner: (
            some.lists(inner, max_size=3)
            | some.lists(inner, max_size=3).map(tuple)
            | some.dictionaries(KEYS, inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and _bytes(a) == _bytes(b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(type(k) is type(j) and same(a[k], b[j]) for k, j in zip(a, b, strict=True))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b) or (a != a and b != b)


def _bytes(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).numpy()) if tensor.numel() else b""


@given(STATES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_goes_in_comes_out(tmp_path: Path, state: dict[Any, Any]) -> None:
    store = Checkpoints(tmp_path, keep=1)
    store.save(1, state)
    restored = store.newest()
    assert restored is not None
    assert restored.step == 1
    assert same(restored.state, state)


def test_what_cannot_be_kept_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    store.save(1, small(1))
    with pytest.raises(TypeError, match="not set"):
        store.save(2, {"a": {1, 2}})
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-1"]


def small(step: int) -> dict[str, Any]:
    return {"weights": {"w": torch.full((50,), float(step))}, "step": step}


LARGE = 1 << 21
"""Numbers of a state of 8 MB, which is written directly, in several blocks."""


def large(step: int) -> dict[str, Any]:
    return {"weights": {"w": torch.full((LARGE,), float(step)), "odd": torch.full((3,), float(step))}, "step": step}


def filled(folder: Path, steps: range, **more: Any) -> Checkpoints:
    store = Checkpoints(folder, **more)
    for step in steps:
        store.save(step, small(step))
    return store


# ------------------------------------------------------------------------------------------------------ damage


def _flip(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 0x10
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "bit in a tensor": lambda path: _flip(path / "tensors.safetensors", 1.0),
    "bit in the header": lambda path: _flip(path / "tensors.safetensors", 0.1),
    "bit in the state": lambda path: _flip(path / "state.json", 0.5),
    "bit in the manifest": lambda path: _flip(path / "manifest.json", 0.0),
    "cut tensors": lambda path: os.truncate(path / "tensors.safetensors", 100),
    "empty tensors": lambda path: os.truncate(path / "tensors.safetensors", 0),
    "cut state": lambda path: os.truncate(path / "state.json", 5),
    "cut manifest": lambda path: os.truncate(path / "manifest.json", 20),
    "empty manifest": lambda path: os.truncate(path / "manifest.json", 0),
    "no tensors": lambda path: (path / "tensors.safetensors").unlink(),
    "no state": lambda path: (path / "state.json").unlink(),
    "no manifest": lambda path: (path / "manifest.json").unlink(),
    "a list as manifest": lambda path: _put(path / "manifest.json", "[]"),
    "another manifest": lambda path: _put(path / "manifest.json", "{}"),
}


def _put(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_passed_over(damage: str, tmp_path: Path) -> None:
    store = filled(tmp_path, range(1, 4), keep=3)
    DAMAGES[damage](tmp_path / "checkpoints" / "step-3")
    newest = store.newest()
    assert newest is not None
    assert newest.step == 2
    with pytest.raises(CheckpointError, match=r"step-3: (holds|lacks|has no).*Resume from an earlier one"):
        read(tmp_path / "checkpoints" / "step-3")


def test_the_only_good_one_survives_the_next_saves(tmp_path: Path) -> None:
    """Steps 2 and 3 are damaged, so a run goes on from 1; what it saves then counts, and the damaged ones go."""
    store = filled(tmp_path, range(1, 4), keep=3)
    for step in (2, 3):
        DAMAGES["bit in a tensor"](tmp_path / "checkpoints" / f"step-{step}")
    one = Checkpoints(tmp_path, keep=1)
    one.save(2, small(20))
    newest = store.newest()
    assert newest is not None
    assert (newest.step, newest.state["step"]) == (2, 20)
    assert [path.name for path in store.paths()] == ["step-2"]


# ------------------------------------------------------------------------------------------------------ large ones


@pytest.mark.parametrize("size", [LARGE - 2000, LARGE, LARGE + 1, 3 * LARGE + 17])
def test_a_large_state_comes_out_as_it_went_in(size: int, tmp_path: Path) -> None:
    """Whatever part of a block its end fills; and what shares memory with it."""
    torch.manual_seed(size)
    weights = torch.randn(size)
    state = {"all": weights, "a part": weights[5:900], "every second": weights[::2], "tied": weights}
    store = Checkpoints(tmp_path)
    store.save(1, state)
    found = store.newest()
    assert found is not None
    assert found.state.keys() == state.keys()
    assert all(torch.equal(found.state[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("call", ["open", "write"])
def test_a_file_system_without_direct_writes(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open, real_write, direct = os.open, os.write, set()

    def refusing_open(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_DIRECT and call == "open":
            raise OSError(errno.EINVAL, "Invalid argument")
        file = real_open(path, flags, *more, **named)
        (direct.add if flags & os.O_DIRECT else direct.discard)(file)
        return file

    def refusing_write(file: int, data: Any) -> int:
        if file in direct:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real_write(file, data)

    monkeypatch.setattr(os, "open", refusing_open)
    monkeypatch.setattr(os, "write", refusing_write)
    store = Checkpoints(tmp_path)
    store.save(1, large(1))
    found = store.newest()
    assert found is not None
    assert torch.equal(found.state["weights"]["w"], large(1)["weights"]["w"])


# ------------------------------------------------------------------------------------------------------ what is kept


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep=2)
    for step in range(1, 8):
        store.save(step, small(step), best=step in (1, 3))
    assert [path.name for path in store.paths()] == ["step-3", "step-6", "step-7"]
    best = store.best()
    assert best is not None
    assert best.step == 3
    assert prune_run(tmp_path, 1, dry_run=True)[0][0].name == "step-6"
    assert [path.name for path in store.paths()] == ["step-3", "step-6", "step-7"]
    assert [path.name for path, _ in prune_run(tmp_path, 1)] == ["step-6"]
    assert [path.name for path in store.paths()] == ["step-3", "step-7"]


def test_prune_keeps_the_last_good_one(tmp_path: Path) -> None:
    store = filled(tmp_path, range(1, 5), keep=4)
    for step in (3, 4):
        DAMAGES["bit in a tensor"](tmp_path / "checkpoints" / f"step-{step}")
    (tmp_path / "checkpoints" / "step-5.tmp").mkdir()
    assert sorted(path.name for path, _ in prune_run(tmp_path, 1)) == ["step-1", "step-3", "step-4", "step-5.tmp"]
    newest = store.newest()
    assert newest is not None
    assert newest.step == 2


# ------------------------------------------------------------------------------------------------------ kills

BOUNDARIES = ("open", "mkdir", "write", "ftruncate", "rename", "replace", "fsync", "unlink", "rmdir", "close")
"""Calls of the operating system between which a kill may strike; the child counts them and dies at the n-th."""


def killed_at(number: int, work: Callable[[], None]) -> bool:
    """Does `work` in a forked process that dies at its n-th call; whether it died before it was done."""
    child = os.fork()
    if child == 0:
        try:
            _die_at(number)
            work()
            os._exit(0)
        finally:
            os._exit(9)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def _die_at(number: int) -> None:
    left = [number]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os._exit(7)
            return real(*args, **kwargs)

        return call

    for name in BOUNDARIES:
        setattr(os, name, counted(getattr(os, name)))
    import builtins
    import io

    builtins.open = io.open = counted(builtins.open)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("step", "best", "keep", "state"),
    [
        (3, False, 1, large),
        *itertools.product((3,), (False, True), (1, 2), (small,)),
        *((2, False, k, small) for k in (1, 2)),
    ],
)
def test_a_kill_at_any_call_leaves_the_old_or_the_new(
    step: int, best: bool, keep: int, state: Callable[[int], dict[str, Any]], tmp_path: Path
) -> None:
    """Step 2 is there and step 3 is written, or step 2 again: after any kill the newest is one of them, and whole."""
    seen = set()
    for number in range(1, 200):
        folder = tmp_path / str(number)
        store = filled(folder, range(1, 3), keep=keep)
        store.save(2, small(2), best=True)
        died = killed_at(number, lambda store=store: store.save(step, state(30), best=best))
        found = store.newest()
        assert found is not None, f"call {number}"
        assert (found.step, found.state["step"]) in {(2, 2), (step, 30)}, f"call {number}"
        assert {float(t[0]) for t in tensors_of(found.state)} == {float(found.state["step"])}
        seen.add(found.state["step"])
        kept = store.best()
        if best:
            assert kept is not None
            assert kept.step == found.step, f"call {number}: the best is the one that the state says"
        store.save(4, small(4))  # what the kill left behind is cleared away
        assert not [path for path in (folder / "checkpoints").iterdir() if path.suffix]
        assert all(verify(path) is None for path in store.paths())
        if not died:
            break
    else:
        raise AssertionError("a save makes more calls than were tried")
    assert number > 15
    assert seen == {2, 30}
