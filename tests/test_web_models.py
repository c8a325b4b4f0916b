"""Models over HTTP: listed, asked, compared with their base, exported, published, deleted; their process may die."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

from regimen.errors import Refused  # noqa: E402
from regimen.execute import run  # noqa: E402
from regimen.finetune.results.proof import difference, logits  # noqa: E402
from regimen.finetune.results.trained import load_base, load_trained  # noqa: E402
from regimen.finetune.tiny import tiny_tokenizer  # noqa: E402
from regimen.listing import resolve  # noqa: E402
from regimen.web.app import make_app  # noqa: E402
from regimen.web.modelserver.asked import Ask, Sampling, Source  # noqa: E402
from regimen.web.modelserver.client import ModelServer  # noqa: E402
from regimen.web.services.parts import Parts  # noqa: E402
from trained_home import Trained, listening, settings, train  # noqa: E402

MODELS, GENERATE = "/api/v1/models", "/api/v1/generate"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def parts(home: Trained) -> Parts:
    return Parts.at(home.folder)


@pytest.fixture(scope="module")
def client(parts: Parts) -> Iterator[Any]:
    with listening(make_app(parts)) as url, httpx.Client(base_url=url, timeout=120) as client:
        yield client


def events_of(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def ended(client: Any, job: dict[str, Any]) -> dict[str, Any]:
    until = time.monotonic() + 120
    while job["status"] == "running":
        assert time.monotonic() < until
        time.sleep(0.1)
        job = client.get(f"{MODELS}/jobs/{job['id']}").json()
    return job


def test_what_runs_left_is_listed_without_folders(client: Any, home: Trained) -> None:
    listed = client.get(MODELS).json()["models"]
    by_id = {model["id"]: model for model in listed if not model["exported"]}
    assert by_id[home.lora]["kind"] == "adapter"
    assert by_id[home.full]["kind"] == "model"
    assert all(model["base"] == "tiny" and model["size_bytes"] > 1000 for model in by_id.values())
    assert not any(model["chat"] for model in by_id.values())  # their rows were prompts with answers
    assert client.get(f"{MODELS}/{home.full}").json() == by_id[home.full]
    assert str(home.folder) not in json.dumps(listed)
    for wrong in ("nothing", "..%2Fruns", home.lora + ":base"):
        assert client.get(f"{MODELS}/{wrong}").status_code == 404


def test_the_base_answers_beside_the_tuned_and_it_is_proved_that_they_differ(client: Any, home: Trained) -> None:
    asked = {"model": home.lora, "prompt": "Sort 3 1 2.", "max_new_tokens": 8, "compare": True, "logprobs": 0}
    made = client.post(GENERATE, json=asked).json()
    base, tuned = made["answers"]
    assert (base["who"], tuned["who"]) == ("base", "tuned")
    assert base["text"] != tuned["text"]
    assert [token["text"] for token in tuned["tokens"]] != [token["text"] for token in base["tokens"]]

    run = resolve(home.folder / "runs", home.lora)
    loaded = load_trained(run)
    ids = loaded.tokenizer("Sort 3 1 2.").input_ids
    apart = difference(logits(load_base(run), [ids]), logits(loaded.model, [ids]))
    weights = (run / "artifacts" / "adapter" / "adapter_model.safetensors").read_bytes()
    assert made["proof"]["logit_distance"] == pytest.approx(apart, abs=1e-5)
    assert made["proof"]["differ"] is True
    assert made["proof"]["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert made["proof"]["template_sha256"] == hashlib.sha256(loaded.tokenizer.chat_template.encode()).hexdigest()
    assert made["proof"]["trained"]["holds"] is True
    alone = client.post(GENERATE, json={**asked, "model": f"{home.lora}:base", "compare": False}).json()
    assert alone["answers"][0]["text"] == base["text"]


def test_a_stream_says_the_same_in_pieces(client: Any, home: Trained) -> None:
    asked = {"model": home.full, "prompt": "Sort 3 1 2.", "temperature": 1.3, "top_k": 50, "seed": 3, "compare": True}
    whole = client.post(GENERATE, json=asked).json()
    with client.stream("POST", GENERATE, json={**asked, "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = list(events_of(response.iter_lines()))
    assert [name for name, _ in events if name != "piece"] == ["begin", "end", "begin", "end", "proof", "done"]
    for answer in whole["answers"]:
        texts = [body["text"] for name, body in events if name == "piece" and body["who"] == answer["who"]]
        assert "".join(texts) == answer["text"]
    assert dict(events)["proof"] == whole["proof"]
    assert client.post(GENERATE, json={**asked, "seed": 4}).json()["answers"][1] != whole["answers"][1]


def test_a_seed_that_was_drawn_repeats_the_answer(client: Any, home: Trained) -> None:
    asked = {"model": home.full, "prompt": "Sort", "chat": False, "temperature": 2.0, "max_new_tokens": 12}
    first, second = (client.post(GENERATE, json=asked).json()["answers"][0] for _ in range(2))
    assert first["seed"] != second["seed"]
    again = client.post(GENERATE, json={**asked, "seed": first["seed"]}).json()["answers"][0]
    assert again["text"] == first["text"] != second["text"]


@pytest.mark.parametrize(
    ("wrong", "status", "said"),
    [
        ({"model": "nothing"}, 404, "no such model"),
        ({"prompt": None}, 422, "exactly one"),
        ({"messages": [{"role": "user", "content": "a"}]}, 422, "exactly one"),
        ({"quantized": True}, 409, "not trained on a quantized base"),
        ({"prompt": "x" * 5000}, 422, "maximum context length"),
        ({"model": "{lora}:base", "compare": True}, 422, "tuned model"),
        ({"max_new_tokens": 0}, 422, "max_new_tokens"),
        ({"top_p": 0}, 422, "top_p"),
        ({"frobnicate": 1}, 422, "frobnicate"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_status(
    client: Any, home: Trained, wrong: dict[str, Any], status: int, said: str
) -> None:
    body: dict[str, Any] = {"model": home.lora, "prompt": "a"} | wrong
    body["model"] = body["model"].replace("{lora}", home.lora)
    for stream in (False, True):
        response = client.post(GENERATE, json={**body, "stream": stream})
        assert response.status_code == status
        assert said in json.dumps(response.json())


def test_a_model_process_that_is_killed_is_said_and_started_again(client: Any, parts: Parts, home: Trained) -> None:
    asked = {"model": home.full, "prompt": "Sort", "max_new_tokens": 4}
    before = client.post(GENERATE, json=asked).json()
    pid = parts.models.pid
    assert pid is not None
    long = {**asked, "max_new_tokens": 480, "temperature": 3.0, "stream": True, "seed": 0}
    with client.stream("POST", GENERATE, json=long) as response:
        events = events_of(response.iter_lines())
        assert next(events)[0] == "begin"
        os.killpg(pid, signal.SIGKILL)
        *_, (name, body) = events
    assert (name, body["status"]) == ("error", 424)
    again = client.post(GENERATE, json=asked).json()
    assert again["answers"][0]["text"] == before["answers"][0]["text"]
    assert parts.models.pid not in (None, pid)


def test_who_leaves_ends_the_writing(client: Any, home: Trained) -> None:
    """The long answers would take many seconds; nobody waits for them once their readers have gone."""
    ask = {"model": home.full, "prompt": "Sort", "logit_bias": {"65": 100}, "max_tokens": 480, "stream": True}
    started = time.monotonic()
    with client.stream("POST", "/v1/completions", json=ask) as response:
        assert len(list(response.iter_lines())) > 480
    whole = time.monotonic() - started
    started = time.monotonic()
    for _ in range(4):
        with client.stream("POST", "/v1/completions", json=ask) as response:
            next(response.iter_lines())
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/completions", json={**ask, "stream": False, "n": 16}, timeout=0.2)
    assert client.post("/v1/completions", json={**ask, "max_tokens": 1, "stream": False}).status_code == 200
    assert time.monotonic() - started < 3 * whole + 2


@pytest.mark.long
def test_an_idle_process_ends_and_comes_back(home: Trained) -> None:
    server = ModelServer(idle_s=0.5)
    folder = resolve(home.folder / "runs", home.full)
    source = asdict(Source(str(folder / "artifacts" / "model"), str(folder)))
    try:
        assert server.ask("load", source)["chat"] is True
        until = time.monotonic() + 20
        while server.pid is not None:
            assert time.monotonic() < until
            time.sleep(0.1)
        assert server.ask("load", source)["vocabulary"] > 250
    finally:
        server.close()
    assert server.pid is None


@pytest.mark.long
def test_a_quantized_base_is_served_as_it_was_trained(client: Any, parts: Parts, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    import transformers

    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    base = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=259, eos_token_id=257, **sizes))
    folder = parts.home.datasets / "base"
    base.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    asked = settings({"name": "lora", "r": 4}, str(parts.home.runs))
    asked["task"] = {**asked["task"], "model": str(folder)}
    asked["strategy"]["quantize"] = {"bits": 4, "compute": "float32"}
    made = run(asked)
    question = {"model": made.id, "prompt": "Sort 3 1 2.", "max_new_tokens": 4, "compare": True}
    proofs = [client.post(GENERATE, json={**question, "quantized": q}).json()["proof"] for q in (True, False)]
    assert all(proof["differ"] for proof in proofs)
    assert proofs[0]["logit_distance"] != proofs[1]["logit_distance"]
    assert client.get(f"{MODELS}/{made.id}").json()["base"] == "base"


HOSTILE = "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}"
REMOTE = "from pathlib import Path\nPath('CANARY').touch()\n"


@pytest.mark.parametrize("how", ["template", "config", "torn"])
def test_nothing_in_a_models_folder_is_run(parts: Parts, home: Trained, tmp_path: Path, how: str) -> None:
    """Templates are rendered in the sandbox, code beside the weights is not imported, what is damaged is refused."""
    run = resolve(home.folder / "runs", home.full)
    folder = Path(shutil.copytree(run / "artifacts" / "model", tmp_path / "model"))
    if how == "template":
        (folder / "chat_template.jinja").write_text(HOSTILE.replace("CANARY", str(tmp_path / "canary")))
    elif how == "torn":
        os.truncate(folder / "model.safetensors", 1000)
    else:
        body = json.loads((folder / "config.json").read_text()) | {"model_type": "evil"}
        (folder / "config.json").write_text(json.dumps(body | {"auto_map": {"AutoConfig": "evil.Evil"}}))
        (folder / "evil.py").write_text(REMOTE.replace("CANARY", str(tmp_path / "canary")))
    with pytest.raises(Refused):
        parts.models.ask("load", asdict(Source(str(folder))))
    assert not (tmp_path / "canary").exists()
    assert parts.models.pid is not None


def test_requests_at_once_are_all_answered_as_alone(parts: Parts, home: Trained) -> None:
    folder = resolve(home.folder / "runs", home.full)
    source = Source(str(folder / "artifacts" / "model"), str(folder))
    asks = [Ask(source, text=f"Sort {n}", max_new_tokens=5, sampling=Sampling(1.0, seed=n)) for n in range(6)]

    async def text(ask: Ask) -> str:
        return "".join(
            [m["said"].get("text", "") async for m in parts.models.said("write", asdict(ask)) if "said" in m]
        )

    async def at_once() -> list[str]:
        return list(await asyncio.gather(*map(text, asks)))

    assert asyncio.run(at_once()) == [asyncio.run(text(ask)) for ask in asks]


def test_an_adapter_is_merged_asked_and_deleted(client: Any, home: Trained) -> None:
    begun = client.post(f"{MODELS}/{home.lora}/export", json={"kind": "merged"})
    assert begun.status_code == 202
    again = client.post(f"{MODELS}/{home.lora}/export", json={"kind": "merged"})
    assert again.status_code == 409
    job = ended(client, begun.json())
    assert (job["status"], job["result"]) == ("completed", f"{home.lora}-merged-fp32"), job
    assert client.get(f"{MODELS}/{job['result']}").json()["exported"] is True
    asked = {"prompt": "Sort 3 1 2.", "max_new_tokens": 8}
    merged, apart = (
        client.post(GENERATE, json={**asked, "model": name}).json()["answers"][0]["text"]
        for name in (job["result"], home.lora)
    )
    assert merged == apart
    both = client.post(GENERATE, json={**asked, "model": job["result"], "compare": True}).json()
    assert both["proof"]["differ"] is True
    assert client.delete(f"{MODELS}/{job['result']}").status_code == 204
    assert client.get(f"{MODELS}/{job['result']}").status_code == 404
    assert client.post(GENERATE, json={**asked, "model": job["result"]}).status_code == 404
    assert job["id"] in [one["id"] for one in client.get(f"{MODELS}/jobs").json()["jobs"]]


@pytest.mark.parametrize(
    ("which", "body", "status"),
    [("full", {"kind": "merged"}, 422), ("lora", {"kind": "model"}, 422), ("lora", {"kind": "gguf"}, 422)],
)
def test_exports_that_cannot_be_are_refused(
    client: Any, home: Trained, which: str, body: dict[str, Any], status: int
) -> None:
    assert client.post(f"{MODELS}/{getattr(home, which)}/export", json=body).status_code == status


def test_a_job_whose_process_died_has_failed(client: Any, parts: Parts, home: Trained) -> None:
    from regimen.web.modelserver.jobs import Job

    folder = parts.home.own / "modeljobs"
    folder.mkdir(exist_ok=True)
    Job("0DEAD", "export", home.full, 1.0, arguments={"out": "x"}).write(folder / "0DEAD.json")
    assert client.get(f"{MODELS}/jobs/0DEAD").json()["status"] == "failed"
    (folder / "0DEAD.json").unlink()
    assert client.get(f"{MODELS}/jobs/..%2F0DEAD").status_code == 404


def test_a_models_files_can_be_deleted_and_the_run_stays(client: Any, parts: Parts, tmp_path: Path) -> None:
    made = run(settings("full", str(parts.home.runs)) | {"seed": 9}).id
    assert client.delete(f"{MODELS}/{made}").status_code == 204
    assert client.get(f"{MODELS}/{made}").status_code == 404
    assert client.get(f"/api/v1/runs/{made}").json()["status"] == "completed"


def test_pushing_needs_a_token_and_a_network(client: Any, home: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    body = {"repo": "me/sorter"}
    refused = client.post(f"{MODELS}/{home.lora}/push", json=body)
    assert refused.status_code == 409
    assert refused.json()["errors"][0]["place"] == "HF_TOKEN"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = client.post(f"{MODELS}/{home.lora}/push", json=body)
    assert offline.status_code == 424
    assert "cannot be reached" in offline.text
    assert "hf_secret" not in offline.text + client.get(f"{MODELS}/jobs").text
    assert client.post(f"{MODELS}/{home.lora}/push", json={"repo": "../up"}).status_code in (422, 424)


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as a push asks for; keeps what it was sent."""

    sent: dict[str, Any] = {}

    def do_GET(self) -> None:
        self._answer({"name": "me", "type": "user"})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length")
        body = self.rfile.read(int(length)) if length else self._chunks()
        kind = self.path.rpartition("/")[2] if "/commit/" not in self.path else "commit"
        self.sent[kind] = body
        address = f"http://{self.headers['Host']}/me/sorter"
        self.sent["authorization"] = self.headers["Authorization"]
        if kind == "preupload" or "/preupload/" in self.path:
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            self._answer({"files": [{**file, "shouldIgnore": False} for file in files]})
        elif kind == "commit":
            self._answer({"commitUrl": f"{address}/commit/1", "commitOid": "1", "success": True})
        else:
            self._answer({"url": address, "name": "me/sorter", "id": "1"})

    def _chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        return found

    def _answer(self, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *more: Any) -> None:
        """Nothing."""


