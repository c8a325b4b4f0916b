"""A server's home with two trained models in it, for tests that ask them."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from regimen.execute import run
from tiny_runs import TASK


class Trained(NamedTuple):
    """The ids of its runs."""

    folder: Path
    lora: str
    full: str


def train(folder: Path) -> Trained:
    """Two runs of three steps below `folder`: an adapter on the tiny model, and the tiny model itself."""
    os.environ["OMP_NUM_THREADS"] = "1"
    ids = [run(settings(tuning, str(folder / "runs"))).id for tuning in ({"name": "lora", "r": 4}, "full")]
    return Trained(folder, *ids)


def settings(tuning: Any, output: str) -> dict[str, Any]:
    """Of one of them."""
    strategy = {"name": "sft", "tuning": tuning, "batch_size": 8, "optimizer": {"name": "adamw", "lr": 0.01}}
    base: dict[str, Any] = {"task": TASK, "strategy": strategy, "budget": {"steps": 3}, "threads": 1, "seed": 3}
    return base | {"device": "cpu", "output": output}


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """A real server of an application on a free port; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        free.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [free]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{free.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)
