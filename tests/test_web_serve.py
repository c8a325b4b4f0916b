"""`regimen up`: one server a folder, an address with a token, and runs that do not care when it ends."""

from __future__ import annotations

import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from regimen.cli import main

PATIENCE_S = 60.0


class Up(NamedTuple):
    process: subprocess.Popen[str]
    url: str
    token: str
    said: str


Starts = Callable[..., Up]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starts]:
    """Starts servers of `tmp_path / "home"` and ends those that are left."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, folder: Path = tmp_path / "home") -> Up:
        command = [sys.executable, "-m", "regimen", "up", "--port", "0", "--no-open", "--folder", str(folder)]
        process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path
        )
        started.append(process)
        assert process.stdout is not None
        said = ""
        while "Ctrl-C" not in said:
            line = process.stdout.readline()
            assert line, f"it ended: {said}"
            said += line
        found = re.search(r"(http://\S+/)\?token=(\S+)", said)
        assert found is not None
        return Up(process, found[1], found[2], said)

    yield begin
    for process in started:
        process.kill()
        process.wait()


def test_it_answers_where_it_says_and_ends_when_it_is_asked_to(start: Starts, tmp_path: Path) -> None:
    up = start()
    assert up.said.count(up.token) == 1
    assert str((tmp_path / "home").resolve()) in up.said
    assert httpx.get(f"{up.url}api/v1/runs").json()["total"] == 0
    browser = {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Accept": "text/html"}
    with httpx.Client(headers=browser, follow_redirects=True) as client:
        assert client.get(up.url).status_code == 401
        answer = client.get(f"{up.url}?token={up.token}")
        assert answer.status_code == 200
        assert "token" not in str(answer.url)
        assert up.token not in answer.text
        assert client.get(f"{up.url}api/docs").status_code == 200
    assert httpx.get(f"{up.url}api/v1/runs", headers={"Host": "evil.example"}).status_code == 421
    token = tmp_path / "home" / ".regimen" / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(PATIENCE_S) == 0
    assert up.process.stdout is not None
    rest = up.process.stdout.read()
    assert rest.strip() == "stopped."  # and not a line for any of the requests


def test_a_stop_does_not_wait_for_open_streams(start: Starts) -> None:
    up = start()
    with httpx.stream("GET", f"{up.url}api/v1/runs/stream") as answer:
        assert answer.status_code == 200
        began = time.monotonic()
        up.process.send_signal(signal.SIGTERM)
        assert up.process.wait(PATIENCE_S) == 0
        assert time.monotonic() - began < 20


def test_a_restarted_server_knows_its_browsers_again(start: Starts) -> None:
    first = start()
    client = httpx.Client(headers={"Sec-Fetch-Site": "none"})
    client.get(f"{first.url}?token={first.token}")
    cookie = next(iter(client.cookies.jar))
    first.process.kill()
    first.process.wait()
    again = start("--port", str(httpx.URL(first.url).port))
    assert again.token == first.token
    headers = {"Sec-Fetch-Site": "same-origin", "Cookie": f"{cookie.name}={cookie.value}"}
    assert httpx.get(f"{again.url}api/v1/runs", headers=headers).status_code == 200


def test_a_folder_has_one_server(start: Starts, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    up = start()
    assert main(["up", "--folder", str(tmp_path / "home"), "--port", "0"]) == 3
    said = capsys.readouterr().err
    assert str(up.process.pid) in said
    assert said.count("\n") == 1


def test_a_port_in_use_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["up", "--folder", str(tmp_path / "home"), "--port", port]) == 2
    said = capsys.readouterr().err
    assert port in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--host", "203.0.113.7"], "203.0.113.7"),
        (["--host", "no such host"], "no such host"),
        (["--root", "nowhere"], "nowhere"),
        (["--port", "99999"], "--port"),
        (["--slots", "0"], "--slots"),
    ],
)
def test_what_cannot_be_served_is_said(arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--folder", "home", "--port", "0", *arguments]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert said.count("\n") == 1


def test_a_token_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "home" / ".regimen"
    own.mkdir(parents=True)
    (own / "token").write_text("short\n")
    assert main(["up", "--folder", str(tmp_path / "home"), "--port", "0"]) == 2
    assert "Delete it" in capsys.readouterr().err


def test_beyond_this_machine_all_need_the_token(start: Starts) -> None:
    up = start("--host", "0.0.0.0")
    assert "encrypted" in up.said + _next_line(up)
    port = httpx.URL(up.url).port
    for address in (f"http://127.0.0.1:{port}/", f"http://localhost:{port}/"):
        for path in ("", "api/v1/runs", "api/v1/openapi.json", "api/docs", "v1/models", "nowhere"):
            assert httpx.get(address + path).status_code == 401, path
        known = {"Authorization": f"Bearer {up.token}"}
        assert httpx.get(f"{address}api/v1/runs", headers=known).status_code == 200
        assert httpx.get(f"{address}api/v1/runs", headers={**known, "Host": "evil.example"}).status_code == 421


def _next_line(up: Up) -> str:
    assert up.process.stdout is not None
    return up.process.stdout.readline()


def test_with_token_programs_need_it_too(start: Starts) -> None:
    up = start("--token")
    assert httpx.get(f"{up.url}api/v1/runs").status_code == 401
    assert httpx.get(f"{up.url}api/v1/runs", headers={"Authorization": f"Bearer {up.token}"}).status_code == 200


def test_a_further_name_is_taken(start: Starts) -> None:
    up = start("--name", "train.example", "--name", "localhost:9000")
    assert httpx.get(f"{up.url}api/v1/runs", headers={"Host": "train.example"}).status_code == 200
    assert httpx.get(f"{up.url}api/v1/runs", headers={"Host": "localhost:9000"}).status_code == 200
    assert httpx.get(f"{up.url}api/v1/runs", headers={"Host": "train.example.evil.example"}).status_code == 421


def test_the_server_imports_nothing_heavy() -> None:
    """Neither PyTorch nor a plug-in, also after it has answered."""
    script = """
import sys
from pathlib import Path
from fastapi.testclient import TestClient
import regimen.web.serve
from regimen.web.app import make_app
from regimen.web.services.parts import Parts
with TestClient(make_app(Parts.at(Path("home")))) as client:
    for path in ("/", "/api/v1/runs", "/api/v1/queue", "/api/docs", "/api/v1/openapi.json", "/runs"):
        assert client.get(path).status_code == 200, path
heavy = ("torch", "transformers", "scipy", "pandas", "sklearn", "matplotlib", "peft", "datasets", "tensorflow")
plugins = tuple(f"regimen.{kind}." for kind in ("strategies", "tasks", "tunings", "spaces", "searchers", "criteria"))
print([name for name in sys.modules if name in heavy or name.startswith(plugins)])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_a_folder_that_cannot_be_a_home_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["up", "--folder", str(tmp_path / "file"), "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert str(tmp_path / "file") in said
    assert "cannot be a home for runs" in said
