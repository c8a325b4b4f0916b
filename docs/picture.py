"""Draws `docs/demo.png` from the runs of `regimen demo`: `python docs/picture.py demo` (needs matplotlib)."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt

from regimen import load
from regimen.records.reader import Record

BLUE, ORANGE, GREY = "#1668a8", "#c2571a", "#6b7280"


def main(folder: Path) -> None:
    records = [load(spec.parent) for spec in sorted(folder.rglob("spec.yaml"))]
    by_strategy = {record.settings["strategy"]["name"]: record for record in records if record.status == "completed"}
    sft, dpo = by_strategy["sft"], by_strategy["dpo"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
    draw(left, sft, "train/loss", BLUE, "training")
    draw(left, sft, "valid/loss", ORANGE, "held-out", marker="o")
    left.set_title("sft: loss a token", loc="left")
    left.set_yscale("log")
    left.legend(frameon=False)
    steps = sft.curve("valid/exact_match")[-1].step
    draw(right, sft, "valid/exact_match", BLUE, "sft, on answers of people who disagree", marker="o", scale=100)
    draw(right, dpo, "valid/exact_match", ORANGE, "dpo, on what they prefer", marker="o", scale=100, after=steps)
    right.set_title("exact match on 200 held-out questions, %", loc="left")
    right.set_ylim(0, 100)
    right.legend(frameon=False, loc="upper left")
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.grid(axis="y", color="#e5e7eb")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=GREY)
    figure.savefig(Path(__file__).with_name("demo.png"), dpi=110)


def draw(
    axes: plt.Axes,
    record: Record,
    key: str,
    colour: str,
    label: str,
    marker: str = "",
    scale: float = 1,
    after: int = 0,
) -> None:
    points = record.curve(key)
    steps, values = [point.step + after for point in points], [point.value * scale for point in points]
    axes.plot(steps, values, color=colour, label=label, marker=marker, markersize=4)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