def test_a_push_sends_the_models_own_files_and_is_private(
    client: Any, home: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    adapter = resolve(home.folder / "runs", home.lora) / "artifacts" / "adapter"
    (adapter / "secret.json").symlink_to(home.folder / ".regimen" / "queue.sqlite")
    try:
        begun = client.post(f"{MODELS}/{home.lora}/push", json={"repo": "me/sorter"})
        assert begun.status_code == 202, begun.text
        job = ended(client, begun.json())
    finally:
        hub.shutdown()
        (adapter / "secret.json").unlink()
    assert job["status"] == "completed", job
    created = json.loads(Hub.sent["create"])
    assert created.get("private") is True or created.get("visibility") == "private"
    assert Hub.sent["authorization"] == "Bearer hf_secret"
    lines = [json.loads(line) for line in Hub.sent["commit"].splitlines()]
    names = {line["value"]["path"] for line in lines if line["key"] == "file"}
    assert names == {path.name for path in adapter.iterdir()} - {"secret.json"}
    assert str(home.folder).encode() not in Hub.sent["commit"]


def test_the_server_imports_no_torch() -> None:
    code = (
        "import sys, regimen.web.app, regimen.web.openai.alone as a; print({'torch', 'transformers'} & {*sys.modules})"
    )
    told = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"
