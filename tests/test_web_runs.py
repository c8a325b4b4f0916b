"""Runs over HTTP: list, look at, stop, resume, clone, tag, compare, delete; logs and events, read and streamed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient

from counting import home_in, put, settings, until
from regimen.errors import Diverged
from regimen.queue.keeper import Keeper
from regimen.queue.starter import Starter
from regimen.records.reader import Record
from regimen.records.writer import RecordWriter
from regimen.web.app import make_app
from regimen.web.services.parts import Parts
from regimen.web.sse import Streams

LOCAL = "http://127.0.0.1"


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    shared = Starter()
    yield shared
    shared.close()


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = Parts.at(home_in(tmp_path))
    yield made
    made.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    return TestClient(make_app(parts), base_url=LOCAL)


@pytest.fixture
def keeper(parts: Parts, starter: Starter) -> Keeper:
    return Keeper(parts.queue, starter=starter)


def finish(keeper: Keeper, run_id: str) -> None:
    until(lambda: keeper.queue.row(run_id).state == "ended", run_id, between=keeper.tick)


def body(client: TestClient, path: str, status: int = 200, method: str = "GET", **how: Any) -> Any:
    answer = client.request(method, f"/api/v1/runs{path}", **how)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


# ------------------------------------------------------------------------------------------------ looking


def test_a_run_is_followed_from_the_queue_to_its_end(client: TestClient, keeper: Keeper) -> None:
    first, second = put(keeper.queue), put(keeper.queue, seed=5)
    waiting = body(client, f"/{second.id}")
    assert (waiting["status"], waiting["place"], waiting["outcome"]["kind"]) == ("queued", 1, "queued")
    assert waiting["actions"] == ["stop", "clone", "delete"]
    finish(keeper, second.id)
    done = body(client, f"/{second.id}")
    assert (done["status"], done["step"], done["fraction"], done["left_s"]) == ("completed", 10, 1.0, None)
    assert done["metrics"]["valid/loss"] == Record(second.folder).final["valid/loss"]
    assert done["actions"] == ["clone", "delete"]
    assert done["log_tail"][-1] == "step 10"
    assert done["elapsed_s"] > 0
    found = body(client, "")
    assert [run["id"] for run in found["runs"]] == [second.id, first.id]
    assert found["runs"][0] == {key: done[key] for key in found["runs"][0]}


def test_the_list_is_filtered_and_sorted(client: TestClient, keeper: Keeper) -> None:
    ids = {seed: put(keeper.queue, seed=seed, ends="" if seed else "raises").id for seed in (0, 1, 2)}
    finish(keeper, ids[2])
    finish(keeper, ids[1])
    body(client, f"/{ids[1]}/tags", method="PUT", json={"tags": ["good", "good", " to  show "], "note": "the Best"})

    def listed(**query: Any) -> list[str]:
        return [run["id"] for run in body(client, "", params=query)["runs"]]

    assert listed(status="failed") == [ids[0]]
    assert listed(tag="good") == listed(text="the best") == listed(text="TO SHOW") == [ids[1]]
    assert listed(text=ids[2][-6:].lower()) == [ids[2]]
    assert listed(text="frobnicator") == [ids[0]]
    assert listed(strategy="sft") == listed(task="digits") == listed(tag="none") == []
    by_loss = listed(sort="metric", metric="valid/loss")
    values = [body(client, f"/{run}")["metrics"].get("valid/loss") for run in by_loss]
    assert values[:2] == sorted(values[:2])
    assert values[2] is None
    assert listed(limit=1, offset=1, sort="seed") == [ids[1]]
    wrong = body(client, "", 422, params={"metric": "valid/los"})
    assert wrong["errors"][0]["place"] == "metric"
    assert "valid/loss" in wrong["errors"][0]["fix"]
    body(client, "", 422, params={"status": "asleep"})


def test_tags_are_no_part_of_what_was_computed(client: TestClient, parts: Parts) -> None:
    record = put(parts.queue)
    said = body(client, f"/{record.id}/tags", method="PUT", json={"tags": [" a ", "a", "b"], "note": "n"})
    assert said == {"tags": ["a", "b"], "note": "n"}
    seen = body(client, f"/{record.id}")
    assert (seen["tags"], seen["note"], seen["content"]) == (["a", "b"], "n", record.content)
    for tags in ([""], ["x" * 41], ["a,b"], [str(n) for n in range(21)]):
        body(client, f"/{record.id}/tags", 422, "PUT", json={"tags": tags})
    (record.folder / "tags.json").write_text("{")
    assert body(client, f"/{record.id}")["tags"] == []


def test_what_is_not_there_is_said(client: TestClient, parts: Parts) -> None:
    record = put(parts.queue)
    for path in ("/nothing", "/..%2f..", f"/{'x' * 100}", f"/{record.id[:-1]}"):
        body(client, path, 404)
    for name in ("nothing", "..%2fspec.yaml", "%2fetc%2fpasswd", "x" * 150, "a%2f..%2f..%2f..%2fstatus.json"):
        body(client, f"/{record.id}/artifacts/{name}", 404)
    (record.folder / "artifacts" / "link").symlink_to("/etc/passwd")
    (record.folder / "artifacts" / "folder").symlink_to("/etc")
    body(client, f"/{record.id}/artifacts/link", 404)
    body(client, f"/{record.id}/artifacts/folder%2fpasswd", 404)
    names = [entry["name"] for entry in body(client, f"/{record.id}/artifacts")]
    assert "spec.yaml" in names
    assert "link" not in names
    answer = client.get(f"/api/v1/runs/{record.id}/artifacts/spec.yaml")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.content == (record.folder / "spec.yaml").read_bytes()


def test_two_runs_are_compared(client: TestClient, keeper: Keeper) -> None:
    a, b, c = put(keeper.queue), put(keeper.queue), put(keeper.queue, seed=1)
    finish(keeper, c.id)
    same = body(client, f"/{a.id}/diff/{b.id}")
    assert same["identical"]
    assert (same["a"], same["b"], same["settings"]) == (a.id, b.id, [])
    parted = body(client, f"/{a.id}/diff/{c.id}")
    assert [change["name"] for change in parted["settings"]] == ["seed"]
    assert (parted["parting"]["step"], parted["parting"]["name"]) == (1, "train/loss")
    body(client, f"/{a.id}/diff/nothing", 404)


def test_numbers_that_json_lacks_are_sent_all_the_same(client: TestClient, parts: Parts) -> None:
    record = put(parts.queue)
    writer = RecordWriter(record.folder, record.id)
    writer.metrics(1, {"train/loss": float("nan"), "valid/loss": float("-inf")})
    writer.status("diverged", exit_code=Diverged.exit_code, message="not finite.", final={})
    writer.close()
    seen = body(client, f"/{record.id}")
    assert seen["metrics"] == {"train/loss": None, "valid/loss": None}
    assert seen["outcome"]["kind"] == "diverged"
    assert body(client, f"/{record.id}/events")["events"][1]["values"] == {
        "train/loss": "NaN",
        "valid/loss": "-Infinity",
    }


# ------------------------------------------------------------------------------------------------ changing


def test_a_waiting_run_is_stopped_resumed_and_deleted(client: TestClient, keeper: Keeper) -> None:
    record = put(keeper.queue)
    stopped = body(client, f"/{record.id}/stop", method="POST")
    assert (stopped["status"], stopped["actions"]) == ("stopped", ["resume", "clone", "delete"])
    body(client, f"/{record.id}/stop", 409, "POST")
    again = body(client, f"/{record.id}/resume", method="POST")
    assert (again["status"], again["place"], again["message"]) == ("queued", 0, "")
    body(client, f"/{record.id}/resume", 409, "POST")
    finish(keeper, record.id)
    body(client, f"/{record.id}/resume", 409, "POST")
    body(client, f"/{record.id}", 204, "DELETE")
    body(client, f"/{record.id}", 404)
    assert not record.folder.exists()
    assert not record.folder.parent.exists()
    assert keeper.queue.row(record.id) is None


@pytest.mark.parametrize("now", [False, True])
def test_a_running_run_is_stopped_and_goes_on(client: TestClient, keeper: Keeper, now: bool) -> None:
    record = put(keeper.queue, steps=150, wait_s=0.02, every=10, ends="deaf" if now else "")
    until(lambda: body(client, f"/{record.id}")["step"] >= 12, "training", between=keeper.tick)
    seen = body(client, f"/{record.id}")
    assert (seen["status"], seen["actions"]) == ("running", ["stop", "clone"])
    assert seen["left_s"] > 0
    body(client, f"/{record.id}", 409, "DELETE")
    body(client, f"/{record.id}/resume", 409, "POST")
    body(client, f"/{record.id}/stop", method="POST", params={"now": now})
    finish(keeper, record.id)
    stopped = body(client, f"/{record.id}")
    assert (stopped["status"], stopped["outcome"]["kind"]) == ("stopped", "stopped")
    assert ("SIGKILL" in stopped["message"]) == now
    assert "resume" in stopped["actions"]
    if not now:
        body(client, f"/{record.id}/resume", method="POST")
        finish(keeper, record.id)
        assert body(client, f"/{record.id}")["resumes"]


def test_a_run_is_created_checked_cloned_and_edited(client: TestClient, parts: Parts) -> None:
    made = body(client, "", 201, "POST", json={"settings": settings(seed=3)})
    assert body(client, f"/{made['id']}/settings") == {"settings": settings(seed=3)}
    changes = {"strategy.every": 7, "seed": 4, "checkpoint.keep": 2}
    clone = body(client, f"/{made['id']}/clone", 201, "POST", json={"changes": changes})
    assert clone["id"] != made["id"]
    assert (clone["settings"]["strategy"]["every"], clone["settings"]["seed"]) == (7, 4)
    assert [row.id for row in parts.queue.rows("queued")] == [made["id"], clone["id"]]
    wrong = body(client, f"/{made['id']}/clone", 422, "POST", json={"changes": {"strategy.evry": 7}})
    assert "every" in wrong["errors"][0]["fix"]
    body(client, f"/{made['id']}/clone", 422, "POST", json={"changes": {"seed.x": 7}})
    body(client, f"/{made['id']}/clone", 422, "POST", json={"settings": {"strategy": "/etc/passwd.py"}})
    checked = body(client, "/check", method="POST", json={"settings": settings()})
    assert checked["ready"]
    assert len(parts.queue.rows()) == 2


# ------------------------------------------------------------------------------------------------ logs and events


def test_a_log_is_read_in_pieces_that_fit(client: TestClient, parts: Parts) -> None:
    record = put(parts.queue)
    assert body(client, f"/{record.id}/logs") == {"text": "", "cursor": 0, "size": 0}
    text = "a line\n" + "é" * 200_000 + "\nthe end 🎉\n"
    (record.folder / "log.txt").write_bytes(text.encode()[:-3])  # a character that is being written
    read, cursor = "", 0
    while (page := body(client, f"/{record.id}/logs", params={"after": cursor}))["text"]:
        read, cursor = read + page["text"], page["cursor"]
    assert read == text[:-2]
    (record.folder / "log.txt").write_bytes(text.encode())
    assert body(client, f"/{record.id}/logs", params={"after": cursor})["text"] == text[-2:]
    assert body(client, f"/{record.id}/logs", params={"after": 10**12})["text"] == ""
    body(client, f"/{record.id}/logs", 422, params={"after": -1})


@contextmanager
def served(parts: Parts) -> Iterator[str]:
    """A real server on a free port: a client in the same process cannot leave in the middle."""
    server = uvicorn.Server(uvicorn.Config(make_app(parts), port=0, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, "the server")
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"{LOCAL}:{port}/api/v1/runs"
    finally:
        server.should_exit = True
        thread.join()


def messages(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Server-sent events as a browser takes them."""
    message: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if not line and "data" in message:
            yield message
        if not line:
            message = {}
        elif name:
            message[name] = json.loads(value) if name == "data" else value


