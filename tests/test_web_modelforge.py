"""ModelForge's routes and WebSocket: its payloads in, its answers out, over the same runs, data sets and models."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient
from websockets.sync.client import connect

from counting import home_in, put
from regimen.published import NAMES
from regimen.records.reader import Record, load
from regimen.records.writer import RecordWriter
from regimen.web.app import make_app
from regimen.web.modelforge.names import TASKS, TrainingAsked
from regimen.web.services.parts import Parts
from trained_home import Trained, train

LOCAL = "http://127.0.0.1"
ROWS = "".join(json.dumps({"input": f"Say {n}.", "output": "so " * (n % 3) + str(n)}) + "\n" for n in range(24))
ASKED = {"strategy": "sft", "model_name": "tiny", "dataset": "mine.jsonl"}
PATIENCE_S = 240.0


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """A home with a data set, and a queue that only fills."""
    made = Parts.at(home_in(tmp_path_factory.mktemp("home")))
    (made.home.datasets / "mine.jsonl").write_text(ROWS)
    made.queue.paused = True
    yield made
    made.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    return TestClient(make_app(parts), base_url=LOCAL)


def browser(parts: Parts) -> TestClient:
    return TestClient(make_app(parts), base_url=LOCAL, headers={"Sec-Fetch-Site": "same-origin"})


def asked(client: TestClient, method: str, path: str, status: int = 200, **how: Any) -> Any:
    answer = client.request(method, f"/api/{path}", **how)
    assert answer.status_code == status, answer.text
    body = answer.json()
    if status >= 400:
        assert set(body) == {"error", "detail", "status_code"}
        assert body["status_code"] == status
        assert "Traceback" not in answer.text
    return body


# ------------------------------------------------------------------------------------------------ starting


def test_a_training_is_a_run_with_these_settings_and_zeros_are_values(client: TestClient, parts: Parts) -> None:
    zeros = {"weight_decay": 0.0, "lora_dropout": 0.0, "warmup_ratio": 0.0, "seed": 0, "max_grad_norm": 0.0}
    more = {"lora_r": 2, "lora_alpha": 4, "num_train_epochs": 1, "max_steps": -1, "max_seq_length": None}
    whole = {**ASKED, **zeros, **more, "task": "summarization", "provider": "huggingface", "compute_specs": "low_end"}
    started = asked(client, "POST", "start_training", json=whole)
    assert started["status"] == "queued"
    settings = Record(parts.queue.row(started["job_id"]).folder).settings
    strategy = settings["strategy"]
    assert strategy["tuning"] | {"r": 2, "alpha": 4, "dropout": 0.0, "name": "lora"} == strategy["tuning"]
    assert strategy["optimizer"]["weight_decay"] == 0
    assert (strategy["schedule"]["warmup"], strategy["clip_norm"]) == (0, None)
    assert (settings["seed"], settings["budget"]["epochs"], settings["budget"]["steps"]) == (0, 1, None)
    assert (settings["task"]["purpose"], settings["task"]["data"]["train"]) == ("summarization", "datasets/mine.jsonl")


def test_a_second_start_waits_behind_the_first(client: TestClient, parts: Parts) -> None:
    for _ in range(2):
        first = asked(client, "POST", "start_training", json=ASKED)
    second = asked(client, "POST", "finetune/start_training", json={**ASKED, "strategy": "SFT"})
    waiting = [row.id for row in parts.queue.rows("queued")]
    assert waiting.index(second["job_id"]) == waiting.index(first["job_id"]) + 1
    assert f"{len(waiting) - 1} are before it" in second["message"]
    told = asked(client, "GET", "training_status")
    assert (told["job_id"], told["status"], told["progress"], told["loss"]) == (second["job_id"], "queued", 0, None)
    stopped = asked(client, "POST", "stop_training", params={"job_id": first["job_id"]})
    assert (stopped["status"], load(parts.queue.row(first["job_id"]).folder).status) == ("stopped", "stopped")
    asked(client, "POST", "stop_training", 409, params={"job_id": first["job_id"]})
    asked(client, "POST", "stop_training", 404, params={"job_id": "no-such-run"})


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"strategy": "stf"}, 400, ["Unknown strategy: stf", "'sft'", "Available strategies", "dpo"]),
        ({"strategy": "./strategies/counting.py"}, 400, ["Unknown strategy"]),
        ({"lora_rr": 3}, 400, ["lora_rr", "'lora_r'"]),
        ({"lora_r": 0}, 400, ["lora_r"]),
        ({"learning_rate": "2e-4"}, 400, ["learning_rate"]),
        ({"num_train_epochs": 0}, 400, ["num_train_epochs"]),
        ({"optim": "nosuch"}, 400, ["optim", "nosuch", "adamw_torch"]),
        ({"optimizer": {"name": "os:system"}}, 400, ["optimizer"]),
        ({"name": "dpo"}, 400, ["name"]),
        ({"a.b": 1}, 400, ["a.b"]),
        ({"use_4bit": True, "use_8bit": True}, 400, ["use_4bit", "use_8bit"]),
        ({"use_lora": False, "lora_r": 4}, 400, ["use_lora", "lora_r"]),
        ({"task": "translation"}, 400, ["task", "summarization"]),
        ({"dataset": "/etc/passwd"}, 400, ["dataset", "--root"]),
        ({"dataset": "none.jsonl"}, 400, ["none.jsonl"]),
        ({"model_name": "evil.py"}, 400, ["model_name", "evil.py"]),
        ({"model_name": None}, 400, ["model_name"]),
        ({"output_dir": "/tmp/elsewhere"}, 400, ["output"]),
        ({"trust_remote_code": True}, 400, ["trust_remote_code"]),
        ({"provider": "unsloth"}, 409, ["provider", "unsloth"]),
    ],
)
def test_what_is_wrong_is_named_as_it_was_asked(
    client: TestClient, parts: Parts, change: dict[str, Any], status: int, words: list[str]
) -> None:
    before = parts.queue.rows()
    body = asked(client, "POST", "start_training", status, json={**ASKED, **change})
    for word in words:
        assert word in body["detail"]
    assert parts.queue.rows() == before


@pytest.mark.parametrize(
    ("change", "bits"),
    [
        ({"use_4bit": False, "use_8bit": False}, None),
        ({"use_4bit": True, "use_8bit": False}, 4),
        ({"use_4bit": False, "use_8bit": True}, 8),
    ],
)
def test_all_that_its_page_sends_means_what_it_says(
    client: TestClient, parts: Parts, change: dict[str, bool], bits: int | None
) -> None:
    details = {"bnb_4bit_compute_dtype": "float16", "bnb_4bit_quant_type": "nf4", "use_nested_quant": False}
    rest = {"fp16": False, "bf16": False, "optim": "paged_adamw_32bit", "group_by_length": True, "packing": False}
    started = asked(client, "POST", "finetune/start_training", json={**ASKED, **details, **rest, **change})
    strategy = Record(parts.queue.row(started["job_id"]).folder).settings["strategy"]
    assert (strategy["quantize"] or {}).get("bits") == bits
    assert (strategy["group_by_length"], strategy["packing"]) == (True, False)


def test_every_published_name_can_be_asked() -> None:
    assert set(NAMES) - {"output_dir"} <= set(TrainingAsked.model_fields)


# ------------------------------------------------------------------------------------------------ status


def test_every_number_of_a_status_was_recorded(
    client: TestClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(parts.home.folder)
    record = put(parts.queue)

    def told() -> Any:
        return asked(client, "GET", "training_status", params={"job_id": record.id})

    assert (told()["status"], told()["progress"], told()["current_step"], told()["total_steps"]) == (
        "queued",
        0,
        None,
        10,
    )
    parts.queue.withdraw(record.id)
    writer = RecordWriter(record.folder, record.id)
    writer.status("running")
    values = {"train/loss": 1.5, "train/lr": 0.0, "train/epoch": 0.5, "time/elapsed_s": 2.0, "time/fraction": 0.25}
    writer.metrics(5, values)
    now = told()
    assert (now["status"], now["progress"], now["loss"], now["learning_rate"]) == ("running", 25.0, 1.5, 0.0)
    assert (now["current_step"], now["total_steps"], now["current_epoch"], now["total_epochs"]) == (5, 20, 0.5, 2.0)
    assert now["eta_seconds"] == pytest.approx(6.0)
    assert now["message"] == "Training epoch 0.5/2 - Step 5/20"
    writer.metrics(6, values | {"train/loss": float("nan")})
    writer.status("diverged", message="train/loss is not finite.", exit_code=4)
    writer.close()
    failed = told()
    assert (failed["status"], failed["progress"], failed["loss"]) == ("error", 25.0, None)
    assert "not finite" in failed["error"]
    assert "strategy.optimizer.lr" in failed["error"]  # the next step to take

    with client.websocket_connect(f"/ws/training?job_id={record.id}") as socket:
        messages = [socket.receive_json() for _ in range(3)]
        assert [message["type"] for message in messages] == ["metrics", "metrics", "status"]
        assert (messages[0]["step"], messages[0]["loss"], messages[0]["learning_rate"]) == (5, 1.5, 0.0)
        assert messages[1]["loss"] is None
        assert {key: messages[2][key] for key in failed} == failed
        assert socket.receive()["type"] == "websocket.close"
    with client.websocket_connect(f"/ws/training?job_id={record.id}&after={messages[0]['cursor']}") as socket:
        assert socket.receive_json() == messages[1]


def test_a_socket_without_a_training_is_idle_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    parts = Parts.at(tmp_path)
    client = TestClient(make_app(parts), base_url=LOCAL)
    with client.websocket_connect("/ws/training") as socket:
        assert socket.receive_json()["status"] == "idle"
    with client.websocket_connect("/ws/training?job_id=nothing") as socket:
        told = socket.receive_json()
        assert (told["type"], told["status_code"]) == ("error", 404)
        assert socket.receive()["type"] == "websocket.close"


# ------------------------------------------------------------------------------------------------ choosing


def test_each_browser_has_its_own_choices_and_they_outlive_the_server(parts: Parts) -> None:
    one, other = browser(parts), browser(parts)
    detected = asked(one, "POST", "finetune/detect", json={"task": "summarization"})
    assert detected["model_recommendation"] in detected["possible_options"]
    assert detected["profile"] in ("low_end", "mid_range", "high_end")
    asked(other, "POST", "finetune/set_model", json={"selected_model": "tiny"})
    assert asked(one, "GET", "finetune/session")["selected_model"] is None
    assert asked(other, "GET", "finetune/session")["task"] is None
    assert asked(browser(parts), "GET", "finetune/session")["selected_model"] is None
    again = TestClient(make_app(parts), base_url=LOCAL, cookies=one.cookies, headers=one.headers)
    assert asked(again, "GET", "finetune/session")["task"] == "summarization"
    program = TestClient(make_app(parts), base_url=LOCAL)
    assert asked(program, "GET", "finetune/session")["selected_model"] == "tiny", "what was chosen last"
    job = asked(one, "POST", "start_training", json=ASKED)["job_id"]
    assert asked(one, "GET", "finetune/status")["job_id"] == job
    assert asked(other, "GET", "finetune/status")["status"] == "idle"
    asked(one, "POST", "finetune/reset_status")
    assert asked(one, "GET", "finetune/status")["status"] == "idle"
    assert parts.queue.row(job).state == "queued", "the training itself goes on"


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"task": 3}'])
def test_a_session_that_cannot_be_read_is_an_empty_one(parts: Parts, broken: str) -> None:
    cookie = "0" * 32
    (parts.home.own / "modelforge").mkdir(exist_ok=True)
    (parts.home.own / "modelforge" / f"{cookie}.json").write_text(broken)
    for value in (cookie, "../../token"):
        client = TestClient(make_app(parts), base_url=LOCAL, cookies={"modelforge_session": value})
        client.headers["Sec-Fetch-Site"] = "same-origin"
        assert asked(client, "GET", "finetune/session")["task"] is None


def test_the_settings_to_begin_with_can_be_started_as_they_are(client: TestClient) -> None:
    told = asked(client, "GET", "finetune/load_settings")
    asked(client, "POST", "start_training", json={**told["default_values"], **ASKED, "task": TASKS[0]})


def test_models_are_recommended_and_looked_at(client: TestClient) -> None:
    specs = asked(client, "GET", "finetune/hardware_specs")
    assert specs["cpu_cores"] >= 1
    for task in TASKS:
        found = asked(client, "GET", f"finetune/recommended_models/{task}")
        assert found["compute_profile"] == specs["compute_profile"]
        assert found["recommended_model"] == found["possible_models"][0]
        assert asked(client, "POST", "finetune/validate_task", json={"task": task}) == {"valid": True, "task": task}
    asked(client, "GET", "finetune/recommended_models/translation", 400)
    asked(client, "POST", "finetune/validate_task", 400, json={"task": "translation"})
    assert asked(client, "POST", "finetune/validate_model", json={"selected_model": " tiny "})["model"] == "tiny"
    chosen = asked(client, "POST", "finetune/set_custom_model", json={"repo_name": "tiny"})
    assert (chosen["selected_model"], chosen["model_info"]["model_type"]) == ("tiny", "llama")
    assert asked(client, "GET", "finetune/session")["is_custom_model"] is True
    asked(client, "POST", "finetune/validate_custom_model", 400, json={"repo_name": "/etc"})
    refused = asked(client, "POST", "finetune/validate_custom_model", 403, json={"repo_name": "nobody/nothing"})
    assert "nobody/nothing" in refused["error"]


def test_what_there_is(client: TestClient) -> None:
    assert asked(client, "GET", "health")["status"] == "healthy"
    info = asked(client, "GET", "info")
    assert {"sft", "qlora", "dpo"} <= set(info["strategies"])
    assert info["available_strategies"] == info["strategies"]
    assert info["tasks"] == info["supported_tasks"] == list(TASKS)
    assert info["providers"] == ["huggingface", "unsloth"]
    names = {one["name"] for one in asked(client, "GET", "finetune/providers")["providers"] if one["available"]}
    assert names == set(info["available_providers"])


# ------------------------------------------------------------------------------------------------ data sets


def test_an_upload_says_what_is_wrong_with_its_rows(client: TestClient) -> None:
    good = asked(client, "POST", "upload_dataset", files={"file": ("../good.jsonl", ROWS)})
    assert (good["filename"], good["num_examples"]) == ("good.jsonl", 24)
    assert good["validation"] == {"valid": True, "errors": [], "warnings": []}
    bad = asked(client, "POST", "upload_dataset", files={"file": ("bad.jsonl", ROWS + '{"input": 3, "output": ""}\n')})
    assert bad["validation"]["valid"] is False
    assert bad["validation"]["errors"][0].startswith("bad.jsonl:25: input is the number 3")
    wrong = asked(client, "POST", "upload_dataset", files={"file": ("good.jsonl", ROWS)}, params={"strategy": "dpo"})
    assert (wrong["filename"], wrong["validation"]["valid"]) == ("good-2.jsonl", False)
    asked(client, "POST", "upload_dataset", 400, files={"file": ("code.py", "print()")})
    listed = {one["filename"]: one for one in asked(client, "GET", "datasets")["datasets"]}
    assert listed["good.jsonl"]["num_examples"] == 24
    assert "code.py" not in listed
    path = asked(client, "POST", "finetune/validate_dataset_path", json={"dataset_path": "good.jsonl"})
    assert (path["file_path"], path["file_size"]) == (good["file_path"], len(ROWS))
    asked(client, "POST", "finetune/validate_dataset_path", 400, json={"dataset_path": "/etc/passwd"})
    asked(client, "POST", "finetune/validate_dataset_path", 404, json={"dataset_path": "none.jsonl"})
    asked(client, "POST", "finetune/validate_dataset_path", 404, json={"dataset_path": "strategies"})


# ------------------------------------------------------------------------------------------------ models


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("trained"))


def test_trained_models_are_listed_asked_and_deleted(home: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    parts = Parts.at(home.folder)
    client = TestClient(make_app(parts), base_url=LOCAL)
    listed = asked(client, "GET", "models")["models"]
    assert {model["id"] for model in listed} == {home.lora, home.full}
    assert asked(client, "GET", "models/all")["models"] == listed
    assert asked(client, "GET", f"models/task/{TASKS[0]}")["total"] == 2
    assert asked(client, "GET", f"models/task/{TASKS[1]}")["total"] == 0
    one = asked(client, "GET", f"models/{home.lora}")
    assert (one["base_model"], one["strategy"], one["config"]["lora_r"]) == ("tiny", "sft", 4)
    assert one["metrics"]["train/loss"] > 0
    assert str(home.folder) not in json.dumps([one, listed]), "no folder of the server is told"
    newest = asked(client, "GET", "playground/model_path")["model_path"]
    assert newest == listed[0]["model_path"]
    question = {"model_id": home.lora, "prompt": "Sort 3 1 2.", "max_new_tokens": 4, "temperature": 0, "top_p": 1}
    answer = asked(client, "POST", "playground/generate", json=question)
    assert 1 <= answer["tokens_generated"] <= 4
    assert answer["generation_time_ms"] > 0
    assert answer == asked(client, "POST", "playground/generate", json=question) | {
        "generation_time_ms": answer["generation_time_ms"]
    }
    opened = asked(client, "POST", "playground/new", json={"model_path": newest})
    assert opened["url"] == f"/playground?model={newest}"
    asked(client, "POST", "playground/generate", 404, json={**question, "model_id": "none"})
    asked(client, "POST", "playground/new", 400, json={})
    pushed = asked(client, "POST", "hub/push", 409, json={"model_path": home.lora, "repo_name": "me/mine"})
    assert "HF_TOKEN" in pushed["error"]
    folder = {"model_path": str(home.folder), "repo_name": "me/mine"}
    asked(client, "POST", "hub/push", 404, json=folder)
    asked(client, "DELETE", f"models/{home.full}")
    asked(client, "GET", f"models/{home.full}", 404)
    parts.close()


# ------------------------------------------------------------------------------------------------ the page's example


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real server of `tmp_path / "home"`."""
    command = [sys.executable, "-m", "regimen", "up", "--port", "0", "--no-open", "--folder", str(tmp_path / "home")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
    assert process.stdout is not None
    said = ""
    while "Ctrl-C" not in said:
        line = process.stdout.readline()
        assert line, f"it ended: {said}"
        said += line
    found = re.search(r"(http://\S+/)\?token=", said)
    assert found is not None
    yield found[1]
    process.kill()
    process.wait()


def curl(*words: str) -> Any:
    done = subprocess.run(["curl", "-sS", *words], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_example_of_the_page_is_started_with_curl_and_watched(server: str, page: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "strategies").mkdir()
    shutil.copy(page / "custom_strategy.py", home / "strategies" / "custom.py")
    (tmp_path / "rows.jsonl").write_text(ROWS)
    assert "custom" in curl(f"{server}api/info")["strategies"]  # without a restart
    uploaded = curl("-F", f"file=@{tmp_path / 'rows.jsonl'}", f"{server}api/upload_dataset?strategy=custom")
    assert uploaded["validation"]["valid"] is True
    body = {
        "strategy": "custom",
        "model_name": "tiny",
        "dataset": uploaded["filename"],
        "task": "text-generation",
        "provider": "huggingface",
        "max_seq_length": 24,
        "max_steps": 4,
        "lora_r": 2,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "logging_steps": 1,
        "device": "cpu",
    }
    json_type = ("-H", "Content-Type: application/json")
    started = curl("-X", "POST", f"{server}api/start_training", *json_type, "-d", json.dumps(body))
    job = started["job_id"]
    with connect(f"ws{server.removeprefix('http')}ws/training?job_id={job}", open_timeout=PATIENCE_S) as socket:
        told = [json.loads(message) for message in socket]
    assert told[-1]["status"] == "completed", told[-1]
    assert [one["step"] for one in told if one["type"] == "metrics" and one["loss"] is not None][-1] == 4
    status = curl(f"{server}api/training_status")
    assert (status["job_id"], status["status"], status["current_step"], status["total_steps"]) == (
        job,
        "completed",
        4,
        4,
    )
    assert curl(f"{server}api/models")["models"][0]["id"] == job
    config = json.loads(next(home.glob("runs/**/adapter/adapter_config.json")).read_text())
    assert (config["r"], config["lora_alpha"]) == (2, 32)  # asked, and the file's own
    refused = curl("-X", "POST", f"{server}api/start_training", *json_type, "-d", '{"strategy": "custm"}')
    assert refused["status_code"] == 400
    assert "model_name" in refused["detail"]
