"""What all tests share: one thread, no network, the option `--data`, and a warm process to fork commands from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from published import write_published
from warm import Warm


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", type=Path, default=None, help="folder of real data; tests that want it skip without")
    parser.addoption("--kills", type=int, default=None, help="how many kills a strategy in test_kill.py")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests write below `tmp_path` only: every relative path is there."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def data_dir(request: pytest.FixtureRequest) -> Path:
    asked = request.config.getoption("--data")
    folder = request.config.invocation_params.dir / asked if asked else None
    if folder is None or not folder.exists():
        pytest.skip("needs --data DIR")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Runs `regimen` commands in processes forked from one that has imported torch already: 0.02 s instead of 5 s."""
    process = Warm()
    yield process
    process.close()


@pytest.fixture(scope="session")
def page(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the strategies of ModelForge's page."""
    folder = write_published(data_dir.parent / "seeds", tmp_path_factory.mktemp("page"))
    if folder is None:
        pytest.skip("needs ModelForge's page beside --data DIR")
    return folder
