"""Ours and TRL side by side: the same model, rows, batch size and optimizer, in turns A B C A B C.

    python benchmarks/finetune_vs_trl.py [--quick] [--hidden 512] [--repetitions 3] [--same-allocator]

What is measured is CPU time on one thread, in which a busy neighbour shows less than in wall time. It covers training
alone: TRL's tokenization and packing, which its constructor does, are not counted against it, but a reference pass is,
ours as well as TRL's. Gradient checkpointing, on by default in TRL, is also shown switched off.

Each turn is a process of its own, forked from one that has imported everything and trained nothing, and begins with a
few untimed steps. In one process for all, TRL would be another than its users have: `regimen run` asks the C library
to keep freed memory, which lasts as long as the process. `--same-allocator` asks it for TRL's turns, too.

Our side is a whole `regimen run`, with nothing switched off: record, finite checks, probes. Both sides save weights and
optimizer at the end of an epoch, as a user would have them do.
"""

from __future__ import annotations

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import copy
import logging
import multiprocessing
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch
import transformers
import trl

import regimen
from finetune_data import make_model, make_pairs, make_rows, make_tokenizer, tokens_of, write_rows
from regimen.allocator import keep_freed_memory
from regimen.finetune.batches.collate import Row, collate
from regimen.finetune.batches.order import length_batches, padding_fraction
from regimen.finetune.preferring import PreferenceStrategy
from regimen.finetune.strategy import TrainingStrategy
from regimen.strategies.finetune.dpo import DPO
from regimen.trainer import Trainer

LEARNING_RATE = {"sft": 1e-4, "dpo": 1e-5}
MAX_GRAD_NORM = 1.0
BETA = 0.1


class Measured(NamedTuple):
    seconds: float
    steps: int
    loss: float


class Contestant(NamedTuple):
    name: str
    run: Callable[[], Measured]
    warm_up: Callable[[], object]
    """Untimed: the first steps load kernels and modules."""


def in_a_process(contestant: Contestant) -> Measured:
    """A turn in a fork, which trains, tells its numbers through a pipe, and is gone with all that it has set."""
    ours, theirs = multiprocessing.Pipe(duplex=False)

    def turn() -> None:
        contestant.warm_up()
        theirs.send(contestant.run())

    process = multiprocessing.get_context("fork").Process(target=turn)
    process.start()
    theirs.close()  # so that a child that fails ends the wait
    try:
        measured: Measured = ours.recv()
    except EOFError:
        raise SystemExit(f"{contestant.name} failed") from None
    finally:
        process.join()
    return measured


def ours(kind: str, folder: Path, data: Path, batch_size: int, epochs: int, output: str) -> Measured:
    """A whole `regimen run`: record, finite check, checkpoint and all. Timed: references, training, the last save."""
    spent: list[float] = []
    with ExitStack() as clocks:
        for strategy in (TrainingStrategy, PreferenceStrategy, DPO):
            clocks.enter_context(clocked(strategy, "before_training", spent))
        clocks.enter_context(clocked(Trainer, "train", spent))
        record = regimen.run(settings(kind, folder, data, batch_size, epochs, output))
    points = record.curve("train/loss")
    mean = sum(point.value for point in points) / len(points)
    return Measured(sum(spent), points[-1].step, mean)


def settings(kind: str, folder: Path, data: Path, batch_size: int, epochs: int, output: str) -> dict[str, Any]:
    return {
        "task": {"name": "text", "model": str(folder), "data": {"train": str(data), "eval_split": 0.0}, "samples": 0},
        "strategy": {
            "name": kind,
            "tuning": "full",
            "batch_size": batch_size,
            "clip_norm": MAX_GRAD_NORM,
            "optimizer": {"name": "adamw", "lr": LEARNING_RATE[kind], "weight_decay": 0.0},
            "schedule": {"name": "constant", "warmup": 0},
        },
        "budget": {"epochs": epochs},
        "checkpoint": {"every": steps_an_epoch(data, batch_size)},
        "threads": 1,
        "output": output,
    }


