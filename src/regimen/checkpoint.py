"""Checkpoints that are whole or absent: safetensors and JSON, the manifest last, then one rename.

    checkpoints/step-40/state.json            nested state; a tensor is {"$tensor": name}
                        tensors.safetensors
                        manifest.json         names, sizes and sha256 of the others: without it the rest does not count;
                                              and whether it was the best when it was written

The order is: write beside in `step-40.tmp`, flush to the disk, write the manifest, flush, rename, flush the folder. A
kill at any point leaves either the old set or the old set and the new one. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from regimen.errors import CheckpointError, Problem
from regimen.events import SCHEMA_VERSION
from regimen.handle import Restored
from regimen.records.writer import disk_full_named, write_json
from regimen.tensorfile import Written, write_bytes, write_tensors

State = Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one run. Keeps the newest `keep` and the best one; never deletes the last good one."""

    def __init__(self, folder: Path, *, keep: int = 2, identity: Mapping[str, Any] | None = None) -> None:
        self.folder, self.keep = folder / "checkpoints", keep
        self.identity = dict(identity or {})

    def save(self, step: int, state: State, *, best: bool = False) -> None:
        """Writes `state` as step `step`. Raises `DiskFull`, with the previous checkpoints intact."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        target, beside = self.folder / f"step-{step}", self.folder / f"step-{step}.tmp"
        earlier = target.with_suffix(".old")
        tensors: dict[str, torch.Tensor] = {}
        text = json.dumps(_without_tensors(state, tensors), allow_nan=True).encode()
        needed = len(text) + sum(tensor.nbytes for tensor in tensors.values())
        try:
            with disk_full_named(beside, needed):
                beside.mkdir()
                files = {
                    "state.json": write_bytes(beside / "state.json", [memoryview(text)]),
                    "tensors.safetensors": write_tensors(beside / "tensors.safetensors", tensors),
                }
                _write_manifest(beside, step, files, self.identity, best=best)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        if target.exists():
            target.rename(earlier)  # still counts, until the new one is there
        beside.rename(target)
        _flush(self.folder)
        superseded = [path for path in self.paths() if _step(path) > step or path == earlier]
        for path in superseded:  # damaged, or of a future that the run went back from
            _delete(path)
        self.prune(self.keep)

    def newest(self) -> Restored | None:
        """The newest one whose manifest holds; torn or damaged ones are passed over."""
        for path in reversed(self.paths()):
            if verify(path) is None:
                return read(path)
        return None

    def best(self) -> Restored | None:
        path = self._best_path()
        return read(path) if path else None

    def paths(self) -> list[Path]:
        """Complete ones, oldest first."""
        found = [
            manifest.parent for manifest in self.folder.glob("step-*/manifest.json") if manifest.parent.suffix != ".tmp"
        ]
        return sorted(found, key=lambda path: (_step(path), path.suffix != ".old"))

    def prune(self, keep: int) -> list[Path]:
        """Deletes all but the newest `keep` (at least 1) and the best. Returns what went."""
        paths = self.paths()
        kept = set(paths[-max(1, keep) :])
        best = self._best_path()
        gone = [path for path in paths if path not in kept and path != best]
        for path in gone:
            _delete(path)
        return gone

    def _best_path(self) -> Path | None:
        """The newest one that was the best when it was written."""
        return next((path for path in reversed(self.paths()) if _was_best(path)), None)

    def _sweep(self) -> None:
        for torn in self.folder.glob("*.tmp"):
            if torn.is_dir():
                shutil.rmtree(torn)
            else:
                torn.unlink()
        for earlier in self.folder.glob("*.old"):  # a kill struck while this one was being replaced
            if earlier.with_suffix("").exists():
                _delete(earlier)
            else:
                earlier.rename(earlier.with_suffix(""))


def read(path: Path) -> Restored:
    """The state in a checkpoint folder. Raises `CheckpointError` that names what is wrong with it."""
    reason = verify(path)
    if reason:
        raise CheckpointError(Problem(str(path), reason, "Resume from an earlier one."))
    tensors = load_file(path / "tensors.safetensors")
    return Restored(_step(path), _with_tensors(json.loads((path / "state.json").read_bytes()), tensors))


def identity_of(path: Path) -> dict[str, Any]:
    """What the run was when it saved this: settings, fingerprints, versions. A resume compares it."""
    identity: dict[str, Any] = json.loads((path / "manifest.json").read_bytes())["identity"]
    return identity


def verify(path: Path) -> str | None:
    """What is wrong with a checkpoint folder; None if every file has the size and hash of its manifest."""
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        version, files = manifest["schema_version"], manifest["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return "has no readable manifest.json."
    if version > SCHEMA_VERSION:
        return f"has schema version {version}; this regimen reads up to {SCHEMA_VERSION}."
    for name, expected in files.items():
        try:
            if (path / name).stat().st_size != expected["bytes"] or _sha256(path / name) != expected["sha256"]:
                return f"holds a damaged {name}."
        except OSError:
            return f"lacks {name}."
    return None


def _delete(path: Path) -> None:
    doomed = path.with_suffix(".tmp")
    path.rename(doomed)  # a kill during the deletion must not leave half a checkpoint under a good name
    shutil.rmtree(doomed)


def _was_best(path: Path) -> bool:
    try:
        return bool(json.loads((path / "manifest.json").read_bytes())["best"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write_manifest(
    folder: Path, step: int, files: Mapping[str, Written], identity: Mapping[str, Any], *, best: bool
) -> None:
    described = {name: written._asdict() for name, written in files.items()}
    body = {
        "schema_version": SCHEMA_VERSION,
        "step": step,
        "best": best,
        "files": described,
        "identity": dict(identity),
    }
    write_json(folder / "manifest.json", body)
    _flush(folder)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-").partition(".")[0])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# State as JSON. Dicts keep their order and the type of their keys (an optimizer's are whole numbers), tuples stay
# tuples.


def _without_tensors(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous()
        return {"$tensor": name}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _without_tensors(child, tensors) for key, child in value.items()}
        return {"$items": [[_without_tensors(k, tensors), _without_tensors(v, tensors)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"$tuple": [_without_tensors(child, tensors) for child in value]}
    if isinstance(value, list):
        return [_without_tensors(child, tensors) for child in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "tolist"):  # a NumPy array or number
        return _without_tensors(torch.as_tensor(value) if getattr(value, "shape", ()) else value.item(), tensors)
    raise TypeError(f"a checkpoint holds dicts, lists, numbers, texts and tensors, not {type(value).__name__}")


def _with_tensors(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_with_tensors(child, tensors) for child in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    if "$items" in value:
        return {_with_tensors(k, tensors): _with_tensors(v, tensors) for k, v in value["$items"]}
    if "$tuple" in value:
        return tuple(_with_tensors(child, tensors) for child in value["$tuple"])
    return {key: _with_tensors(child, tensors) for key, child in value.items()}


def tensors_of(state: Any) -> Iterator[torch.Tensor]:
    """Every tensor in a nested state, in order: what two identical checkpoints share."""
    tensors: dict[str, torch.Tensor] = {}
    _without_tensors(state, tensors)
    return iter(tensors.values())