def test_a_stream_that_is_cut_again_and_again_loses_and_doubles_nothing(parts: Parts, keeper: Keeper) -> None:
    record = put(keeper.queue, steps=60, wait_s=0.02)
    seen, last, ended = list[int](), "", False
    with served(parts) as address:
        while not ended:
            keeper.tick()
            headers = {"Last-Event-ID": last} if last else {}
            with httpx.stream("GET", f"{address}/{record.id}/events/stream", headers=headers, timeout=30) as answer:
                for count, message in enumerate(messages(answer.iter_lines())):
                    ended = message.get("event") == "end"
                    if "event" not in message:
                        last = message["id"]
                        seen += [message["data"]["step"]] if message["data"]["kind"] == "metrics" else []
                    if ended or count > 5:
                        break
        assert message["data"]["status"] == "completed"
    assert seen == list(range(1, 61))
    assert int(last) == (record.folder / "events.jsonl").stat().st_size


def test_a_stream_ends_with_its_run_and_is_let_go_when_its_client_leaves(parts: Parts, client: TestClient) -> None:
    record = put(parts.queue)
    with served(parts) as address:
        with httpx.stream("GET", f"{address}/{record.id}/events/stream", timeout=30) as answer:
            first = next(messages(answer.iter_lines()))
            assert first["data"]["kind"] == "header"
        with httpx.stream("GET", f"{address}/stream", timeout=30) as answer:
            assert next(messages(answer.iter_lines()))["data"]["id"] == record.id
        assert httpx.get(f"{address}/nothing/events/stream").status_code == 404
        body(client, f"/{record.id}/stop", method="POST")
        with httpx.stream("GET", f"{address}/{record.id}/events/stream", timeout=30) as answer:
            last = list(messages(answer.iter_lines()))[-1]
    assert (last["event"], last["data"]["status"]) == ("end", "stopped")


