"""What only a machine with a GPU can show: `make gpu-check`. Without one, all of it is skipped.

Promised on a GPU: losses of the CPU within rounding in fp32; with `deterministic: true`, a resume to the same bits.
Without it, kernels may add up in an order that differs from run to run, and a resume is as close as two runs are.
"""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml

from regimen import run
from regimen.checkpoint import Checkpoints, tensors_of
from regimen.finetune.results.merge import merge
from regimen.finetune.tiny import tiny_tokenizer
from regimen.records.reader import Record
from test_processes import TROUBLED, assert_same, codes, launched, only_run
from warm import Warm

# Looking for a GPU in the warm process must not start CUDA there: a fork could not use it any more.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

STRATEGIES: dict[str, dict[str, Any]] = {
    "sft": {"name": "sft", "tuning": "full", "optimizer": {"lr": 1e-3}},
    "dpo": {"name": "dpo", "tuning": "full", "optimizer": {"lr": 1e-4}},
}


def spec(strategy: dict[str, Any], **more: Any) -> dict[str, Any]:
    task = {"name": "sorting", "train_rows": 64, "valid_rows": 16, "samples": 2}
    return {
        "task": task | more.pop("task", {}),
        "strategy": {"batch_size": 8, "accumulate": 2, **strategy},
        "budget": {"steps": 8},
        "log": {"every": 1},
        "device": "cuda",
        **more,
    }


