"""A page of another origin, in a real browser: it changes nothing on the server and reads nothing from it."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn

from regimen.web.app import make_app
from regimen.web.gate import Gate
from regimen.web.services.parts import Parts

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.long, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

TOKEN = "a-token-of-the-test-0123456789"
SECRET = "a-name-that-only-the-server-knows"

ATTACK = """<!doctype html><meta charset="utf-8"><title>attack</title><body><script type="module">
const target = decodeURIComponent(location.hash.slice(1));
const said = {};
const tried = (name, promise) => promise.then((value) => { said[name] = value; }, () => { said[name] = "blocked"; });
const read = async (answer) => `${answer.type} ${answer.status} ${await answer.text()}`;
const body = JSON.stringify({ settings: { task: "sorting", strategy: "sft" } });
const json = { "Content-Type": "application/json" };
const waits = [];
for (const credentials of ["include", "omit"]) {
  for (const mode of ["cors", "no-cors", "same-origin"]) {
    const how = { credentials, mode };
    const name = `${credentials} ${mode}`;
    waits.push(tried(`read ${name}`, fetch(`${target}/api/v1/datasets`, how).then(read)));
    waits.push(tried(`page ${name}`, fetch(`${target}/`, how).then(read)));
    waits.push(tried(`pause ${name}`, fetch(`${target}/api/v1/queue/pause`, { ...how, method: "POST" }).then(read)));
    waits.push(tried(`text ${name}`, fetch(`${target}/api/v1/runs`, { ...how, method: "POST", body }).then(read)));
    waits.push(tried(`json ${name}`,
      fetch(`${target}/api/v1/runs`, { ...how, method: "POST", headers: json, body }).then(read)));
    waits.push(tried(`delete ${name}`,
      fetch(`${target}/api/v1/datasets/mine.jsonl`, { ...how, method: "DELETE" }).then(read)));
  }
}
navigator.sendBeacon(`${target}/api/v1/queue/pause`, "x");
const nothing = () => new Promise((go) => setTimeout(go, 4000, "nothing"));
const later = (name, wait) => waits.push(tried(name, Promise.race([wait, nothing()])));
for (const tag of ["img", "script", "iframe", "link", "object", "video"]) {
  const element = document.createElement(tag);
  if (tag === "link") { element.rel = "stylesheet"; element.href = `${target}/api/v1/queue`; }
  else if (tag === "object") element.data = `${target}/`;
  else element.src = `${target}/`;
  later(tag, new Promise((go) => { element.onload = () => go("loaded"); element.onerror = () => go("blocked"); }));
  document.body.append(element);
}
later("stream", new Promise((go) => {
  const source = new EventSource(`${target}/api/v1/runs/stream`, { withCredentials: true });
  source.onopen = () => go("open"); source.onmessage = (event) => go(event.data); source.onerror = () => go("blocked");
}));
for (const path of ["/ws/training", "/api/v1/runs/stream"]) later(`socket ${path}`, new Promise((go) => {
  const socket = new WebSocket(target.replace("http", "ws") + path);
  socket.onopen = () => go("open"); socket.onmessage = (event) => go(event.data); socket.onerror = () => go("blocked");
}));
const plain = "application/x-www-form-urlencoded";
for (const [type, path] of [[plain, "/queue/pause"], [plain, "/api/v1/queue/pause"],
  ["text/plain", "/api/v1/queue/pause"], ["multipart/form-data", "/api/v1/datasets"]]) {
  const frame = document.createElement("iframe");
  frame.name = `${type}${path}`;
  const form = document.createElement("form");
  Object.assign(form, { method: "post", action: target + path, enctype: type, target: frame.name });
  const field = document.createElement("input");
  Object.assign(field, { name: '{"a":"', value: '"}' });
  form.append(field);
  document.body.append(frame, form);
  form.submit();
  later(`form ${frame.name}`, new Promise((go) => { frame.onload = () => {
    try { go(frame.contentDocument.body.innerText); } catch { go("blocked"); } }; }));
}
const opened = window.open(`${target}/`);
later("window", new Promise((go) => setTimeout(() => {
  try { go(opened.document.body.innerText); } catch { go("blocked"); } }, 2500)));
