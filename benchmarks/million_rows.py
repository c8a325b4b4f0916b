"""A file of a million rows: checked, tokenized and trained on for some steps; prints time a row and peak memory.

    python benchmarks/million_rows.py [--rows 1000000] [--steps 20]

Runs `regimen check` and `regimen run` as processes of their own, on a generated file in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml


def write_rows(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for number in range(rows):
            question = f"What is {number} plus {number % 97}?"
            file.write(json.dumps({"prompt": question, "completion": f" {number + number % 97}"}) + "\n")


def measured(words: list[str], folder: Path) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of one `regimen` command."""
    began = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "regimen", *words], cwd=folder)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"regimen {words[0]} ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - began, usage.ru_maxrss / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="regimen-rows-") as name:
        folder = Path(name)
        write_rows(folder / "rows.jsonl", asked.rows)
        small = folder / "few.jsonl"
        write_rows(small, 1000)
        size_mb = (folder / "rows.jsonl").stat().st_size / 1e6
        for file in ("few.jsonl", "rows.jsonl"):
            spec = {
                "task": {"name": "text", "model": "tiny", "data": {"train": file, "eval_split": 0.001}},
                "strategy": {"name": "sft", "tuning": "full"},
                "budget": {"steps": asked.steps},
                "threads": 1,
            }
            (folder / f"{file}.yaml").write_text(yaml.safe_dump(spec))
        print(f"{asked.rows:,} rows, {size_mb:.0f} MB; 1 thread")
        print(f"{'command':<22}{'seconds':>9}{'us a row':>10}{'peak MB':>9}{'peak MB with 1,000 rows':>25}")
        for words in (["check"], ["run", "--quiet"]):
            _, floor_mb = measured([*words, "few.jsonl.yaml"], folder)
            seconds, peak_mb = measured([*words, "rows.jsonl.yaml"], folder)
            print(f"{words[0]:<22}{seconds:>9.1f}{seconds / asked.rows * 1e6:>10.1f}{peak_mb:>9.0f}{floor_mb:>25.0f}")


if __name__ == "__main__":
    main()
