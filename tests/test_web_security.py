"""Who may ask the server: every rule for every route and every method, as a table made from the application itself."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi import HOST, METHODS, ask, is_refused_websocket, paths_of
from regimen.document import Document
from regimen.prepared import prepare
from regimen.queue.enqueue import queued
from regimen.web.apidocs import OPENAPI
from regimen.web.app import make_app
from regimen.web.gate import Gate
from regimen.web.services.parts import Parts

TOKEN = "a-token-of-the-test-0123456789"
CANARY = "the canary of the test"
OWN = f"http://{HOST}"
TASK = {"name": "sorting", "train_rows": 96, "valid_rows": 16, "metrics": [], "samples": 0}


class Made(NamedTuple):
    """A home with a waiting run and a data set, a secret file beside it, and the applications of three gates."""

    parts: Parts
    run_id: str
    canary: Path
    here: FastAPI
    """On loopback: a browser needs the cookie."""
    strict: FastAPI
    """With `--token`."""
    outside: FastAPI
    """On all addresses."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("served")
    canary = folder / "canary.jsonl"
    canary.write_text(json.dumps({"prompt": CANARY, "completion": CANARY}) + "\n")
    parts = Parts.at(folder / "home")
    before = Path.cwd()
    os.chdir(parts.home.folder)
    record = queued(prepare(Document({"task": TASK, "strategy": "sft", "budget": {"steps": 2}, "threads": 1})))
    os.chdir(before)
    parts.queue.paused = True
    parts.queue.add(record.id, record.folder, "cpu")
    (parts.home.datasets / "mine.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (parts.home.datasets / "link.jsonl").symlink_to(canary)
    (record.folder / "artifacts").mkdir(exist_ok=True)
    (record.folder / "artifacts" / "link.jsonl").symlink_to(canary)
    (record.folder / "artifacts" / "page.html").write_text("<script>alert(1)</script>")
    (record.folder / "artifacts" / "drawing.svg").write_text("<svg onload='alert(1)'/>")
    gates = (
        Gate.at("127.0.0.1", 8000, TOKEN),
        Gate.at("127.0.0.1", 8000, TOKEN, always=True),
        Gate.at("0.0.0.0", 8000, TOKEN),
    )
    yield Made(parts, record.id, canary, *(make_app(parts, gate=gate) for gate in gates))
    parts.close()


def with_cookie(more: dict[str, str] | None = None) -> dict[str, str]:
    gate = Gate.at("127.0.0.1", 8000, TOKEN)
    return {"Origin": OWN, "Sec-Fetch-Site": "same-origin", "Cookie": f"{gate.cookie}={gate.pass_}", **(more or {})}


def state(made: Made) -> Any:
    """Everything that a request could have changed."""
    files = {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(made.parts.home.folder.parent.rglob("*"))
        if path.is_file() and "queue.sqlite" not in path.name and "/errors/" not in str(path)
    }
    queue = made.parts.queue
    return files, queue.rows(), queue.paused, queue.goes_on_after_failure


def filled(path: str, run_id: str) -> str:
    """The path of something that is there."""
    known = {"run_id": run_id, "other_id": run_id, "kind": "strategy", "model_id": run_id, "job_id": run_id}
    if path.endswith("/figures/{name}"):
        known["name"] = "report.html"
    elif "/runs/" in path:
        known["name"] = "page.html"
    elif "/datasets/" in path:
        known["name"] = "mine.jsonl"
    else:
        known["name"] = "sorting" if "/tasks/" in path else "sft"
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: known.get(found[1], "x"), path)


def routes(made: Made) -> list[str]:
    """Every path that the application has, from its routes and from its own description."""
    listed = {path for path, kind in paths_of(made.here.routes) if kind != "websocket"}
    described = set(made.here.openapi()["paths"])
    assert {re.sub(r":\w+\}", "}", path) for path in listed} >= described
    assert len(listed) > 25
    return sorted({filled(path, made.run_id) for path in listed} | {"/nowhere", "/api/v1/nowhere"})


