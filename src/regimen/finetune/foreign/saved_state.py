"""What a checkpoint holds of a transformers trainer, and how it is put back: tensors and numbers, never its pickles.

    weights      what training changes: the trained parameters and the kept buffers
    reference    those of a reference model that follows the trained one (TRL's sync_ref_model)
    optimizer, schedule, scaler
    state        transformers' TrainerState without its log history, which is in the record
    own          what else of the trainer changed since it began: TRL's counters, the unfinished window of the loss

No state of a random generator is among them: the adapter seeds each epoch, item and step from (run seed, its number).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.trainer_callback import ExportableState, TrainerState

if TYPE_CHECKING:
    from transformers import Trainer

_NOT_OWN = frozenset({"train_dataset", "eval_dataset", "is_in_train", "_buffered_inputs", "_created_lr_scheduler"})
"""Attributes of a trainer that are no state of training, or that it makes again."""


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    kept = model.state_dict().keys()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {**trained, **{name: buffer for name, buffer in model.named_buffers() if name in kept}}


def load_weights(model: nn.Module, saved: Mapping[str, torch.Tensor]) -> None:
    """Copies saved weights into the model. Raises `KeyError` if it has others."""
    present = weights(model)
    if saved.keys() != present.keys():
        odd = sorted(saved.keys() ^ present.keys())
        raise KeyError(f"the checkpoint and the model differ in {len(odd)} tensors, such as {odd[0]}")
    with torch.no_grad():
        for name, tensor in present.items():
            tensor.copy_(saved[name])


def trainer_state(trainer: Trainer, own: Mapping[str, str]) -> dict[str, Any]:
    """Everything of a trainer at the end of a step. `own` is what `fingerprints` said when it began."""
    scaler = getattr(trainer.accelerator, "scaler", None)
    reference = following_reference(trainer)
    return {
        "weights": weights(trainer.model),
        "reference": dict(reference.state_dict()) if reference is not None else None,
        "optimizer": trainer.optimizer.state_dict(),
        "schedule": storable(trainer.lr_scheduler.state_dict()),
        "scaler": scaler.state_dict() if scaler is not None else None,
        "state": _callback_state(trainer),
        "own": {name: value for name, value in plain_attributes(trainer) if _fingerprint(value) != own.get(name)},
    }


def put_back_weights(trainer: Trainer, saved: Mapping[str, Any]) -> None:
    load_weights(trainer.model, saved["weights"])
    reference = following_reference(trainer)
    if reference is not None and saved["reference"] is not None:
        reference.load_state_dict(saved["reference"])


def put_back_optimizer(trainer: Trainer, saved: Mapping[str, Any]) -> None:
    """Once transformers has built optimizer and schedule."""
    trainer.optimizer.load_state_dict(saved["optimizer"])
    trainer.lr_scheduler.load_state_dict({**trainer.lr_scheduler.state_dict(), **saved["schedule"]})
    scaler = getattr(trainer.accelerator, "scaler", None)
    if scaler is not None and saved["scaler"] is not None:
        scaler.load_state_dict(saved["scaler"])


def put_back_own(trainer: Trainer, saved: Mapping[str, Any]) -> None:
    """Once transformers has set its own counters to the start."""
    for name, value in saved["own"].items():
        setattr(trainer, name, _refilled(getattr(trainer, name, None), value))


def write_trainer_state(saved: Mapping[str, Any], folder: Path) -> Path:
    """The one file that transformers reads itself on a resume: JSON, in a folder of its own."""
    (folder / "trainer_state.json").write_text(json.dumps(saved["state"]), encoding="utf-8")
    return folder


def following_reference(trainer: Trainer) -> nn.Module | None:
    """The reference model, if it moves."""
    follows = bool(getattr(trainer.args, "sync_ref_model", False))
    reference: nn.Module | None = getattr(trainer, "ref_model", None) if follows else None
    return reference


def fingerprints(trainer: Trainer) -> dict[str, str]:
    """A short text for each attribute of the trainer that a checkpoint could hold, to see later which have changed."""
    return {name: _fingerprint(value) for name, value in plain_attributes(trainer)}


def plain_attributes(trainer: Trainer) -> Iterator[tuple[str, Any]]:
    for name, value in vars(trainer).items():
        if name not in _NOT_OWN and not name.startswith("_initial"):
            plain = storable(value)
            if plain is not _UNSTORABLE:
                yield name, plain


_UNSTORABLE = object()


def storable(value: Any) -> Any:
    """Numbers, texts, tensors, and dicts and lists of them; of a dict, the part that is. Else a mark that it is not."""
    if value is None or isinstance(value, bool | int | float | str | torch.Tensor):
        return value
    if isinstance(value, Mapping):
        parts = {key: storable(child) for key, child in value.items() if isinstance(key, str | int)}
        kept = {key: child for key, child in parts.items() if child is not _UNSTORABLE}
        return kept if kept or not value else _UNSTORABLE
    if isinstance(value, list | tuple):
        children = [storable(child) for child in value]
        return (
            _UNSTORABLE
            if any(child is _UNSTORABLE for child in children)
            else type(value)(children)
            if type(value) in (list, tuple)
            else children
        )
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else _UNSTORABLE


def _fingerprint(value: Any) -> str:
    def of_tensor(tensor: torch.Tensor) -> str:
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        return hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()

    return hashlib.sha256(json.dumps(value, default=of_tensor, sort_keys=True).encode()).hexdigest()


def _refilled(present: Any, saved: Any) -> Any:
    """`saved` in the containers that are there (a defaultdict stays one), tensors on their device."""
    if isinstance(present, dict) and isinstance(saved, Mapping):
        for key, value in saved.items():
            present[key] = _refilled(present.get(key), value)
        return present
    if isinstance(present, torch.Tensor) and isinstance(saved, torch.Tensor):
        return saved.to(present.device)
    return saved


def _callback_state(trainer: Trainer) -> dict[str, Any]:
    """As transformers writes it: the counters, and what callbacks such as early stopping keep."""
    kept = [callback for callback in trainer.callback_handler.callbacks if isinstance(callback, ExportableState)]
    states: dict[str, Any] = {}
    for callback in kept:
        name, state = type(callback).__name__, callback.state()
        states[name] = (
            [*states[name], state]
            if isinstance(states.get(name), list)
            else [states[name], state]
            if name in states
            else state
        )
    fields = {field.name: getattr(trainer.state, field.name) for field in dataclasses.fields(TrainerState)}
    plain = storable({**fields, "log_history": [], "stateful_callbacks": states})
    assert isinstance(plain, dict)
    return plain
