"""Takes a trained model out of a run's folder: as it was left, or with its adapter merged into the full-precision base.

An adapter that was trained on a 4-bit base is merged into the base as it was published: rounding the sum to 4 bits
again changes logits a hundred times more (0.67 against 0.004 on one small model).
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch

from regimen.errors import Problem, Refused
from regimen.finetune.results.asked import FILE as ASKED
from regimen.finetune.results.card import of_merged
from regimen.finetune.results.export import save_companions, save_model, written
from regimen.finetune.results.proof import PROBE, Probe, difference, logits
from regimen.finetune.results.trained import load_trained, trained_folder

FILE = "merge.json"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Merged(NamedTuple):
    folder: Path
    difference: float
    """Largest absolute difference of logits between the merged model and base with adapter, both in `dtype`, on the
    run's probe; NaN if the run kept no probe."""


def export(run_folder: str | Path, out: str | Path) -> Path:
    """Copies the adapter or the model that a run left.

    Raises `Refused` if `out` holds something already, `RecordError` if the run left none, `DiskFull`.
    """
    source, target = trained_folder(run_folder), _empty(out)
    with written(target) as beside:
        shutil.copytree(source, beside, dirs_exist_ok=True)
    return target


def merge(run_folder: str | Path, out: str | Path, *, dtype: torch.dtype = torch.float32) -> Merged:
    """Writes one full model in `dtype`: the run's adapter merged into its base in full precision.

    Raises `Refused` for a run that left a full model (there is nothing to merge), for a method that cannot be merged,
    and if `out` holds something already.
    """
    source, target = trained_folder(run_folder), _empty(out)
    if source.name != "adapter":
        raise Refused(
            Problem(
                str(run_folder), "has left a full model; there is no adapter to merge.", "Export it without --merged."
            )
        )
    trained = load_trained(run_folder, dtype=dtype)
    model: Any = trained.model
    if not hasattr(model.base_model, "merge_and_unload"):
        kind = str(model.active_peft_config.peft_type.value)
        raise Refused(
            Problem(str(run_folder), f"{kind} adapters cannot be merged into weights.", "Export the adapter itself.")
        )
    ids = _probe(source.parent / PROBE)
    before = logits(model, ids)
    merged = model.merge_and_unload(safe_merge=True)
    differs = difference(before, logits(merged, ids))
    with written(target) as beside:
        save_model(merged, beside)
        save_companions(merged, trained.tokenizer, beside)
        body = {
            "merged_difference": None if math.isnan(differs) else differs,
            "rows": len(ids),
            "dtype": str(dtype).removeprefix("torch."),
        }
        (beside / FILE).write_text(json.dumps(body, indent=1))
        if (source / ASKED).is_file():
            shutil.copy(source / ASKED, beside)
        (beside / "README.md").write_text(
            of_merged((source / "README.md").read_text(encoding="utf-8"), differs), encoding="utf-8"
        )
    return Merged(target, differs)


def _probe(path: Path) -> Probe:
    try:
        ids: Probe = json.loads(path.read_bytes())
    except FileNotFoundError:
        return []
    return ids


def _empty(out: str | Path) -> Path:
    target = Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Refused(Problem(str(out), "is there already.", "Give a folder that is not there yet, or an empty one."))
    return target
