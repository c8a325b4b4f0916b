"""The queue and the machine over HTTP."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from counting import home_in, put
from regimen.queue.keeper import Keeper
from regimen.web.app import make_app
from regimen.web.services.hardware import read_gpu
from regimen.web.services.parts import Parts


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = Parts.at(home_in(tmp_path))
    yield made
    made.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    return TestClient(make_app(parts), base_url="http://127.0.0.1")


def body(client: TestClient, path: str, status: int = 200, method: str = "GET", **how: Any) -> Any:
    answer = client.request(method, f"/api/v1/{path}", **how)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_the_queue_is_seen_moved_paused_and_told_when_to_go_on(client: TestClient, parts: Parts) -> None:
    Keeper(parts.queue, slots=2)
    ids = [put(parts.queue, seed=seed).id for seed in range(3)]
    seen = body(client, "queue")
    assert [run["id"] for run in seen["waiting"]] == ids
    assert seen["waiting"][0]["name"] == "nothing · counting · seed 0"
    assert (seen["paused"], seen["goes_on_after_failure"], seen["slots"], seen["running"]) == (False, True, 2, [])
    moved = body(client, "queue/move", method="POST", json={"run_id": ids[2], "place": 0})
    assert [run["id"] for run in moved["waiting"]] == [ids[2], ids[0], ids[1]]
    body(client, "queue/move", 404, "POST", json={"run_id": "nothing", "place": 0})
    body(client, "queue/move", 422, "POST", json={"run_id": ids[0], "place": -1})
    assert body(client, "queue/pause", method="POST")["paused"]
    assert parts.queue.take() is None
    assert not body(client, "queue/resume", method="POST")["paused"]
    assert parts.queue.take().id == ids[2]
    after = body(client, "queue")
    assert [run["id"] for run in after["running"]] == [ids[2]]
    body(client, "queue/move", 409, "POST", json={"run_id": ids[2], "place": 0})
    goes_on = body(client, "queue/goes_on_after_failure", method="PUT", json={"value": False})
    assert not goes_on["goes_on_after_failure"]
    assert not parts.queue.goes_on_after_failure


def test_the_machine_is_described_with_who_has_which_device(client: TestClient, parts: Parts) -> None:
    record = put(parts.queue)
    parts.queue.take()
    seen = body(client, "hardware")
    assert seen["cores"] >= 1
    assert 0 < seen["memory_free_bytes"] <= seen["memory_bytes"]
    assert 0 < seen["disk_free_bytes"] <= seen["disk_bytes"]
    assert "regimen-ml" in seen["versions"]
    (device,) = [device for device in seen["devices"] if device["name"] == parts.queue.row(record.id).device]
    assert device["running"] == [record.id]


def test_an_answer_about_gpus_that_is_none_is_none() -> None:
    assert read_gpu("No devices were found") is None
    assert read_gpu("1, NVIDIA A, 1024, 1, [N/A]").busy is None


def test_a_server_that_does_all_this_imports_no_pytorch(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from fastapi.testclient import TestClient;"
        "from regimen.queue.keeper import Keeper; from regimen.web.app import make_app;"
        "from regimen.web.services.parts import Parts; parts = Parts.at(Path('home')); keeper = Keeper(parts.queue);"
        "client = TestClient(make_app(parts), base_url='http://127.0.0.1'); keeper.find_again(parts.home.runs);"
        "keeper.tick(); paths = ('runs', 'queue', 'hardware', 'runs/x', 'runs/x/diff/y');"
        "print([client.get(f'/api/v1/{path}').status_code for path in paths]);"
        "print(sorted({'torch', 'transformers', 'regimen.execute'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert found.stdout.splitlines() == ["[200, 200, 200, 404, 404]", "[]"]
