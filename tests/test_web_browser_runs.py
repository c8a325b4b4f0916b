"""The screens of runs in Chromium: live curves, a server that is killed while somebody watches, keyboard, phone."""

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

from made_runs import begun_run, made_run, many_points

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("needs Chromium", allow_module_level=True)
pytestmark = pytest.mark.long

PATIENCE_MS = 30_000
SERVE = """
import sys, uvicorn
from pathlib import Path
from regimen.web.app import make_app
from regimen.web.services.parts import Parts
uvicorn.run(make_app(Parts.at(Path(sys.argv[1]))), port=int(sys.argv[2]), log_level="error")
"""


class Server:
    """A server process of a home, on one port as long as the test lasts."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Until it answers."""
        self.process = subprocess.Popen([sys.executable, "-P", "-c", SERVE, str(self.home), str(self.port)])
        for _ in range(600):
            with suppress(OSError), urllib.request.urlopen(f"{self.url}/queue", timeout=5):
                return
            time.sleep(0.1)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("home"))
    yield running
    running.kill()


@pytest.fixture
def complaints() -> list[str]:
    """What a page's console said, and what it asked of others than its server."""
    return []


@pytest.fixture
def page(browser: Any, server: Server, complaints: list[str]) -> Iterator[Any]:
    with browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 900}) as context:
        context.set_default_timeout(PATIENCE_MS)
        yield watched(context.new_page(), server, complaints)


def watched(page: Any, server: Server, complaints: list[str]) -> Any:
    page.on("console", lambda said: said.type in ("error", "warning") and complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request", lambda asked: asked.url.startswith((server.url, "data:", "blob:")) or complaints.append(asked.url)
    )
    return page


def drawn(page: Any, key: str = "train/loss") -> list[list[float]]:
    """The points of a metric as Plotly has them."""
    points: list[list[float]] = page.evaluate(
        """key => {
            for (const place of document.querySelectorAll(".drawing")) {
                const found = (place.data ?? []).filter((trace) => trace.name === key && !trace.fill);
                if (found.length) return found.at(-1).x.map((x, number) => [x, found.at(-1).y[number]]);
            }
            return [];
        }""",
        key,
    )
    return points


def until(page: Any, condition: str) -> None:
    """Until this JavaScript is true. Playwright's own waiting evaluates in the page, which its policy forbids."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(100)


def wait_for_points(page: Any, steps: list[int]) -> list[list[float]]:
    """Until these steps are drawn, neither more nor fewer."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while [point[0] for point in drawn(page)] != steps:
        assert time.monotonic() < end, f"drawn: {drawn(page)}"
        page.wait_for_timeout(100)
    return drawn(page)


# ------------------------------------------------------------------------------------------------ live


def test_a_run_is_followed_live_and_survives_a_killed_server(server: Server, page: Any) -> None:
    writer = begun_run(server.home, "followed")

    def record(step: int) -> None:
        writer.metrics(step, {"train/loss": 10.0 - step, "time/elapsed_s": float(step), "time/fraction": step / 10})

    for step in range(1, 4):
        record(step)
    page.goto(f"/runs/{writer.id}?smooth=0")
    assert wait_for_points(page, [1, 2, 3]) == [[1, 9.0], [2, 8.0], [3, 7.0]]
    record(4)
    wait_for_points(page, [1, 2, 3, 4])
    page.locator(".facts").get_by_text("40%").wait_for()

    server.kill()
    page.locator(".away").wait_for(state="visible")
    record(5)
    record(6)
    server.start()
    begun = time.monotonic()
    wait_for_points(page, [1, 2, 3, 4, 5, 6])
    recovered_s = time.monotonic() - begun
    page.locator(".away").wait_for(state="hidden")
    assert recovered_s < 3 * max(1.0, os.getloadavg()[0] / 2), f"took {recovered_s:.1f} s"

    writer.status("completed", final={"train/loss": 4.0})
    writer.close()
    page.locator("#head .chip.completed").wait_for()
    assert page.locator("#actions").get_by_text("Stop").count() == 0


def test_what_a_resume_superseded_is_forgotten(server: Server, page: Any) -> None:
    writer = begun_run(server.home, "resumed")
    writer.metrics(1, {"train/loss": 3.0})
    keep = writer.length
    writer.metrics(2, {"train/loss": 99.0})
    writer.metrics(3, {"train/loss": 98.0})
    page.goto(f"/runs/{writer.id}?smooth=0")
    wait_for_points(page, [1, 2, 3])
    writer.resumed(1, keep)
    writer.metrics(2, {"train/loss": 2.0})
    assert wait_for_points(page, [1, 2]) == [[1, 3.0], [2, 2.0]]
    writer.close()


def test_the_list_follows_without_losing_what_is_ticked(server: Server, page: Any) -> None:
    done = made_run(server.home, "done")
    writer = begun_run(server.home, "live")
    page.goto("/runs")
    page.locator(f'input[value="{done}"]').check()
    writer.metrics(5, {"train/loss": 1.0, "time/fraction": 0.5})
    page.locator("td.done small").get_by_text("50%").wait_for()
    assert page.locator(f'input[value="{done}"]').is_checked()
    page.locator(f'input[value="{writer.id}"]').check()
    page.get_by_role("button", name="Compare selected").click()
    page.wait_for_url(f"**/compare?runs={writer.id},{done}")
    writer.close()


