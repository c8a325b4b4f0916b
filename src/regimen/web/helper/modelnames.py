"""Whether a model can be had here, told from its configuration; no weights are read and none of its code is run."""

from __future__ import annotations

from typing import Any

from regimen.finetune.models import ModelSource


def model_about(name: str) -> dict[str, Any]:
    """What its configuration says. Raises `SpecError` for a model that is not there or may not be had."""
    config = ModelSource(name).config()
    longest = getattr(config, "max_position_embeddings", None)
    return {
        "model_type": str(config.model_type),
        "architectures": [str(one) for one in getattr(config, "architectures", None) or []],
        "max_length": longest if isinstance(longest, int) else None,
    }