def steps_an_epoch(data: Path, batch_size: int) -> int:
    return -(-len(data.read_text().splitlines()) // batch_size)


@contextmanager
def clocked(cls: type, name: str, spent: list[float]) -> Iterator[None]:
    """While inside, the CPU time of the outermost call of a method of the class is added to `spent`."""
    plain = cls.__dict__[name]

    def timed_method(*args: Any, **kwargs: Any) -> Any:
        if clock_runs:
            return plain(*args, **kwargs)
        clock_runs.append(True)
        start = time.process_time()
        try:
            return plain(*args, **kwargs)
        finally:
            clock_runs.clear()
            spent.append(time.process_time() - start)

    setattr(cls, name, timed_method)
    try:
        yield
    finally:
        setattr(cls, name, plain)


clock_runs: list[bool] = []


def trl_settings(kind: str, batch_size: int, checkpointing: bool) -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": batch_size,
        "learning_rate": LEARNING_RATE[kind],
        "lr_scheduler_type": "constant",
        "max_grad_norm": MAX_GRAD_NORM,
        "activation_checkpointing": checkpointing,
        "max_length": None,
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "disable_tqdm": True,
    }


def trl_sft(model: Any, rows: list[Row], batch_size: int, checkpointing: bool, **extra: Any) -> Measured:
    data = datasets.Dataset.from_list([{key: row[key] for key in ("input_ids", "labels")} for row in rows])
    args = trl.SFTConfig(**trl_settings("sft", batch_size, checkpointing) | {"num_train_epochs": 1} | extra)
    return timed(trl.SFTTrainer(model, args=args, train_dataset=data, processing_class=make_tokenizer()))


def timed(trainer: Any) -> Measured:
    trainer.remove_callback(transformers.PrinterCallback)
    start = time.process_time()
    result = trainer.train()
    seconds = time.process_time() - start + getattr(trainer, "reference_seconds", 0.0)
    return Measured(seconds, result.global_step, result.training_loss)


class ClockedDPO(trl.DPOTrainer):  # type: ignore[misc]
    """TRL's trainer, which computes references in its constructor: that time counts as well."""

    reference_seconds = 0.0

    def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        dataset = super()._precompute_ref_logps(*args, **kwargs)
        self.reference_seconds += time.process_time() - start
        return dataset


def make_trl_dpo(model: Any, texts: list[dict[str, str]], batch_size: int, checkpointing: bool, **extra: Any) -> Any:
    args = trl.DPOConfig(**trl_settings("dpo", batch_size, checkpointing) | {"beta": BETA} | extra)
    data = datasets.Dataset.from_list(texts)
    return ClockedDPO(model, copy.deepcopy(model), args=args, train_dataset=data, processing_class=make_tokenizer())


def compete(title: str, contestants: list[Contestant], repetitions: int, units: int, unit: str) -> None:
    """Runs all in turns; the first is ours, and ratios are taken within a turn."""
    results = [[in_a_process(contestant) for contestant in contestants] for _ in range(repetitions)]
    print(f"\n{title} (n = {repetitions}; min / median / max)")
    print(f"{'':44}{'CPU s':>24}{f'{unit}/s':>10}{'ours is x faster':>24}{'steps':>7}{'loss':>9}")
    for place, contestant in enumerate(contestants):
        seconds = [turn[place].seconds for turn in results]
        ratios = [turn[place].seconds / turn[0].seconds for turn in results]
        last = results[-1][place]
        rate = units / statistics.median(seconds)
        print(
            f"{contestant.name:44}{spread(seconds):>24}{rate:10.1f}{spread(ratios):>24}{last.steps:7}{last.loss:9.4f}"
        )


def spread(values: list[float]) -> str:
    return f"{min(values):.2f} / {statistics.median(values):.2f} / {max(values):.2f}"


