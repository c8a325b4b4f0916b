"""Every search space in a whole run: its supernet trained, searched under a limit, the answer trained from scratch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import regimen
from regimen import registry
from regimen.execute import prepare
from regimen.records.reader import Record

# elastic_lora is a space of language models, whose task is another one.
SPACES = [plugin.name for plugin in registry.plugins("space") if plugin.name != "elastic_lora"]
LORA = {
    "name": "lora_ranks",
    "text": {"name": "sorting", "train_rows": 24, "valid_rows": 16},
    "supernet": {"space": {"name": "elastic_lora", "ranks": [1, 2, 4]}},
    "max_length": 48,
}

SMALL = '''"""Very few pictures."""

import torch

from regimen.nas.images import Pictures, PictureSplits
from regimen.nas.supernettask import SupernetTask


class Few(SupernetTask):
    """Noise of 8 x 8 points in three classes."""

    name = "few"

    def read(self):
        drawn = torch.Generator().manual_seed(0)
        rows = [Pictures(torch.randn(n, 1, 8, 8, generator=drawn), torch.arange(n) % 3) for n in (32, 12, 12)]
        return PictureSplits(*rows)
'''


def description(task: dict[str, Any], **strategy: Any) -> dict[str, Any]:
    settings = {"name": "uniform", "batch_size": 8, "batch_norm": "batch", "retrain": 0.5, **strategy}
    return {"task": task, "strategy": settings, "budget": {"steps": 2}, "threads": 1, "log": {"every": 1}}


def found(record: Record) -> tuple[int, ...]:
    made = json.loads((record.folder / "artifacts" / "search.json").read_text())
    return tuple(made["found"]["architecture"])


@pytest.mark.parametrize("name", SPACES)
def test_every_space_is_trained_searched_and_retrained(name: str) -> None:
    Path("tasks").mkdir()
    Path("tasks/few.py").write_text(SMALL)
    task = {"name": "few", "supernet": {"space": name}}
    made = prepare(description(task)).task
    middle = _middle(made)
    search = {"name": "random", "queries": 2, "cost": {"max": {"params": middle}}}
    record = regimen.run(description(task, search=search))
    assert record.status == "completed"
    assert {"train/path_loss", "search/accuracy", "retrain_train/loss"} <= record.curves.keys()
    assert all(math.isfinite(point.value) for key in record.curves for point in record.curve(key))
    network = made.space.make_network(found(record), made.inputs())  # type: ignore[attr-defined]
    assert sum(parameter.numel() for parameter in network.parameters()) == record.final["found/params"] <= middle
    network.load_state_dict(_weights(record))
    rows = made.splits.test  # type: ignore[attr-defined]
    with torch.no_grad():
        right = network.eval()(rows.inputs).argmax(dim=1) == rows.classes
    assert float(right.float().mean()) == pytest.approx(record.final["test/accuracy"], abs=0.1)


def _middle(task: Any) -> float:
    from regimen.nas.costing import cost_table

    low, high = cost_table(task.space, task.inputs(), "params").reach()
    return (low + high) / 2


def _weights(record: Record) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = load_file(record.folder / "artifacts" / "network.safetensors")
    return tensors


def test_ranks_of_adapters_are_trained_searched_retrained_and_loaded_by_peft() -> None:
    """The adapter that a run leaves gives, in PEFT, the loss that the run recorded."""
    from peft import PeftModel

    search = {"name": "random", "queries": 2, "cost": {"max": {"params": 60_000}}}
    asked = description(LORA, search=search, retrain=1, optimizer={"name": "adamw", "lr": 0.01})
    record = regimen.run(asked)
    assert record.final["found/params"] <= 60_000
    task: Any = prepare(asked).task
    artifacts = record.folder / "artifacts"
    ranks = json.loads((artifacts / "adapter_config.json").read_text())["rank_pattern"]
    assert set(ranks.values()) <= {1, 2, 4}
    loaded = PeftModel.from_pretrained(task.language.load_model(torch.device("cpu")), str(artifacts)).eval()
    sizes = [parameter.numel() for name, parameter in loaded.named_parameters() if "lora_" in name]
    assert sum(sizes) == record.final["found/params"]
    rows = task.splits.test
    with torch.no_grad():
        logits = loaded(input_ids=rows.inputs, use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), rows.classes, reduction="none")
    trained = rows.classes != -100
    mean = ((losses * trained).sum(dim=1) / trained.sum(dim=1)).mean()
    assert float(mean) == pytest.approx(record.final["test/loss"], rel=1e-4)
    assert (Path(artifacts) / "tokenizer_config.json").exists()