def test_the_list_is_streamed_as_it_changes(parts: Parts, client: TestClient) -> None:
    record = put(parts.queue)
    with served(parts) as address, httpx.stream("GET", f"{address}/stream", timeout=30) as answer:
        coming = messages(answer.iter_lines())
        assert next(coming)["data"]["status"] == "queued"
        body(client, f"/{record.id}/stop", method="POST")
        changed = next(coming)
        assert (changed["event"], changed["data"]["status"]) == ("run", "stopped")
        other = put(parts.queue, seed=1)
        assert next(coming)["data"]["id"] == other.id


def test_streams_are_bounded(parts: Parts) -> None:
    app = make_app(parts)
    app.state.streams = Streams(most=0)
    answer = TestClient(app, base_url=LOCAL).get("/api/v1/runs/stream")
    assert answer.status_code == 429
    assert answer.json()["errors"][0]["fix"]


# ------------------------------------------------------------------------------------------------ many


def test_a_thousand_runs_are_listed_at_once(client: TestClient, parts: Parts) -> None:
    record = put(parts.queue)
    spec, status = ((record.folder / name).read_text() for name in ("spec.yaml", "status.json"))
    events = (record.folder / "events.jsonl").read_text()
    for number in range(1000):
        run_id = f"{record.id[:-4]}{number:04d}"
        folder = parts.home.runs / "nothing" / "many" / f"seed__{number}"
        folder.mkdir(parents=True)
        for name, text in (("spec.yaml", spec), ("status.json", status), ("events.jsonl", events)):
            (folder / name).write_text(text.replace(record.id, run_id))
    assert body(client, "")["total"] == 1001
    began = time.perf_counter()
    found = body(client, "", params={"text": f"{record.id[:-4]}0999", "sort": "metric"})
    took = time.perf_counter() - began
    print(f"1,001 runs listed in {took:.3f} s")
    assert [run["id"] for run in found["runs"]] == [f"{record.id[:-4]}0999"]
    assert took < 3.0  # 0.1 s on a quiet machine