JSON = {"Content-Type": "application/json"}
EVIL = "http://evil.example"
RULES: list[tuple[str, str, dict[str, str], bytes, set[int]]] = [
    ("foreign host", "here", {"Host": "evil.example"}, b"", {421}),
    ("foreign host with our port", "here", {"Host": "evil.example:8000"}, b"", {421}),
    ("our host, another port", "here", {"Host": "127.0.0.1:9"}, b"", {421}),
    ("foreign host, all addresses", "outside", {"Host": "evil.example:8000"}, b"", {421}),
    ("foreign origin", "here", with_cookie({"Origin": EVIL}), b"", {403}),
    ("foreign origin, JSON", "here", with_cookie({"Origin": EVIL, **JSON}), b"{}", {403}),
    ("another port's origin", "here", with_cookie({"Origin": "http://127.0.0.1:9000"}), b"", {403}),
    ("no origin's", "here", with_cookie({"Origin": "null"}), b"", {403}),
    ("cross-site", "here", with_cookie({"Sec-Fetch-Site": "cross-site"}), b"", {403}),
    ("same-site", "here", with_cookie({"Sec-Fetch-Site": "same-site"}), b"", {403}),
    ("an unknown site", "here", with_cookie({"Sec-Fetch-Site": "friendly"}), b"", {403}),
    ("preflight", "here", {"Origin": EVIL, "Access-Control-Request-Method": "DELETE"}, b"", {403}),
    ("a browser without the cookie", "here", {"Sec-Fetch-Site": "same-origin"}, b"", {401}),
    ("a browser without the cookie, with origin", "here", {"Origin": OWN, **JSON}, b"{}", {401}),
    ("a browser with a wrong cookie", "here", {"Origin": OWN, "Cookie": "regimen_8000=0"}, b"", {401}),
    ("a browser whose cookie is the token", "here", {"Origin": OWN, "Cookie": f"regimen_8000={TOKEN}"}, b"", {401}),
    ("text", "here", {"Content-Type": "text/plain"}, b'{"a": 1}', {415}),
    ("text with the cookie", "here", with_cookie({"Content-Type": "text/plain"}), b'{"a": 1}', {415}),
    ("a body of no type", "here", {}, b'{"a": 1}', {415}),
    ("a program's form", "here", {"Content-Type": "application/x-www-form-urlencoded"}, b"a=1", {415}),
    ("no token where all need it", "strict", JSON, b"{}", {401}),
    ("a wrong token", "strict", {"Authorization": "Bearer wrong"}, b"", {401}),
    ("the token as a name", "strict", {"Authorization": f"Basic {TOKEN}"}, b"", {401}),
    ("no token from outside", "outside", {"Host": "192.0.2.7:8000"}, b"", {401}),
    ("a wrong token from outside", "outside", {"Host": "192.0.2.7:8000", "Authorization": "Bearer 0"}, b"", {401}),
]


@pytest.mark.parametrize(("name", "app", "headers", "body", "expected"), RULES, ids=[rule[0] for rule in RULES])
def test_every_rule_holds_for_every_route_and_method(
    made: Made, name: str, app: str, headers: dict[str, str], body: bytes, expected: set[int]
) -> None:
    before = state(made)
    for path in routes(made):
        for method in METHODS:
            answer = ask(getattr(made, app), method, path, headers, body)
            assert answer.status in expected, f"{name}: {method} {path} gives {answer.status}"
            assert not [key for key in answer.headers if key.startswith("access-control-")]
            assert answer.headers["x-content-type-options"] == "nosniff"
    assert state(made) == before


def test_forms_are_refused_by_the_api_from_our_own_pages_too(made: Made) -> None:
    before = state(made)
    programs = [path for path in routes(made) if path.startswith(("/api/", "/v1/"))]
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        for path in programs:
            if (kind.startswith("multipart") and path == "/api/v1/datasets") or path.endswith("upload_dataset"):
                continue  # takes files
            for method in METHODS:
                answer = ask(made.here, method, path, with_cookie({"Content-Type": kind}), b"a=1")
                assert answer.status == 415, f"{method} {path} gives {answer.status}"
    assert state(made) == before