# ------------------------------------------------------------------------------------------------ looking


def test_how_curves_are_looked_at_stands_in_the_address(server: Server, page: Any, complaints: list[str]) -> None:
    run_id = many_points(server.home, "long", 600, ("train/loss", "valid/loss"), spike=300)
    page.goto(f"/runs/{run_id}")
    until(page, "document.querySelector('.drawing')?.data?.length > 2")
    page.get_by_label("smoothing").fill("20")
    page.get_by_label("along").select_option("time")
    until(page, "document.querySelector('.drawing')?.layout?.xaxis.title.text.includes('seconds')")
    assert "smooth=20" in page.url
    assert "x=time" in page.url
    band = page.evaluate("Math.max(...document.querySelector('.drawing').data[0].y)")
    line = page.evaluate("Math.max(...document.querySelector('.drawing').data[2].y)")
    assert band == 100.0, "the band shows the spike that smoothing hides"
    assert line < 10
    page.reload()
    until(page, "document.querySelector('.drawing')?.layout?.xaxis.title.text.includes('seconds')")
    assert page.get_by_label("smoothing").input_value() == "20"
    assert complaints == []


def test_several_runs_are_laid_over_one_another(server: Server, page: Any, complaints: list[str]) -> None:
    ids = [made_run(server.home, f"lr{lr}", strategy={"name": "sft", "lr": lr, "k": lr}) for lr in (1, 2, 3)]
    page.goto(f"/compare?runs={','.join(ids)}")
    page.locator("[data-compare][data-drawn=yes]").wait_for()
    names = page.evaluate("[...new Set(document.querySelector('.drawing').data.map((trace) => trace.name))]")
    assert [name[-6:] for name in names] == [run_id[-6:] for run_id in ids]
    rows = page.locator("#differences tbody tr:not(.group):visible")
    before = rows.count()
    page.get_by_label("Search settings").fill("strategy.lr")
    assert rows.count() == 1 < before
    assert complaints == []


def test_screens_have_no_serious_fault_in_any_look(server: Server, browser: Any, complaints: list[str]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    ids = [made_run(server.home, "fine"), made_run(server.home, "bad", status="diverged", message="train/loss is NaN.")]
    writer = begun_run(server.home, "looked-at")
    writer.metrics(5, {"train/loss": 1.0, "time/fraction": 0.5, "time/elapsed_s": 2.0})
    paths = [
        "/",
        "/runs",
        f"/runs/{writer.id}",
        f"/runs/{ids[1]}?tab=settings",
        f"/compare?runs={','.join(ids)}",
        "/queue",
    ]
    found = []
    for scheme, width in (("light", 1280), ("dark", 390)):
        with browser.new_context(
            base_url=server.url, color_scheme=scheme, viewport={"width": width, "height": 800}
        ) as context:
            context.set_default_timeout(PATIENCE_MS)
            page = watched(context.new_page(), server, complaints)
            for path in paths:
                page.goto(path)
                page.wait_for_load_state("load")
                page.wait_for_timeout(300)
                faults = axe.run(page).response["violations"]
                found += [
                    (path, scheme, fault["id"], [node["html"][:120] for node in fault["nodes"][:2]])
                    for fault in faults
                    if fault["impact"] in ("serious", "critical")
                ]
                beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                found += [(path, scheme, "wider than the window", beyond)] if beyond > 0 else []
    writer.close()
    assert found == []
    assert complaints == []


def test_the_keyboard_reaches_everything(server: Server, page: Any) -> None:
    run_id = made_run(server.home, "reached")
    page.goto("/runs")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    page.keyboard.press("Enter")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('href')") == f"/runs/{run_id}":
            break
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/runs/{run_id}")


def test_without_javascript_a_run_is_found_looked_at_and_stopped(server: Server, browser: Any) -> None:
    writer = begun_run(server.home, "plain")
    with browser.new_context(base_url=server.url, java_script_enabled=False) as context:
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.goto("/")
        page.get_by_role("link", name="Runs", exact=True).click()
        page.locator(f'a[href="/runs/{writer.id}"]').click()
        page.get_by_role("button", name="Stop").click()
        page.wait_for_load_state()
        assert (writer.folder / "stop").exists()
        page.locator("button[name=theme]").click()
        assert page.locator("html").get_attribute("data-theme") == "dark"
    writer.close()


def test_twenty_long_runs_are_compared_at_once(server: Server, page: Any) -> None:
    ids = [many_points(server.home, f"r{number}", 10_000, ("train/loss", "valid/loss"), 77) for number in range(20)]
    for most_s in (10.0, 2.5):  # the first time, all files are read
        begun = time.monotonic()
        page.goto(f"/compare?runs={','.join(ids)}")
        page.locator("[data-compare][data-drawn=yes]").wait_for()
        took = time.monotonic() - begun
        print(f"20 runs of 10,000 points: {took:.2f} s")
        assert took < most_s * max(1.0, os.getloadavg()[0] / 2)