await Promise.all(waits);
window.said = said;
</script>"""


class Served(NamedTuple):
    parts: Parts
    port: int
    foreign: int
    """The port of the attacker's page: another origin."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    parts = Parts.at(tmp_path / "home")
    (parts.home.datasets / "mine.jsonl").write_text(json.dumps({"prompt": SECRET, SECRET: "b"}) + "\n")
    (parts.home.datasets / f"{SECRET}.jsonl").write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    app = make_app(parts, gate=Gate.at("127.0.0.1", port, TOKEN))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    attacker = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Attacker)
    threading.Thread(target=attacker.serve_forever, daemon=True).start()
    yield Served(parts, port, attacker.server_address[1])
    attacker.shutdown()
    attacker.server_close()
    server.should_exit = True
    thread.join(20)
    listening.close()


class _Attacker(http.server.BaseHTTPRequestHandler):
    """Answers everything with the attack."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(ATTACK.encode())

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def state(parts: Parts) -> Any:
    files = {str(path): path.read_bytes() for path in parts.home.folder.rglob("*") if _is_kept(path)}
    return files, parts.queue.rows(), parts.queue.paused, parts.queue.goes_on_after_failure


def _is_kept(path: Path) -> bool:
    return path.is_file() and "queue.sqlite" not in path.name


@pytest.fixture
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        rules = "MAP rebound.example 127.0.0.1, MAP evil.example 127.0.0.1"
        arguments = ["--no-sandbox", f"--host-resolver-rules={rules}", "--disable-gpu", "--disable-popup-blocking"]
        found = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield found
        found.close()


def test_a_person_can_use_the_page(served: Served, browser: Any) -> None:
    """Else the other tests would prove nothing: with the cookie, the browser reads, and a form of ours changes."""
    context = browser.new_context()
    page = context.new_page()
    own = f"http://127.0.0.1:{served.port}"
    assert page.goto(f"{own}/").status == 401
    assert page.goto(f"{own}/?token={TOKEN}").status == 200
    assert "token" not in page.url
    assert SECRET in page.evaluate("fetch('/api/v1/datasets').then((answer) => answer.text())")
    assert page.evaluate("fetch('/api/v1/queue/pause', {method: 'POST'}).then((answer) => answer.status)") == 200
    assert served.parts.queue.paused
    page.goto(f"{own}/queue")
    page.locator("form[action$='/queue/pause'] button").first.click()
    page.wait_for_load_state()
    assert not served.parts.queue.paused
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(f"{own}/api/docs#queue_get")
    page.locator("#queue_get button[type=submit]").click()
    page.locator("#queue_get .answer pre", has_text="paused").wait_for()
    assert not problems


@pytest.mark.parametrize("knows", [True, False], ids=["a browser with the cookie", "a browser without"])
@pytest.mark.parametrize(
    "attacker", ["http://127.0.0.1:{foreign}", "http://localhost:{foreign}", "http://evil.example:{foreign}"]
)
def test_a_page_of_another_origin_changes_and_reads_nothing(
    served: Served, browser: Any, attacker: str, knows: bool
) -> None:
    own = f"http://127.0.0.1:{served.port}"
    said = _attacked(served, browser, attacker.format(foreign=served.foreign), own, knows)
    assert len(said) > 30


@pytest.mark.parametrize(
    "path", ["/", "/api/v1/datasets", "/api/v1/openapi.json", "/assets/x/app.css", "/api/v1/runs/stream"]
)
def test_a_name_that_was_bound_to_us_reads_nothing(served: Served, browser: Any, path: str) -> None:
    """DNS rebinding: the page is of the same origin as its requests, and only the Host tells."""
    page = browser.new_context().new_page()
    own = f"http://127.0.0.1:{served.port}"
    page.goto(f"{own}/?token={TOKEN}")
    before = state(served.parts)
    answer = page.goto(f"http://rebound.example:{served.port}{path}")
    assert answer.status == 421
    assert SECRET not in answer.text()
    status = page.evaluate("fetch('/api/v1/queue/pause', {method: 'POST'}).then((answer) => answer.status)")
    assert status == 421
    assert state(served.parts) == before


def _attacked(served: Served, browser: Any, attacker: str, own: str, knows: bool) -> dict[str, str]:
    context = browser.new_context()
    page = context.new_page()
    if knows:
        assert page.goto(f"{own}/?token={TOKEN}").status == 200
    before = state(served.parts)
    page.goto(f"{attacker}/#{own}")
    page.wait_for_function("window.said !== undefined", timeout=60_000)
    said: dict[str, str] = page.evaluate("window.said")
    for name, what in said.items():
        assert SECRET not in str(what), name
        assert str(what) != "open", name
        assert not str(what).startswith(("basic 2", "cors 2")), f"{name}: {what}"
    assert state(served.parts) == before
    for frame in (frame for one in context.pages for frame in one.frames):
        assert SECRET not in frame.content()
    context.close()
    return said
