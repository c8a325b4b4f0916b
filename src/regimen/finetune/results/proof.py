"""Proof that what was saved is what was trained, and that training changed something: logits, compared.

The saved files are loaded again as fresh objects and answer the first rows of the valid split. Written to
`artifacts/proof.json`; the token ids that were compared are in `artifacts/probe.json`, to prove a merge with later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from regimen.events import in_json
from regimen.finetune.answers.examples import token_rows
from regimen.finetune.losses.head import unwrapped
from regimen.finetune.models import Quantization
from regimen.finetune.results.export import kind_of
from regimen.finetune.results.trained import with_adapter
from regimen.finetune.session import Session
from regimen.finetune.tokens.tokenrows import TokenRows
from regimen.records.writer import replace_file

FILE, PROBE = "proof.json", "probe.json"
_ROWS, _TOKENS = 2, 512
Probe = list[list[int]]

# What loading somebody's files can raise; a proof that cannot be made is recorded and must not cost the trained model.
_LOADING_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError)


class Proof(NamedTuple):
    """Largest absolute differences of logits. NaN where a comparison could not be made."""

    reload_difference: float
    """Saved and loaded again, against the model in memory."""
    base_difference: float
    """Trained, against the model that training started from."""
    exact: bool
    """Whether a reload must be equal to the last bit: in fp32 on a CPU."""
    problem: str = ""
    """Why the comparison could not be made."""

    @property
    def warnings(self) -> list[str]:
        """What is wrong, in sentences; none if the proof holds."""
        if self.problem:
            return [f"what was saved could not be loaded again: {self.problem}"]
        found = []
        if self.exact and self.reload_difference != 0:
            found.append(
                f"what was saved is not what was trained: loaded again, its logits differ by up to "
                f"{self.reload_difference:.3g}."
            )
        if not self.exact and not self.reload_difference < self.base_difference:
            found.append(
                f"loaded again, the logits differ by up to {self.reload_difference:.3g}, as much as training "
                f"changed them ({self.base_difference:.3g})."
            )
        if self.base_difference == 0:
            found.append("training has changed nothing: the logits are those of the base.")
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            "holds": not self.warnings,
            **in_json({"reload_difference": self.reload_difference, "base_difference": self.base_difference}),
            "exact_reload_expected": self.exact,
            "unit": "largest absolute difference of logits",
        } | ({"problem": self.problem} if self.problem else {})


def probe(splits: Mapping[str, Any]) -> Probe:
    """Token ids of the first rows of the valid split (of train where there is none), prompt and answer.

    Where a trainer of another library makes the tokens, some ids that every vocabulary has.
    """
    rows = token_rows(splits.get("valid")) or token_rows(splits.get("train"))
    return [_ids(rows, index) for index in range(min(_ROWS, len(rows)))] if rows else [list(range(16))]


def prove(
    session: Session,
    model: nn.Module,
    trained: Sequence[torch.Tensor],
    folder: Path,
    ids: Probe,
    quantize: Quantization | None,
) -> Proof:
    """Loads `folder` again and compares with `trained`, the logits of `ids` that `model` gave before it was saved.

    Records the result, with a warning where it is not what it must be.
    """
    assert session.task is not None
    device = next(model.parameters()).device
    exact = device.type == "cpu" and quantize is None and all(p.dtype == torch.float32 for p in model.parameters())
    try:
        base = ready(session.task.load_model(device, quantize=quantize), quantize)
        before = logits(base, ids)
        if kind_of(model) == "adapter":
            again = with_adapter(base, folder)
        else:
            del base
            kind: Any = type(unwrapped(model))
            again = kind.from_pretrained(folder, dtype=torch.float32).to(device)
        made = Proof(difference(trained, logits(again, ids)), difference(trained, before), exact)
    except _LOADING_ERRORS as error:
        made = Proof(float("nan"), float("nan"), exact, f"{type(error).__name__}: {error}")
    _record(session, made, ids)
    return made


def ready(base: nn.Module, quantize: Quantization | None) -> nn.Module:
    """A fresh base as training had it: PEFT turns what a quantized model keeps in half precision into fp32."""
    if quantize is None:
        return base
    from peft import prepare_model_for_kbit_training

    prepared: nn.Module = prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    return prepared


def logits(model: nn.Module, ids: Probe) -> list[torch.Tensor]:
    """Logits of each row, in evaluation mode, on the CPU as fp32; the model is left as it was."""
    modes = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
    model.eval()
    with torch.no_grad():
        made = [
            model(input_ids=torch.tensor([row], device=device), use_cache=False).logits.float().cpu() for row in ids
        ]
    for module, mode in modes:
        module.training = mode
    return made


def difference(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> float:
    """The largest absolute difference; NaN if there is nothing to compare, infinite where shapes differ."""
    if any(one.shape != other.shape for one, other in zip(ours, theirs, strict=True)):
        return float("inf")
    return max(
        (float((one - other).abs().max()) for one, other in zip(ours, theirs, strict=True)), default=float("nan")
    )


def _record(session: Session, made: Proof, ids: Probe) -> None:
    artifacts, run = session.run.artifacts, session.run
    replace_file(artifacts / PROBE, json.dumps(ids).encode())
    replace_file(
        artifacts / FILE,
        json.dumps(made.to_json() | {"rows": len(ids), "tokens": sum(map(len, ids))}, indent=1).encode(),
    )
    for warning in made.warnings:
        run.note(f"warning: {warning}")
    if not made.warnings:
        run.note(
            f"proof: saved, loaded again and compared on {len(ids)} rows: the logits differ by up to "
            f"{made.reload_difference:.3g} from the "
            f"trained model's and by up to {made.base_difference:.3g} from the base's."
        )


def _ids(rows: TokenRows, index: int) -> list[int]:
    row = rows[index]
    if "input_ids" in row:
        ids = row["input_ids"]
    else:
        ids = [*row["prompt_ids"], *row["chosen_ids" if "chosen_ids" in row else "completion_ids"]]
    return [int(token) for token in ids[:_TOKENS]]