def test_who_is_known_passes(made: Made) -> None:
    """The table is no wall: with the right headers, nothing is refused by the gate."""
    ways = [(made.here, {}), (made.here, with_cookie()), (made.strict, {"Authorization": f"Bearer {TOKEN}"})]
    ways.append((made.outside, {"Host": "192.0.2.7:8000", "Authorization": f"bearer {TOKEN}"}))
    for path in routes(made):
        if "/runs/" in path and path.endswith("/stream"):
            continue  # it would stay open: see the next test
        for app, headers in ways:
            answer = ask(app, "HEAD", path, headers, head_only=True)
            assert answer.status not in (401, 403, 415, 421, 500), f"{path} gives {answer.status}"


def test_streams_pass_the_same_gate(made: Made) -> None:
    for app, headers, status in (
        (made.here, {}, 200),
        (made.here, {"Origin": EVIL}, 403),
        (made.here, {"Sec-Fetch-Site": "same-origin"}, 401),
        (made.strict, {}, 401),
    ):
        address = f"/api/v1/runs/{made.run_id}/events/stream"
        assert ask(app, "GET", address, headers, head_only=True).status == status


@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.example"}, {"origin": EVIL}, {"origin": "null"}, {"origin": OWN}, {"origin": OWN, "cookie": "a=b"}],
)
def test_websockets_pass_the_same_gate(made: Made, headers: dict[str, str]) -> None:
    sockets = {filled(path, made.run_id) for path, kind in paths_of(made.here.routes) if kind == "websocket"}
    for path in (*sockets, "/ws/training", "/nowhere"):
        assert is_refused_websocket(made.here, path, headers), path


@settings(max_examples=300, deadline=None)
@given(st.text(min_size=0, max_size=40), st.text(max_size=40))
def test_no_other_name_and_no_other_origin_passes(host: str, origin: str) -> None:
    gate = Gate.at("127.0.0.1", 8000, TOKEN)
    assert gate.why_not_from({"host": [host]}) is not None
    assert gate.why_not_from({"host": [HOST], "origin": [origin]}) is not None
    assert gate.why_not_from({"host": [HOST], "origin": [OWN]}) is None


@pytest.mark.parametrize("name", ["host", "origin", "authorization", "content-type", "cookie"])
def test_a_head_that_is_said_twice_is_refused(made: Made, name: str) -> None:
    values = {"host": (HOST, "evil.example"), "origin": (OWN, EVIL)}.get(name, ("a", "b"))
    status = ask(made.strict, "GET", "/api/v1/runs", [(name, value) for value in values]).status
    assert status in (400, 401, 403, 421)


# ------------------------------------------------------------------------------------------------ the cookie


def test_the_printed_address_gives_the_cookie_once(made: Made) -> None:
    answer = ask(made.here, "GET", f"/?token={TOKEN}&tab=queue", {"Sec-Fetch-Site": "none"})
    assert (answer.status, answer.headers["location"]) == (303, "/?tab=queue")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    name, _, value = cookie.partition(";")[0].partition("=")
    answer = ask(made.here, "GET", "/api/v1/runs", {"Sec-Fetch-Site": "same-origin", "Cookie": f"a=1; {name}={value}"})
    assert answer.status == 200
    for wrong in ("/?token=wrong", "/?token=", "/runs?token=" + TOKEN):
        answer = ask(made.here, "GET", wrong, {"Sec-Fetch-Site": "none", "Accept": "text/html"})
        assert answer.status == 401
        assert "set-cookie" not in answer.headers
    assert ask(made.here, "GET", f"/?token={TOKEN}", {"Sec-Fetch-Site": "cross-site"}).status == 403


def test_the_cookie_of_another_server_of_this_machine_is_no_pass() -> None:
    one, other = Gate.at("127.0.0.1", 8000, TOKEN), Gate.at("127.0.0.1", 8001, TOKEN + "x")
    assert one.cookie != other.cookie
    assert one.pass_ != other.pass_


def test_no_form_leads_away(made: Made) -> None:
    to = b"to=https%3A%2F%2Fevil.example%2F&theme=dark"
    form = with_cookie({"Content-Type": "application/x-www-form-urlencoded"})
    for body in (to, to.replace(b"https%3A%2F%2F", b"%2F%2F"), to.replace(b"https%3A%2F%2F", b"%2F%5C")):
        location = ask(made.here, "POST", "/theme", form, body).headers.get("location", "/")
        assert location.startswith("/")
        assert not location.startswith(("//", "/\\"))