def a_base(folder: Path, hidden: int = 256, layers: int = 4) -> str:
    """A Llama saved by transformers, large enough for blocks of 64 weights."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=259,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        bos_token_id=256,
        eos_token_id=257,
        pad_token_id=258,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def losses(record: Record) -> list[float]:
    return [point.value for point in record.curve("train/loss")]


@pytest.mark.parametrize("name", STRATEGIES)
def test_fp32_gives_the_losses_of_the_cpu(name: str) -> None:
    cpu = run(spec(STRATEGIES[name], device="cpu", precision="fp32", output="cpu"))
    gpu = run(spec(STRATEGIES[name], precision="fp32", output="gpu"))
    assert gpu.environment["device"].startswith("cuda")
    assert losses(gpu) == pytest.approx(losses(cpu), rel=1e-3)
    assert losses(gpu)[0] == pytest.approx(losses(cpu)[0], rel=1e-5)  # before any update
    assert gpu.curve("time/peak_memory_mb")[-1].value > 1


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains(name: str, precision: str) -> None:
    full = run(spec(STRATEGIES[name], precision="fp32", output="full"))
    half = run(spec(STRATEGIES[name], precision=precision, output="half"))
    assert half.status == "completed"
    # The reference is computed as the policy is, so DPO starts at log 2 in half precision, too.
    assert losses(half)[0] == pytest.approx(losses(full)[0], rel=0.02)
    assert half.curve("valid/loss")[-1].value == pytest.approx(full.curve("valid/loss")[-1].value, rel=0.2)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_killed_run_resumes_to_the_same_bits(warm: Warm, tmp_path: Path, name: str, precision: str) -> None:
    strategy = {**STRATEGIES[name], "tuning": {"name": "lora", "r": 4, "dropout": 0.1}}
    if name == "sft":
        strategy["name"] = str(TROUBLED)  # sft that kills itself where it is told to
    body = spec(strategy, precision=precision, deterministic=True, checkpoint={"every": 3})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(body))
    assert warm.run("run", "run.yaml", "-q", "--set", "output=whole").code == 0
    if name == "sft":
        killed = warm.run("run", "run.yaml", "-q", "--set", "output=parts", env={"TROUBLE": "kill:0:9"})
        assert killed.code == -9
    else:
        child = warm.start("run", "run.yaml", "-q", "--set", "output=parts")
        while child.running and not list(Path("parts").rglob("step-3")):
            time.sleep(0.001)
        child.kill()
        child.wait()
    ended = warm.run("resume", only_run("parts").folder, "-q")
    assert ended.code == 0 or "has completed" in ended.err, ended.err
    whole, parts = only_run("whole"), only_run("parts")
    assert parts.identity == whole.identity
    for ours, theirs in zip(state(parts), state(whole), strict=True):
        assert torch.equal(ours, theirs)


def state(record: Record) -> list[torch.Tensor]:
    newest = Checkpoints(record.folder).newest()
    assert newest is not None
    return list(tensors_of(newest.state["state"]))


def test_two_runs_without_deterministic_kernels() -> None:
    """Prints whether they differ; asserted is that they are close."""
    one, other = (run(spec(STRATEGIES["sft"], precision="fp32", output=name)) for name in ("one", "other"))
    print(f"\ntwo runs without deterministic kernels: {'identical' if one.identity == other.identity else 'different'}")
    assert losses(one) == pytest.approx(losses(other), rel=1e-3)


def test_adapters_of_a_4_bit_base_train_merge_and_load(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    strategy = {"name": "qlora", "tuning": {"name": "lora", "r": 8}, "optimizer": {"lr": 1e-3}}
    record = run(spec(strategy, task={"model": a_base(tmp_path / "base")}))
    assert losses(record)[-1] < losses(record)[0]
    assert record.final["final/proof_reload_difference"] < record.final["final/proof_base_difference"]
    merged = merge(record.folder, tmp_path / "merged")
    assert merged.difference < 1e-3
    again = transformers.AutoModelForCausalLM.from_pretrained(merged.folder, dtype=torch.float32)
    assert sum(parameter.numel() for parameter in again.parameters()) > 1e6


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("name", STRATEGIES)
def test_two_gpus_train_as_one(warm: Warm, tmp_path: Path, name: str) -> None:
    body = spec(STRATEGIES[name], precision="fp32", device="auto")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(body))
    assert warm.run("run", "run.yaml", "-q", "--set", "output=one").code == 0
    ended = launched(warm, "run", "run.yaml", "-q", "--set", "output=two")
    assert codes(ended) == [0, 0], ended[0].err + ended[1].err
    assert_same(only_run("one"), only_run("two"), within=1e-3)


def test_waits_for_the_gpu_once_a_step() -> None:
    """Every further step waits at most twice: to read loss and gradient norm, and once for a mask of transformers."""

    def waits(steps: int) -> int:
        more = {"budget": {"steps": steps}, "log": {"every": 100}, "evaluate": {"every": 100}, "output": f"{steps}"}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                run(spec({**STRATEGIES["sft"], "accumulate": 1}, **more))
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(warning.message) for warning in caught)

    a_step = (waits(12) - waits(4)) / 8
    print(f"\nwaits for the GPU: {a_step:.1f} a step")
    assert a_step <= 2


def test_speed_against_a_plain_loop(tmp_path: Path) -> None:
    """Prints both; no number is asserted, since the machine is not known."""
    base = a_base(tmp_path / "base", hidden=512, layers=8)
    steps, rows = 60, 64
    strategy = {"name": "sft", "tuning": "full", "batch_size": rows, "accumulate": 1, "optimizer": {"lr": 1e-4}}
    task = {"model": base, "train_rows": rows * 10, "digits": 9, "samples": 0, "metrics": []}
    more = {"budget": {"steps": steps}, "log": {"every": 20}, "precision": "bf16", "evaluate": {"every": 1000}}
    record = run(spec(strategy, task=task, **more))
    ours = record.curve("time/tokens_per_s")[-1].value
    tokens = round(record.curve("train/epoch")[-1].value) and 44  # of a row with nine digits, about
    plain = plain_tokens_per_s(base, rows, tokens, steps)
    print(f"\ntokens/s: ours {ours:,.0f}, a plain loop without any check {plain:,.0f} ({ours / plain:.2f} of it)")
    assert ours > 0


def plain_tokens_per_s(base: str, rows: int, tokens: int, steps: int) -> float:
    """bf16 autocast, fused AdamW, the model's own loss; the mean of the second half."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).cuda().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(0, 255, (rows, tokens), device="cuda")
    began = 0.0
    for step in range(steps):
        if step == steps // 2:
            torch.cuda.synchronize()
            began = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    return rows * tokens * (steps - steps // 2) / (time.perf_counter() - began)
