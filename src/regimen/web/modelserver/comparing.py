"""Proof that a tuned model is not its base: their files' hashes, and how far apart their logits are on one prompt."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from regimen.finetune.results.proof import FILE, difference, logits
from regimen.web.modelserver.asked import Ask
from regimen.web.modelserver.holding import Shelf
from regimen.web.modelserver.writing import prompt_ids


def compare(shelf: Shelf, ask: Ask) -> dict[str, Any]:
    """Both models' logits on the prompt of `ask`, compared. Raises as `Shelf.get` does.

    `differ` is what was measured here and now; `trained` is what the run's own proof measured when it saved the model.
    """
    ids = prompt_ids(shelf.get(replace(ask.source, part="tuned")), ask)
    apart = {}
    for part in ("base", "tuned"):
        held = shelf.get(replace(ask.source, part=part))
        apart[part] = logits(held.model, [ids])
    distance = difference(apart["base"], apart["tuned"])
    folder = Path(ask.source.folder)
    return {
        "differ": distance != 0,
        "logit_distance": distance if math.isfinite(distance) else None,
        "prompt_tokens": len(ids),
        "weights_sha256": _sha256_of_weights(folder),
        "template_sha256": _template(shelf, ask),
        "trained": _own_proof(Path(ask.source.run)) if ask.source.run else None,
    }


def _template(shelf: Shelf, ask: Ask) -> str | None:
    text = shelf.get(ask.source).tokenizer.chat_template
    return hashlib.sha256(text.encode()).hexdigest() if isinstance(text, str) else None


def _sha256_of_weights(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def _own_proof(run: Path) -> dict[str, Any] | None:
    try:
        body: dict[str, Any] = json.loads((run / "artifacts" / FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return body