@pytest.mark.long
def test_no_answer_tells_a_secret(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    (made.parts.home.own / "token").write_text(TOKEN)
    for name in ("HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "hf_a-secret-of-the-environment")
    for path in routes(made):
        if not path.endswith("/stream"):
            answer = ask(made.here, "GET", path, with_cookie())
            assert b"secret-of-the-environment" not in answer.body, path
            assert TOKEN.encode() not in answer.body, path
            assert CANARY.encode() not in answer.body, path


# ------------------------------------------------------------------------------------------------ answers


def test_no_page_lets_a_script_stand_in_it(made: Made) -> None:
    pages = [path for path in routes(made) if not path.startswith(("/api/v1/", "/v1/"))]
    for path in (*pages, OPENAPI, "/api/v1/runs", "/v1/models"):
        answer = ask(made.here, "GET", path, with_cookie())
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
        scripts = policy.get("script-src", policy["default-src"])
        assert scripts in ("'self'", "'none'"), path
        assert policy["frame-ancestors"] in ("'none'", "'self'")
        assert answer.headers["referrer-policy"] in ("same-origin", "no-referrer")
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        if "text/html" in answer.headers.get("content-type", "") and "sandbox" not in policy:
            text = answer.body.decode()
            assert not re.search(r"<script(?![^>]*\bsrc=)", text), path
            assert not re.search(r"\son\w+=", re.sub(r'"[^"]*"', '""', text)), path
            assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", text), path
            if "unsafe-inline" not in policy.get("style-src", ""):
                assert not re.search(r"<style|\sstyle=", text), path


@pytest.mark.parametrize("name", ["page.html", "drawing.svg"])
def test_what_a_run_left_is_an_attachment(made: Made, name: str) -> None:
    answer = ask(made.here, "GET", f"/api/v1/runs/{made.run_id}/artifacts/{name}", with_cookie())
    assert answer.status == 200
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["page.html", "drawing.svg", "code.py", "weights.pkl", "../up.jsonl", "a/b.jsonl", ""])
def test_an_upload_is_data_and_stays_in_its_folder(made: Made, name: str) -> None:
    body = (
        f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        'Content-Type: text/html\r\n\r\n{"prompt": "a", "completion": "b"}\r\n--x--\r\n'
    ).encode()
    before = state(made)[0]
    answer = ask(made.here, "POST", "/api/v1/datasets", {"Content-Type": "multipart/form-data; boundary=x"}, body)
    new = set(state(made)[0]) - set(before)
    if answer.status == 201:
        assert name.endswith(".jsonl")
        kept = answer.json["name"]
        assert {Path(path).parent for path in new if not path.endswith(".json")} == {made.parts.home.datasets}
        got = ask(made.here, "GET", f"/api/v1/datasets/{kept}/file")
        assert got.headers["content-disposition"].startswith("attachment")
        assert ask(made.here, "DELETE", f"/api/v1/datasets/{kept}").status == 204
    else:
        assert answer.status == 422
        assert not new


# ------------------------------------------------------------------------------------------------ paths


def hostile_names(made: Made) -> list[str]:
    canary = str(made.canary)
    up = "../" * 12 + canary.lstrip("/")
    return [
        "../canary.jsonl",
        "..",
        ".",
        "..%2f..%2fcanary.jsonl",
        "..%2f..%2f..%2f..%2fcanary.jsonl",
        "..%5c..%5ccanary.jsonl",
        "%2e%2e%2f%2e%2e%2fcanary.jsonl",
        "%252e%252e%252fcanary.jsonl",
        canary.replace("/", "%2f"),
        canary,
        "%2f" + canary.replace("/", "%2f"),
        up,
        up.replace("/", "%2f"),
        f"file:{canary}".replace("/", "%2f"),
        "mine.jsonl%00.txt",
        "%00",
        "%0a",
        "x" * 5000,
        "link.jsonl",
        "con%3a",
        "%ff%fe",
        "%ed%a0%80",
        "~",
        "%24(touch%20pwned)",
        ".regimen",
        "..%2f.regimen%2ftoken",
        "%2a",
    ]


def test_no_path_reads_or_writes_what_is_not_its_own(made: Made) -> None:
    (made.parts.home.own / "token").write_text(TOKEN)
    before = state(made)
    document = made.here.openapi()
    paths = {path for path, kind in paths_of(made.here.routes) if "{" in path and kind != "websocket"}
    assert len(paths) > 10
    for path in sorted(paths):
        methods = {method.upper() for method in document["paths"].get(re.sub(r":\w+\}", "}", path), {})}
        for parameter in re.findall(r"\{(\w+)(?::\w+)?\}", path):
            for name in hostile_names(made):
                address = filled(re.sub(r"\{" + parameter + r"(:\w+)?\}", lambda _, name=name: name, path), made.run_id)
                for method in sorted(methods & {"GET", "DELETE", "POST", "PUT"} or {"GET"}):
                    headers = with_cookie(JSON if method in ("POST", "PUT") else {})
                    answer = ask(made.here, method, address, headers, b"{}" if method in ("POST", "PUT") else b"")
                    assert CANARY.encode() not in answer.body, f"{method} {address[:200]}"
                    assert TOKEN.encode() not in answer.body, f"{method} {address[:200]}"
                    assert answer.status < 500, f"{method} {address[:200]} gives {answer.status}"
    assert state(made) == before
    assert made.canary.read_text().count(CANARY) == 2


# ------------------------------------------------------------------------------------------------ settings


EVIL_STRATEGY = '''
from pathlib import Path
from regimen.finetune.strategy import TrainingStrategy
Path("PWNED").write_text("by a strategy")
class Evil(TrainingStrategy):
    """Writes a file as soon as it is read."""
    name = "evil"
'''


def hostile_settings(made: Made) -> list[dict[str, Any]]:
    canary = str(made.canary)
    text = {"name": "text", "model": "tiny"}
    data = [
        canary,
        f"file://{canary}",
        f"FILE:{canary}",
        f" file://{canary}",
        "../canary.jsonl",
        "datasets/../../canary.jsonl",
        "datasets/link.jsonl",
        ".regimen/token",
        "./.regimen/../.regimen/token",
        "http://169.254.169.254/latest/meta-data",
        "https://evil.example/x.jsonl",
        "s3://bucket/x.jsonl",
        "/dev/zero",
        "/proc/self/environ",
        "~/.ssh/id_rsa",
        "a\x00b",
    ]
    names = ["./evil.py", "evil.py", "evil.PY", "evil.py:Evil", "./evil.py: Evil", " ./evil.py", "os:system", "évil:X"]
    return [
        *({"task": {**text, "data": {"train": path}}, "strategy": "sft"} for path in data),
        *({"task": {**text, "data": {"train": [path]}}, "strategy": "sft"} for path in data[:3]),
        *({"task": TASK, "strategy": name} for name in names),
        *({"task": name, "strategy": "sft"} for name in names),
        *({"task": TASK, "strategy": {"name": "sft", "optimizer": {"name": name}}} for name in names),
        *({"task": TASK, "strategy": {"name": "sft", "tuning": name}} for name in names),
        *({"task": {**text, key: True}, "strategy": "sft"} for key in ("trust_remote_code", "remote_code")),
        {"task": {**text, "model": canary}, "strategy": "sft"},
        {"task": {**text, "template": canary}, "strategy": "sft"},
        {"task": TASK, "strategy": "sft", "output": "/tmp/elsewhere"},
        {"task": TASK, "strategy": "sft", "output": "../elsewhere"},
        {"task": TASK, "strategy": "sft", "output": "runs/../../elsewhere"},
    ]


@pytest.mark.parametrize("route", ["/api/v1/runs/check", "/api/v1/runs"])
def test_settings_may_name_neither_code_nor_files_elsewhere(made: Made, route: str) -> None:
    (made.parts.home.folder / "evil.py").write_text(EVIL_STRATEGY)
    before = state(made)
    for hostile in hostile_settings(made):
        answer = ask(made.here, "POST", route, JSON, json.dumps({"settings": hostile}).encode())
        assert answer.status == 422, hostile
        assert CANARY.encode() not in answer.body
    assert state(made) == before
    assert not list(made.parts.home.folder.rglob("PWNED"))


META = "$(touch PWNED) `touch PWNED` ; touch PWNED | touch PWNED && touch PWNED > PWNED\n--help ${HF_TOKEN} {{7*7}} %s"


def test_text_is_text(made: Made) -> None:
    """Shell and template characters in every text that settings hold do nothing; a template runs in the sandbox."""
    escape = "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os.system('touch PWNED') }}"
    (made.parts.home.folder / "hostile.jinja").write_text(escape)
    text = {"name": "text", "model": "tiny", "data": {"train": "datasets/mine.jsonl"}}
    chats = made.parts.home.datasets / "chats.jsonl"
    chat = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    chats.write_text(json.dumps(chat) + "\n")
    asked: list[dict[str, Any]] = [
        {"task": TASK, "strategy": META},
        {"task": META, "strategy": "sft"},
        {"task": {**text, "model": META}, "strategy": "sft"},
        {"task": {**text, "data": {"train": META}}, "strategy": "sft"},
        {"task": {**text, "template": META}, "strategy": "sft"},
        {"task": TASK, "strategy": {"name": "sft", "optimizer": {"name": META}}},
        {"task": TASK, "strategy": "sft", "name": META, "device": META},
        {"task": TASK, "strategy": "sft", META: META},
        {"task": {**text, "data": {"train": "datasets/chats.jsonl"}, "template": "hostile.jinja"}, "strategy": "sft"},
    ]
    for hostile in asked:
        answer = ask(made.here, "POST", "/api/v1/runs/check", JSON, json.dumps({"settings": hostile}).encode())
        assert answer.status < 500
        assert answer.status >= 400 or not answer.json["ready"], hostile
        assert b"<class 'type'>" not in answer.body
    assert not list(made.parts.home.folder.rglob("PWNED"))
    assert not Path("PWNED").exists()


# ------------------------------------------------------------------------------------------------ bodies


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"settings": {"a": "' + b"x" * (3 << 20) + b'"}}', 413),
        (b'{"settings": {"a": NaN}}', 422),
        (b'{"settings": {"a": -Infinity}}', 422),
        (b'{"settings": {"a": 1e999}}', 422),
        (b'{"settings": {"a": ' + b"9" * 5000 + b"}}", 422),
        (b'{"settings": {"a": "\\ud800"}}', 422),
        (b'{"settings": {"\\udfff": 1}}', 422),
        (b'{"settings": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}", 422),
        (b"[" * 100_000, 422),
        (b"\xff\xfe", 422),
        (b"{", 422),
        (b"[]", 422),
        (b'"settings"', 422),
        (b"null", 422),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_body_that_nothing_could_keep_is_refused(made: Made, body: bytes, status: int) -> None:
    answer = ask(made.here, "POST", "/api/v1/runs/check", JSON, body)
    assert answer.status == status
    assert answer.json["errors"][0]["message"]
    if status == 413:  # also where its length is not said before
        chunked = {**JSON, "Transfer-Encoding": "chunked", "Content-Length": "0"}
        assert ask(made.here, "POST", "/api/v1/runs/check", chunked, body).status == 413


def test_an_unforeseen_error_is_an_answer_and_a_report_without_secrets(made: Made) -> None:
    app = make_app(made.parts)

    @app.get("/api/v1/broken")
    def broken() -> None:
        raise ZeroDivisionError("nobody thought of it")

    answer = ask(app, "GET", "/api/v1/broken?key=secret-of-the-query", {"Cookie": "secret=of-the-cookie"})
    assert answer.status == 500
    assert answer.json["status"] == 500
    assert answer.headers["content-security-policy"]
    name = re.search(r"\.regimen/errors/[\w.-]+", answer.json["errors"][0]["fix"])
    assert name is not None
    report = (made.parts.home.folder / name[0]).read_text()
    assert "nobody thought of it" in report
    assert "secret" not in report
