"""The first hour with the page, in Chromium as a person has it: upload, check, fix, train, stop, compare, talk."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("needs Chromium", allow_module_level=True)
pytestmark = pytest.mark.long

PATIENCE_MS = 120_000
STEPS = 100
SCREENS = ("/new", "/new?recipe=sorting&check=1", "/datasets", "/models", "/playground", "/plugins")


class Server:
    """`regimen up` on a folder, on one port as long as the test lasts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Until it answers."""
        words = ["up", "--folder", str(self.folder), "--port", str(self.port), "--no-open"]
        said = (self.folder.parent / "server.txt").open("a")
        command = [sys.executable, "-c", "import sys; from regimen.cli import main; sys.exit(main())", *words]
        self.process = subprocess.Popen(
            command, stdout=said, stderr=said, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True
        )
        end = time.monotonic() + 120
        while time.monotonic() < end:
            with suppress(OSError), urllib.request.urlopen(f"{self.url}/api/v1/queue", timeout=5):
                return
            assert self.process.poll() is None, (self.folder.parent / "server.txt").read_text()
            time.sleep(0.1)
        raise AssertionError("the server did not start")

    @property
    def link(self) -> str:
        """What it prints."""
        token = (self.folder / ".regimen" / "token").read_text().strip()
        return f"{self.url}/?token={token}"

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served") / "home"
    folder.mkdir()
    running = Server(folder)
    yield running
    running.process.send_signal(signal.SIGTERM)
    running.process.wait(30)
    reports = [path.read_text() for path in sorted((folder / ".regimen" / "errors").glob("*.txt"))]
    assert not reports, "\n".join(reports)


@pytest.fixture
def screens(tmp_path: Path) -> Path:
    """Where a picture of each screen is left, to be looked at."""
    folder = tmp_path / "screens"
    folder.mkdir()
    return folder


@pytest.fixture
def complaints() -> list[str]:
    """What a page's console said, and what it asked of others than its server."""
    return []


@pytest.fixture
def page(server: Server, complaints: list[str]) -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        with opened.new_context(base_url=server.url, viewport={"width": 1280, "height": 860}) as context:
            context.set_default_timeout(PATIENCE_MS)
            page = context.new_page()
            listen(page, server, complaints)
            yield page
        opened.close()


def listen(page: Any, server: Server, complaints: list[str]) -> None:
    """Keeps what its console says, and what it asks of others."""

    def said(message: Any) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def asked(request: Any) -> None:
        if not request.url.startswith((server.url, "data:", "blob:")):
            complaints.append(request.url)

    page.on("console", said)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", asked)


def looked_at(page: Any, screens: Path, name: str) -> None:
    """Leaves a picture of a screen, and finds nothing serious against its accessibility."""
    page.screenshot(path=screens / f"{name}.png")
    faults = axe.Axe().run(page).response["violations"]
    found = [
        (fault["id"], [node["html"][:160] for node in fault["nodes"][:2]])
        for fault in faults
        if fault["impact"] in ("serious", "critical")
    ]
    assert found == [], name


def step_of(page: Any) -> int:
    """The step that the run's screen shows; 0 before there is one."""
    shown = page.locator(".fact", has_text="step").first
    text = shown.locator("b").inner_text() if shown.count() else "0"
    return int(text.replace(",", ""))


def until(page: Any, what: str, is_so: Any) -> None:
    end = time.monotonic() + PATIENCE_MS / 1000
    while not is_so():
        assert time.monotonic() < end, what
        page.wait_for_timeout(100)


def fill(page: Any, values: dict[str, str]) -> None:
    """Fields of the form by their paths; what is folded is unfolded."""
    for path, text in values.items():
        field = page.locator(f'[name="{path}"]:not([type=hidden])')
        if not field.is_visible():
            field.locator("xpath=ancestor::details").locator("summary").first.click()
        if field.evaluate("one => one.localName") == "select":
            field.select_option(text)
        else:
            field.fill(text)


