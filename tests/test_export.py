"""What a run leaves is what was trained: saved, loaded by transformers and PEFT alone, merged, and proved."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

from regimen.errors import RecordError, Refused  # noqa: E402
from regimen.execute import resume, run  # noqa: E402
from regimen.finetune.results.merge import export, merge  # noqa: E402
from regimen.finetune.results.proof import Proof, difference, logits  # noqa: E402
from regimen.finetune.results.trained import load_base, load_trained  # noqa: E402
from regimen.finetune.tiny import tiny_tokenizer  # noqa: E402
from regimen.records.reader import Record  # noqa: E402

TUNINGS: dict[str, Any] = {
    "full": "full",
    "lora": {"name": "lora", "r": 4},
    "dora": {"name": "dora", "r": 4},
    "pissa": {"name": "lora", "r": 4, "init": "pissa"},
}


def settings(folder: Path, tuning: Any = "full", **more: Any) -> dict[str, Any]:
    """A run of four steps of `tiny` on ten sums, eight rows of which are trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, numbers in (("train", range(8)), ("test", range(8, 10))):
        rows = [{"prompt": f"{a}+{a}=", "completion": str(a + a)} for a in numbers]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "name": "text",
        "model": "tiny",
        "max_new_tokens": 4,
        "samples": 2,
        "metrics": ["exact_match", "f1"],
        "data": {"train": str(folder / "train.jsonl"), "test": str(folder / "test.jsonl"), "eval_split": 0.25},
    }
    strategy = {"name": "sft", "tuning": tuning, "batch_size": 4, "optimizer": {"name": "adamw", "lr": 0.01}}
    base: dict[str, Any] = {"task": task, "strategy": strategy, "budget": {"steps": 4}, "threads": 1}
    return base | {"device": "cpu", "output": str(folder / "runs")} | more


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    folder = tmp_path_factory.mktemp("export")
    return {name: run(settings(folder / name, tuning)) for name, tuning in TUNINGS.items()}


def probe_of(record: Record) -> list[list[int]]:
    ids: list[list[int]] = json.loads((record.folder / "artifacts" / "probe.json").read_text())
    return ids


@pytest.mark.parametrize("name", TUNINGS)
def test_the_proof_holds_and_is_recorded(records: dict[str, Record], name: str) -> None:
    record = records[name]
    proof = json.loads((record.folder / "artifacts" / "proof.json").read_text())
    assert proof["holds"] is True
    assert record.final["final/proof_reload_difference"] == 0.0
    assert record.final["final/proof_base_difference"] > 0.01
    assert any(note.startswith("proof:") for note in record.notes)


@pytest.mark.parametrize("name", TUNINGS)
def test_transformers_and_peft_load_it_without_us(records: dict[str, Record], name: str) -> None:
    artifacts, ids = records[name].folder / "artifacts", probe_of(records[name])
    if name == "full":
        model = transformers.AutoModelForCausalLM.from_pretrained(artifacts / "model", dtype=torch.float32)
    else:
        base = transformers.AutoModelForCausalLM.from_pretrained(artifacts / "base", dtype=torch.float32)
        model = peft.PeftModel.from_pretrained(base, artifacts / "adapter")
    ours = load_trained(records[name].folder)
    assert difference(logits(model, ids), logits(ours.model, ids)) == 0.0
    assert difference(logits(load_base(records[name].folder), ids), logits(ours.model, ids)) > 0.01
    tokenizer = transformers.AutoTokenizer.from_pretrained(ours.folder)
    assert tokenizer.chat_template == ours.tokenizer.chat_template is not None
    assert model.generation_config.eos_token_id is not None
    assert json.loads((ours.folder / "generation_config.json").read_text())["eos_token_id"] == [257]


def test_what_is_left_holds_no_pickle_and_no_stray_folder(records: dict[str, Record]) -> None:
    for record in records.values():
        files = [path for path in (record.folder / "artifacts").rglob("*") if path.is_file()]
        assert not [path for path in files if path.suffix in (".bin", ".pt", ".pth", ".pkl", ".tmp")]
        assert not [path for path in (record.folder / "artifacts").iterdir() if path.name.startswith(".")]
        assert (record.folder / "artifacts" / "base").exists() == (not (record.folder / "artifacts" / "model").exists())