def compete_sft(options: argparse.Namespace, model: Any, folder: Path) -> None:
    size = options.batch_size
    data = write_rows(make_rows(options.rows), folder / "rows.jsonl")
    rows: list[Row] = tokens_of(settings("sft", folder, data, size, 1, str(folder / "runs")))
    lengths = np.array([len(row["input_ids"]) for row in rows])  # type: ignore[arg-type]
    trained = sum(label != -100 for row in rows for label in row["labels"])  # type: ignore[union-attr]
    random_batches = length_batches(lengths, size, np.random.default_rng(0), group=False)
    batches = length_batches(lengths, size, np.random.default_rng(0))
    area = sum(collate([rows[place] for place in places], fold=True)["input_ids"].numel() for places in batches)
    print(f"SFT: {len(rows)} rows, {lengths.sum()} tokens, {trained / lengths.sum():.0%} trained, batch {size}")
    print(
        f"padding: random order {padding_fraction(lengths, random_batches):.1%}, length batches "
        f"{padding_fraction(lengths, batches):.1%}, length batches folded (ours) {1 - lengths.sum() / area:.1%}"
    )

    few = write_rows(make_rows(16), folder / "few.jsonl")
    few_rows: list[Row] = tokens_of(settings("sft", folder, few, size, 1, str(folder / "runs")))

    def theirs(name: str, batch_size: int, checkpointing: bool, **extra: Any) -> Contestant:
        def run(rows: list[Row]) -> Measured:
            if options.same_allocator:
                keep_freed_memory()
            return trl_sft(copy.deepcopy(model), rows, batch_size, checkpointing, **extra)

        return Contestant(name, lambda: run(rows), lambda: run(few_rows))

    def run(rows: Path) -> Measured:
        return ours("sft", folder, rows, size, 1, tempfile.mkdtemp(dir=folder))

    contestants = [
        Contestant("regimen run", lambda: run(data), lambda: run(few)),
        theirs("TRL defaults", size, True),
        theirs("TRL, no checkpointing", size, False),
        theirs("TRL, length grouping, no checkpointing", size, False, train_sampling_strategy="group_by_length"),
        theirs("TRL, padding-free, no checkpointing", size, False, padding_free=True),
        theirs("TRL, packing bfd 512 x 2, no checkpointing", 2, False, packing=True, max_length=512),
        theirs("TRL, packing bfd 512 x 1, no checkpointing", 1, False, packing=True, max_length=512),
    ]
    compete("SFT, one epoch", contestants, options.repetitions, int(lengths.sum()), "tokens")


def compete_dpo(options: argparse.Namespace, model: Any, folder: Path, epochs: int) -> None:
    size = options.batch_size
    texts = make_pairs(options.pairs)
    data = write_rows(texts, folder / "pairs.jsonl")
    pairs = tokens_of(settings("dpo", folder, data, size, 1, str(folder / "runs")))
    sizes = [sum(len(pair[part]) for part in ("prompt_ids", "chosen_ids", "rejected_ids")) for pair in pairs]
    prompt = sum(len(pair["prompt_ids"]) for pair in pairs)
    counted = f"{sum(sizes)} tokens with prompts once, {prompt / sum(sizes):.0%} prompt"
    print(f"\nDPO: {len(pairs)} pairs, {counted}, batch {size}")

    few = write_rows(texts[:8], folder / "few-pairs.jsonl")

    def theirs(name: str, checkpointing: bool, **extra: Any) -> Contestant:
        def run(pairs: list[dict[str, str]]) -> Measured:
            if options.same_allocator:
                keep_freed_memory()
            return timed(
                make_trl_dpo(copy.deepcopy(model), pairs, size, checkpointing, num_train_epochs=epochs, **extra)
            )

        return Contestant(name, lambda: run(texts), lambda: run(texts[:8]))

    def run(pairs: Path) -> Measured:
        return ours("dpo", folder, pairs, size, epochs, tempfile.mkdtemp(dir=folder))

    contestants = [
        Contestant("regimen run", lambda: run(data), lambda: run(few)),
        theirs("TRL defaults", True),
        theirs("TRL, no checkpointing", False),
        theirs("TRL, precomputed reference, no checkpointing", False, precompute_ref_log_probs=True),
    ]
    compete(f"DPO, {epochs} epoch(s)", contestants, options.repetitions, epochs * len(pairs), "pairs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", choices=["sft", "dpo1", "dpo3"], help="one of the three tables")
    parser.add_argument("--same-allocator", action="store_true", help="TRL's turns keep freed memory, too")
    parser.add_argument("--quick", action="store_true", help="64 rows, 24 pairs, one repetition: a smoke test")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.pairs, options.repetitions = 64, 24, 1
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    model = make_model(options.hidden)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl"))
    millions = model.num_parameters() / 1e6
    print(f"{versions}; Llama {millions:.1f} M, hidden {options.hidden}, float32, 1 thread")
    with tempfile.TemporaryDirectory(prefix="regimen-benchmark-") as name:
        folder = Path(name)
        model.save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        if options.only in (None, "sft"):
            compete_sft(options, model, folder)
        for epochs in (1, 3):
            if options.only in (None, f"dpo{epochs}"):
                compete_dpo(options, model, folder, epochs)


if __name__ == "__main__":
    main()