def test_the_first_hour(server: Server, page: Any, data_dir: Path, screens: Path, complaints: list[str]) -> None:
    page.goto(server.link)
    assert page.url == f"{server.url}/", "the token is not left in the address"

    # A strategy, a file of one's own, what it becomes, and what stands against it.
    page.get_by_role("link", name="Plug-ins").click()
    looked_at(page, screens, "plugins")
    page.get_by_role("link", name="sft", exact=True).click()
    page.get_by_role("link", name="Use it").click()
    page.locator("#file").set_input_files(data_dir / "dolly" / "dolly_test.jsonl")
    until(page, "the file is chosen", lambda: page.locator('[name="task.data.train"]').input_value().endswith(".jsonl"))
    page.wait_for_load_state()
    fill(
        page,
        {
            **{"task.samples": "2", "task.max_new_tokens": "8", "strategy.batch_size": "4", "budget.steps": str(STEPS)},
            **{"checkpoint.every": "5", "evaluate.every": "30", "log.every": "1", "threads": "1"},
        },
    )
    page.get_by_role("button", name="Check", exact=True).click()
    page.get_by_text("Ready, with 2 warnings").wait_for()
    looked_at(page, screens, "new")
    page.get_by_role("button", name="Fix: strategy.overlength: truncate").first.click()
    until(page, "the fix is taken", lambda: page.locator('[name="strategy.overlength"]').input_value() == "truncate")
    assert page.locator('[name="budget.steps"]').input_value() == str(STEPS), "what was typed stays"
    page.locator(".tokenline mark").first.wait_for()
    page.get_by_role("button", name="Start", exact=True).click()

    # Watched live, through a reload and a server that is killed.
    page.wait_for_url("**/runs/*")
    first = page.url.rpartition("/")[2]
    until(page, "it trains", lambda: step_of(page) >= 3)
    page.locator(".plot .drawing .main-svg").first.wait_for()
    page.reload()
    until(page, "it is followed after a reload", lambda: step_of(page) >= 25)
    looked_at(page, screens, "run")
    server.kill()
    page.locator(".away").wait_for(state="visible")
    before = step_of(page)
    server.start()
    until(page, "the view recovers", lambda: step_of(page) > before)
    page.locator(".away").wait_for(state="hidden")
    complaints[:] = [one for one in complaints if "ERR_CONNECTION" not in one and "ERR_INCOMPLETE" not in one]

    # Stopped, and resumed to its end.
    page.get_by_role("button", name="Stop", exact=True).click()
    page.locator("#head .chip.stopped").wait_for()
    page.get_by_role("button", name="Resume").click()
    page.locator("#head .chip.completed").wait_for()
    assert step_of(page) == STEPS

    # Another one, with one thing changed; compared.
    page.get_by_role("link", name="Clone and edit").click()
    fill(page, {"strategy.optimizer.lr": "0.002"})
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url("**/runs/*")
    second = page.url.rpartition("/")[2]
    assert second != first
    page.locator("#head .chip.completed").wait_for()
    page.goto("/runs")
    looked_at(page, screens, "runs")
    for run_id in (first, second):
        page.locator(f'input[value="{run_id}"]').check()
    page.get_by_role("button", name="Compare selected").click()
    page.locator("#differences code", has_text="strategy.optimizer.lr").wait_for()
    page.locator(".plot .drawing .main-svg").first.wait_for()
    looked_at(page, screens, "compare")

    # Talked to, and exported.
    page.goto(f"/runs/{second}")
    page.get_by_role("link", name="Talk to it").click()
    for name, number in (("max_new_tokens", "60"), ("temperature", "0.8"), ("seed", "3")):
        page.locator(f'[name="{name}"]').fill(number)
    page.get_by_label("Your message").fill("What are the primary colors?")
    page.get_by_role("button", name="Ask").click()
    page.locator(".proof").wait_for()
    assert "The two differ." in page.locator(".proof").inner_text()
    assert page.locator(".side1.base .said").inner_text() != page.locator(".side1.tuned .said").inner_text()
    looked_at(page, screens, "playground")
    page.goto(f"/models/{second}")
    page.get_by_role("button", name="Merged, fp32").click()
    export = page.get_by_role("link", name=f"{second}-merged-fp32").first
    export.wait_for()
    looked_at(page, screens, "model")
    export.click()
    page.get_by_role("link", name="Use in a new run").click()
    assert page.locator('[name="task.model"]').input_value() == f"models/{second}-merged-fp32"
    for name, path in (("start", "/"), ("models", "/models"), ("queue", "/queue"), ("data", "/datasets")):
        page.goto(path)
        looked_at(page, screens, name)
    page.goto("/datasets/dolly_test.jsonl?check=1&tokens=1")
    looked_at(page, screens, "dataset")
    assert complaints == []


def test_the_form_shows_what_the_choices_make_meaningful(page: Any, server: Server, complaints: list[str]) -> None:
    page.goto(server.link)
    page.goto("/new?strategy=sft&task=sorting")
    rank = page.locator('[name="strategy.tuning.r"]')
    assert rank.is_visible()
    page.locator('[name="strategy.tuning.name"]').select_option("full")
    rank.wait_for(state="hidden")
    page.locator('[name="seed"]').fill("7")
    page.locator("#strategy").select_option("dpo")
    page.wait_for_url("**settings=**dpo**")
    assert page.locator('[name="seed"]').input_value() == "7"
    page.get_by_role("button", name="As YAML").click()
    page.locator("#yaml").wait_for()
    assert "seed: 7" in page.locator("#yaml").input_value()
    page.get_by_role("button", name="As a form").click()
    page.locator('[name="seed"]').wait_for()
    assert page.locator('[name="seed"]').input_value() == "7"
    page.reload()
    assert page.locator("#strategy").input_value() == "dpo"
    assert complaints == []


@pytest.mark.parametrize("path", SCREENS)
def test_every_screen_fits_a_phone_in_the_dark(page: Any, server: Server, path: str, screens: Path) -> None:
    page.goto(server.link)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(path)
    looked_at(page, screens, "phone")
    beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert beyond <= 0


def test_a_file_can_be_dropped(page: Any, server: Server, complaints: list[str]) -> None:
    page.goto(server.link)
    page.goto("/datasets")
    drop = """text => {
        const files = new DataTransfer();
        files.items.add(new File([text], "dropped.jsonl"));
        const place = document.querySelector("[data-drop]");
        place.dispatchEvent(new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true}));
    }"""
    page.evaluate(drop, '{"prompt": "a", "completion": "b"}\n' * 12)
    page.wait_for_url("**/datasets/dropped*.jsonl?check=1")
    page.get_by_text("All 12 rows can be trained").wait_for()
    assert complaints == []