@pytest.mark.parametrize("name", ["lora", "dora", "pissa"])
def test_a_merge_is_one_model_with_the_same_logits(records: dict[str, Record], name: str, tmp_path: Path) -> None:
    merged = merge(records[name].folder, tmp_path / "out")
    assert 0 <= merged.difference < 1e-3
    model = transformers.AutoModelForCausalLM.from_pretrained(merged.folder, dtype=torch.float32)
    ids = probe_of(records[name])
    apart = difference(logits(model, ids), logits(load_trained(records[name].folder).model, ids))
    assert apart == pytest.approx(merged.difference, abs=1e-6)
    assert json.loads((merged.folder / "merge.json").read_text())["merged_difference"] == merged.difference
    card = (merged.folder / "README.md").read_text()
    assert "library_name: transformers" in card
    assert "PeftModel" not in card


def test_merging_what_cannot_be_merged_is_refused_in_one_sentence(records: dict[str, Record], tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no adapter to merge"):
        merge(records["full"].folder, tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    for take in (merge, export):
        with pytest.raises(Refused, match="is there already"):
            take(records["lora"].folder, tmp_path / "full")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_an_export_is_a_copy(records: dict[str, Record], tmp_path: Path) -> None:
    out = export(records["lora"].folder, tmp_path / "out")
    for path in (records["lora"].folder / "artifacts" / "adapter").iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_an_adapter_of_a_4_bit_base_is_merged_into_the_full_precision_one(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=259,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        eos_token_id=257,
    )
    base = transformers.LlamaForCausalLM(config)
    base.save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    spec = settings(tmp_path, TUNINGS["lora"])
    spec["task"]["model"] = str(tmp_path / "base")
    spec["strategy"]["quantize"] = {"bits": 4, "compute": "float32"}
    record = run(spec)
    proof = json.loads((record.folder / "artifacts" / "proof.json").read_text())
    assert proof["exact_reload_expected"] is False
    assert proof["reload_difference"] < proof["base_difference"]
    assert not (record.folder / "artifacts" / "base").exists()

    merged = merge(record.folder, tmp_path / "merged")
    made = transformers.AutoModelForCausalLM.from_pretrained(merged.folder, dtype=torch.float32)
    assert merged.difference < 1e-4
    adapted = peft.PeftModel.from_pretrained(base, record.folder / "artifacts" / "adapter")
    for name, layer in adapted.named_modules():
        if hasattr(layer, "get_delta_weight"):
            place = name.removeprefix("base_model.model.")
            wanted = layer.base_layer.weight + layer.get_delta_weight("default")
            torch.testing.assert_close(made.get_submodule(place).weight, wanted)
    assert torch.equal(made.get_input_embeddings().weight, base.get_input_embeddings().weight)


def test_a_run_that_left_nothing_is_named(records: dict[str, Record], tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(records["lora"].folder, copied)
    shutil.rmtree(copied / "artifacts" / "adapter")
    with pytest.raises(RecordError, match="has left no model"):
        export(copied, tmp_path / "out")


def test_a_proof_that_fails_is_loud() -> None:
    assert Proof(0.0, 1.0, exact=True).warnings == []
    assert Proof(0.003, 1.0, exact=False).warnings == []
    for failed in (
        Proof(1e-9, 1.0, exact=True),
        Proof(0.0, 0.0, exact=True),
        Proof(1.0, 0.5, exact=False),
        Proof(math.nan, 1.0, exact=True),
        Proof(math.nan, math.nan, exact=True, problem="no file"),
    ):
        assert failed.warnings
        assert failed.to_json()["holds"] is False


CHANGES_THE_BASE = """
from regimen.finetune.strategy import TrainingStrategy

class ChangesTheBase(TrainingStrategy):
    name = "changes_the_base"

    def prepare_model(self, model, config):
        model.get_input_embeddings().weight.data.mul_(1.5)  # no adapter holds this
        return super().prepare_model(model, config)
"""


def test_a_strategy_that_saves_less_than_it_trained_on_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "changes_the_base.py").write_text(CHANGES_THE_BASE)
    spec = settings(tmp_path, TUNINGS["lora"])
    spec["strategy"]["name"] = str(tmp_path / "changes_the_base.py")
    record = run(spec)
    assert record.final["final/proof_reload_difference"] > 0
    assert any(note.startswith("warning: what was saved is not what was trained") for note in record.notes)


def test_a_training_that_changes_nothing_is_said(tmp_path: Path) -> None:
    spec = settings(tmp_path, TUNINGS["lora"])
    spec["strategy"]["optimizer"]["lr"] = 1e-30
    record = run(spec)
    assert record.status == "completed"
    assert any(note.startswith("warning: training has changed nothing") for note in record.notes)
    assert json.loads((record.folder / "artifacts" / "proof.json").read_text())["holds"] is False


def test_the_test_split_is_looked_at_once_and_last(records: dict[str, Record]) -> None:
    for record in records.values():
        assert [point.step for point in record.curve("test/loss")] == [4]
        assert {"test/exact_match", "test/f1", "test/perplexity"} <= record.final.keys()
        keys = [key for event in record.events if hasattr(event, "values") for key in event.values]
        assert all(key.startswith("test/") for key in keys[keys.index("test/loss") :])


def test_answers_are_judged_at_every_evaluation(records: dict[str, Record]) -> None:
    for metric in ("valid/exact_match", "valid/f1"):
        steps = [point.step for point in records["full"].curve(metric)]
        assert steps == [point.step for point in records["full"].curve("valid/loss")]
        assert steps[0] == 0


def test_samples_show_both_models_on_the_same_rows(records: dict[str, Record]) -> None:
    both = [json.loads((records[name].folder / "artifacts" / "samples.json").read_text()) for name in ("full", "lora")]
    for one, other in zip(*both, strict=True):
        # The same untrained model and the same rows, whatever is trained then.
        assert (one["prompt"], one["expected"], one["before"]) == (other["prompt"], other["expected"], other["before"])
        assert one["prompt"].endswith("=")
        assert one["place"].rpartition("/")[2].startswith("train.jsonl:")
    assert any(sample["before"] != sample["after"] for sample in both[0])


def test_samples_and_judged_answers_change_nothing_in_training(tmp_path: Path, records: dict[str, Record]) -> None:
    spec = settings(tmp_path, TUNINGS["lora"])
    spec["task"] |= {"samples": 0, "metrics": []}
    without = run(spec)
    with_them = {
        (step, key): value for step, key, value in records["lora"].identity if not key.endswith(("match", "/f1"))
    }
    assert {(step, key): value for step, key, value in without.identity} == with_them
    weights = [
        record.folder / "artifacts" / "adapter" / "adapter_model.safetensors" for record in (without, records["lora"])
    ]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_resumed_run_leaves_the_same(tmp_path: Path, records: dict[str, Record]) -> None:
    from regimen.errors import Stopped

    spec = settings(tmp_path, TUNINGS["lora"])

    def stop_at_two(event: Any) -> None:
        if getattr(event, "step", 0) == 2:
            folder = next((tmp_path / "runs").rglob("events.jsonl")).parent
            (folder / "stop").touch()

    with pytest.raises(Stopped):
        run(spec | {"log": {"every": 1}}, listeners=[stop_at_two])
    folder = next((tmp_path / "runs").rglob("spec.yaml")).parent
    before = json.loads((folder / "artifacts" / "samples.json").read_text())
    assert all("after" not in sample for sample in before)
    resumed = resume(folder)
    for name in ("adapter/adapter_model.safetensors", "adapter/adapter_config.json", "probe.json", "proof.json"):
        assert (folder / "artifacts" / name).read_bytes() == (records["lora"].folder / "artifacts" / name).read_bytes()
    samples = [
        json.loads((record.folder / "artifacts" / "samples.json").read_text()) for record in (resumed, records["lora"])
    ]
    assert [sample | {"place": ""} for sample in samples[0]] == [sample | {"place": ""} for sample in samples[1]]


def test_the_card_says_what_was_done_and_names_no_folder(records: dict[str, Record], tmp_path: Path) -> None:
    for name, record in records.items():
        card = (record.folder / "artifacts" / ("model" if name == "full" else "adapter") / "README.md").read_text()
        metadata = yaml.safe_load(card.split("---")[1])
        assert metadata["license"] == "unknown"
        assert metadata["library_name"] == ("transformers" if name == "full" else "peft")
        assert metadata["datasets"] == ["train.jsonl", "test.jsonl"]
        assert {"exact_match", "loss"} <= set(metadata["metrics"])
        assert record.content in card
        assert "| valid/loss |" in card
        assert str(tmp_path.parent) not in card
        assert str(record.folder) not in card


def test_the_cards_code_runs(records: dict[str, Record], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name in ("full", "lora"):
        folder = load_trained(records[name].folder).folder
        code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
        monkeypatch.chdir(folder)
        exec(compile(code, "README.md", "exec"), {})
        assert capsys.readouterr().out


def test_a_metric_whose_package_is_absent_is_said_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "rouge_score" else found(name, *a)
    )
    spec = settings(tmp_path)
    spec["task"]["metrics"] = ["rouge"]
    with pytest.raises(Refused, match=r"regimen-ml\[eval\]"):
        run(spec)
    assert not list(tmp_path.rglob("checkpoints/step-*"))
