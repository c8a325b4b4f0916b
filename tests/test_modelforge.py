"""ModelForge's published names: the page's strategy file works unchanged but for its imports, in a run and by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest

import regimen
from regimen.errors import Refused, SpecError, TrainingError
from regimen.events import Note
from regimen.finetune.models import ModelSource
from regimen.modelforge import (
    STRATEGY_REGISTRY,
    VALID_STRATEGIES,
    TrainingArguments,
    TrainingStrategy,
    create_strategy,
    logger,
)
from regimen.registry import plugins

HERE = Path(__file__).parent / "data"
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "the", "dog", "ran", "to", "the", "sea"]
ROWS = [
    {"input": f"Say {WORDS[i % 12]} {i}", "output": " ".join(WORDS[i % 7 : i % 7 + 3]), "task_type": ("a", "b")[i % 2]}
    for i in range(24)
]
CONFIG = {"lora_r": 2, "lora_alpha": 4, "max_seq_length": 48, "max_steps": 2, "per_device_train_batch_size": 2}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    datasets.disable_progress_bars()


def write_rows(path: Path, rows: list[dict[str, str]] = ROWS) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def spec(strategy: str, data: str, **more: Any) -> dict[str, Any]:
    return {
        "task": {"name": "text", "model": "tiny", "data": {"train": data, "eval_split": 0.25}, "samples": 0},
        "strategy": {"name": strategy, **more},
        "budget": {"steps": 4},
        "device": "cpu",
        "log": {"every": 1},
    }


def notes(record: regimen.Record) -> str:
    return "\n".join(event.text for event in record.events if isinstance(event, Note))


@pytest.fixture
def custom(tmp_path: Path, page: Path) -> str:
    """The page's file in the user's own folder."""
    (tmp_path / "strategies").mkdir()
    shutil.copy(page / "custom_strategy.py", tmp_path / "strategies")
    return write_rows(tmp_path / "train.jsonl")


def test_the_file_is_found_listed_and_valid(custom: str) -> None:
    assert "custom" in VALID_STRATEGIES
    assert "Custom" in STRATEGY_REGISTRY
    assert set(VALID_STRATEGIES) == {plugin.name for plugin in plugins("finetune")}
    assert create_strategy("CUSTOM").get_strategy_name() == "custom"
    assert STRATEGY_REGISTRY["custom"].__name__ == "CustomStrategy"


def test_the_file_trains_in_a_run(custom: str) -> None:
    wanted = {"max_seq_length": 24, "gradient_accumulation_steps": 2, "lora_r": 2, "per_device_train_batch_size": 2}
    record = regimen.run(spec("custom", custom, **wanted))
    assert record.status == "completed"
    assert record.final["final/proof_base_difference"] > 0
    assert (record.folder / "artifacts" / "adapter" / "adapter_model.safetensors").exists()
    said = notes(record)
    assert "eval_strategy" in said
    assert "warmup_steps" in said
    assert "processing_class" in said
    assert "differ from the input_ids" in said  # the page's labels are those of another text
    assert "padding" in said


def test_the_file_by_its_path_uses_its_own_defaults(tmp_path: Path, page: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl")
    record = regimen.run(spec(str(page / "custom_strategy.py"), data, max_seq_length=24, gradient_accumulation_steps=1))
    config = json.loads((record.folder / "artifacts" / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (16, 32, 0.1)


def test_a_file_without_the_column_is_refused_with_the_way_out(custom: str, tmp_path: Path) -> None:
    bad = write_rows(tmp_path / "bad.jsonl", [{"question": "a", "output": "b"}] * 4)
    with pytest.raises(Refused) as caught:
        regimen.run(spec("custom", bad))
    assert "'input'" in str(caught.value)
    assert "task.data.columns" in str(caught.value)


def test_step_4_by_hand(custom: str) -> None:
    by_hand("custom")


@pytest.mark.parametrize("name", [plugin.name for plugin in plugins("finetune") if plugin.origin == "built in"])
def test_step_4_by_hand_with_every_built_in_strategy(name: str, tmp_path: Path) -> None:
    by_hand(name)


def by_hand(name: str) -> None:
    strategy = create_strategy(name)
    source = ModelSource("tiny")
    tokenizer = source.tokenizer()
    import torch

    torch.manual_seed(0)
    model = source.load(torch.device("cpu"))
    model = strategy.prepare_model(model, CONFIG)
    rows = ROWS if name == "custom" or "input_output" in strategy.layouts else preferences()
    split = datasets.Dataset.from_list(rows).train_test_split(0.25, seed=0)
    train = strategy.prepare_dataset(split["train"], tokenizer, CONFIG)
    trainer = strategy.create_trainer(
        model=model, train_dataset=train, eval_dataset=None, tokenizer=tokenizer, config=CONFIG
    )
    before = {key: value.clone() for key, value in model.named_parameters() if value.requires_grad}
    if hasattr(trainer, "args"):
        trainer.args.max_steps = 2
    trainer.train()
    assert any(not torch.equal(before[key], value) for key, value in model.named_parameters() if key in before)


def preferences() -> list[dict[str, str]]:
    return [{"prompt": row["input"], "chosen": row["output"], "rejected": row["output"][::-1]} for row in ROWS]


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="sft") as caught:
        create_strategy("frobnicate")
    assert "frobnicate" in str(caught.value)


def test_assigning_registers_and_deleting_takes_it_back() -> None:
    class Mine(TrainingStrategy):
        """Mine."""

    STRATEGY_REGISTRY["mine"] = Mine
    try:
        assert "mine" in VALID_STRATEGIES
        assert isinstance(create_strategy("Mine"), Mine)
    finally:
        del STRATEGY_REGISTRY["mine"]
    assert "mine" not in VALID_STRATEGIES


def test_training_error_is_ours() -> None:
    assert issubclass(TrainingError, regimen.errors.RegimenError)
    assert logger.name.startswith("regimen")


def test_old_arguments_are_translated(tmp_path: Path) -> None:
    made = TrainingArguments(
        output_dir=str(tmp_path),
        warmup_ratio=0.1,
        evaluation_strategy="steps",
        group_by_length=True,
        logging_dir="x",
        use_cache=False,
        bf16=True,
        eval_steps=3,
    )
    assert (made.warmup_steps, made.eval_strategy, made.train_sampling_strategy) == (0.1, "steps", "group_by_length")
    with pytest.raises(TypeError):
        TrainingArguments(output_dir=str(tmp_path), no_such_argument=1)


def test_the_curriculum_example(tmp_path: Path, page: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl")
    record = regimen.run(spec(str(page / "curriculum.py"), data) | {"budget": {"steps": 9}})
    steps = [event.step for event in record.events if "train/loss" in getattr(event, "values", {})]
    assert steps == list(range(1, 10))
    assert "length" in notes(record)


def test_the_multi_task_example(tmp_path: Path, page: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl")
    record = regimen.run(spec(str(page / "multitask.py"), data))
    assert record.status == "completed"
    assert record.final["valid/loss"] > 0


def test_the_teacher_of_the_distillation_example_is_a_setting(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl")
    name = f"{HERE / 'hf' / 'odd.py'}:Distillation"
    assert regimen.run(spec(name, data, teacher_model_id="big")).status == "completed"
    with pytest.raises(SpecError, match="teacher_model_id"):
        regimen.run(spec(name, data))
