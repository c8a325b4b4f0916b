"""The loss of a large vocabulary, ours and PyTorch's, each size in a process of its own: time and memory.

    python benchmarks/log_probabilities.py

A step is the output head's product, the cross-entropy of the trained tokens in float32, and backward to hidden states
and head, on one thread. Time is the CPU time of the fastest of 5 steps; memory is the process's peak above what it was
before the first one.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import resource
import subprocess
import sys
import time

import torch
from torch.nn import functional as F

from regimen.allocator import keep_freed_memory
from regimen.finetune.losses.logprobs import token_logprobs

SIZES = ((1000, 50_000, 256, "float32"), (1000, 50_000, 256, "bfloat16"), (500, 150_000, 512, "float32"))
"""Trained tokens, vocabulary, hidden size, and what the model computes in."""


def measure(whose: str, tokens: int, vocabulary: int, hidden: int, dtype: str) -> None:
    """Prints seconds, MB and the loss of one contestant."""
    torch.set_num_threads(1)
    keep_freed_memory()
    torch.manual_seed(0)
    states = torch.randn(tokens, hidden).to(getattr(torch, dtype)).requires_grad_()
    head = (0.05 * torch.randn(vocabulary, hidden)).to(getattr(torch, dtype)).requires_grad_()
    wanted = torch.randint(vocabulary, (tokens,))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(5):
        start = time.process_time()
        logits = states @ head.T
        if whose == "ours":
            loss = -token_logprobs(logits, wanted).sum()
        else:
            loss = F.cross_entropy(logits.float(), wanted, reduction="sum")
        loss.backward(torch.tensor(1 / tokens))
        seconds.append(time.process_time() - start)
        states.grad = head.grad = None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(min(seconds), peak / 1024, loss.item() / tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one", nargs="*", help=argparse.SUPPRESS)
    one = parser.parse_args().one
    if one:
        measure(one[0], *map(int, one[1:4]), one[4])
        return
    print(f"torch {torch.__version__}, 1 thread")
    for size in SIZES:
        print("{} tokens, vocabulary {:,}, hidden {}, {}".format(*size))
        for whose in ("F.cross_entropy", "ours"):
            command = [sys.executable, __file__, whose, *map(str, size)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            seconds, megabytes, loss = map(float, said.split())
            print(f"  {whose:16} {seconds:7.3f} s {megabytes:8.0f} MB   loss {loss:.6f}")


if __name__ == "__main__":
    main()
