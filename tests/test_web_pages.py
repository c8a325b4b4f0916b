"""The screens over HTTP, as a browser without JavaScript uses them: lists, details, forms and redirects."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from made_runs import begun_run, made_run
from regimen.queue.enqueue import queued_again
from regimen.web.app import make_app
from regimen.web.pages import wording
from regimen.web.services.parts import Parts
from regimen.web.services.tags import read_tags

ORIGIN = "http://testserver"


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts.at(tmp_path / "home")


@pytest.fixture
def home(parts: Parts) -> Path:
    return parts.home.folder


@pytest.fixture
def http(parts: Parts) -> Iterator[TestClient]:
    with TestClient(make_app(parts)) as client:
        yield client


def seen(http: TestClient, path: str, status: int = 200) -> str:
    answer = http.get(path)
    assert answer.status_code == status, answer.text
    return answer.text


def posted(http: TestClient, path: str, **fields: str) -> Response:
    """As a form of our own pages posts."""
    head = {"origin": ORIGIN, "content-type": "application/x-www-form-urlencoded"}
    return http.post(path, content=urlencode(fields), headers=head, follow_redirects=False)


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def names_listed(page: str) -> list[str]:
    return re.findall(r'<td class="name"><a href="/runs/([^"]+)"', page)


# ------------------------------------------------------------------------------------------------ start


def test_an_empty_server_says_how_to_begin(http: TestClient) -> None:
    assert "Train something" in seen(http, "/")
    assert "No runs yet" in seen(http, "/runs")
    assert "Nothing waits" in seen(http, "/queue")
    assert "Nothing to compare yet" in seen(http, "/compare")


def test_the_start_names_the_next_step_of_a_run_that_failed(http: TestClient, home: Path) -> None:
    made_run(home, "old")
    made_run(home, "bad", status="diverged", message="train/loss is NaN at step 3.")
    page = seen(http, "/")
    assert "train/loss is NaN at step 3." in page
    assert "Clone it with a lower strategy.optimizer.lr" in text_of(page)
    assert "Memory" in page


def test_the_start_offers_to_compare_runs_of_one_task(http: TestClient, home: Path) -> None:
    a, b = made_run(home, "a"), made_run(home, "b")
    assert f"/compare?runs={a},{b}" in seen(http, "/")


# ------------------------------------------------------------------------------------------------ runs


def test_runs_are_filtered_searched_and_sorted(http: TestClient, home: Path) -> None:
    low = made_run(home, "lr__0.1", losses={1: 0.5})
    high = made_run(home, "lr__0.2", losses={1: 5.0}, task={"name": "digits"})
    bad = made_run(home, "bad", status="failed", message="the frobnicator is empty")
    assert names_listed(seen(http, "/runs")) == [bad, high, low]
    assert names_listed(seen(http, "/runs?status=failed")) == [bad]
    assert names_listed(seen(http, "/runs?task=digits")) == [high]
    assert names_listed(seen(http, "/runs?q=FROBNICATOR+is")) == [bad]
    assert names_listed(seen(http, "/runs?sort=metric&metric=train/loss"))[:1] == [low]
    assert names_listed(seen(http, "/runs?sort=metric&metric=train/loss&reverse=1"))[:1] == [high]
    assert "No run matches" in seen(http, "/runs?q=nothing")
    assert "train/los" in seen(http, "/runs?metric=train/los", 422)
    seen(http, "/runs?sort=colour", 422)


def test_tags_are_written_shown_and_filtered_by(http: TestClient, home: Path) -> None:
    run_id, other = made_run(home, "a"), made_run(home, "b")
    assert posted(http, f"/runs/{run_id}/tags", tags="baseline, for the paper", note="keep <this>").status_code == 303
    page = seen(http, f"/runs/{run_id}")
    assert "keep &lt;this&gt;" in page
    assert names_listed(seen(http, "/runs?tag=for+the+paper")) == [run_id]
    assert other in seen(http, "/runs")
    assert read_tags(next(home.glob("runs/a/*"))).tags == ("baseline", "for the paper")


def test_the_list_comes_in_pages(http: TestClient, home: Path) -> None:
    made = [made_run(home, f"r{number:03}") for number in range(53)]
    first, second = seen(http, "/runs"), seen(http, "/runs?page=2")
    assert names_listed(first) + names_listed(second) == made[::-1]
    assert 'href="/runs?page=2" rel="next"' in first
    assert "53 runs, 51–53 shown" in text_of(second)


@pytest.mark.long
def test_a_thousand_runs_are_listed_within_a_second(http: TestClient, home: Path) -> None:
    for number in range(1000):
        made_run(home, f"r{number:04}")
    seen(http, "/runs")
    begun = time.perf_counter()
    page = seen(http, "/runs")
    took = time.perf_counter() - begun
    assert "1,000" in page
    assert took < 1.0


# ------------------------------------------------------------------------------------------------ a run


def test_a_run_says_where_it_stands(http: TestClient, home: Path) -> None:
    writer = begun_run(home)
    writer.metrics(10, {"train/loss": 3.0, "time/elapsed_s": 5.0, "time/fraction": 0.25})
    page = seen(http, f"/runs/{writer.id}")
    writer.close()
    assert "25%" in page
    assert "15s" in text_of(page), "a quarter took 5 s, so 15 s are left"
    assert f'data-follow="/api/v1/runs/{writer.id}/events/stream"' in page
    assert f'action="/runs/{writer.id}/stop"' in page
    assert f'action="/runs/{writer.id}/resume"' not in page


def test_every_tab_of_a_run_is_there(http: TestClient, home: Path) -> None:
    run_id = made_run(home)
    folder = next(home.glob("runs/a/*"))
    (folder / "log.txt").write_text("a line of the log\n")
    (folder / "artifacts" / "samples.json").write_text('[{"prompt": "2 + <b>2</b>", "expected": "4", "after": "5"}]')
    (folder / "artifacts" / "data.json").write_text('{"splits": {"train": {"rows": 54, "kept": 50}}}')
    (folder / "artifacts" / "ranking.html").write_text("<h1>Ranking</h1>")
    page = seen(http, f"/runs/{run_id}")
    tabs = re.findall(r'<li><a href="([^"]+)"', page)
    assert [tab.partition("tab=")[2] for tab in tabs] == [
        "",
        "ranking.html",
        "answers",
        "data",
        "settings",
        "files",
        "log",
    ]
    shown = {tab: seen(http, tab) for tab in tabs}
    assert "2 + &lt;b&gt;2&lt;/b&gt;" in shown[f"/runs/{run_id}?tab=answers"]
    assert "54" in shown[f"/runs/{run_id}?tab=data"]
    assert "a line of the log" in shown[f"/runs/{run_id}?tab=log"]
    assert "ranking.html" in shown[f"/runs/{run_id}?tab=files"]
    settings = shown[f"/runs/{run_id}?tab=settings"]
    assert "strategy.clip_norm" in settings
    assert "null" in settings
    seen(http, f"/runs/{run_id}?tab=nonsense", 404)


def test_a_figure_may_style_itself_and_nothing_else(http: TestClient, home: Path) -> None:
    run_id = made_run(home)
    folder = next(home.glob("runs/a/*"))
    (folder / "artifacts" / "ranking.html").write_text("<script>alert(1)</script>")
    (folder / "artifacts" / "other.html").write_text("x")
    answer = http.get(f"/runs/{run_id}/figures/ranking.html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'self'" in policy
    for name in ("other.html", "..%2Fspec.yaml", "spec.yaml"):
        assert http.get(f"/runs/{run_id}/figures/{name}").status_code == 404


def test_what_a_run_holds_is_never_markup(http: TestClient, home: Path) -> None:
    evil = "<script>alert(1)</script>"
    run_id = made_run(home, status="failed", message=evil, task={"name": evil, "model": evil})
    (next(home.glob("runs/a/*")) / "log.txt").write_text(evil)
    for path in ("/", "/runs", f"/runs/{run_id}", f"/runs/{run_id}?tab=settings", f"/runs/{run_id}?tab=log",
                 f"/compare?runs={run_id}", f"/runs/{run_id}/delete", f"/runs?q={evil}"):  # fmt: skip
        page = seen(http, path)
        assert evil not in page
        assert "alert(1)" in page


def test_a_run_is_stopped_resumed_and_deleted_by_forms(http: TestClient, home: Path, parts: Parts) -> None:
    run_id = made_run(home, status="stopped")
    page = seen(http, f"/runs/{run_id}")
    assert "Resume it: it goes on from its last checkpoint." in page
    assert posted(http, f"/runs/{run_id}/resume").headers["location"] == f"/runs/{run_id}"
    assert [row.id for row in parts.queue.rows("queued")] == [run_id]
    assert posted(http, f"/runs/{run_id}/stop").status_code == 303
    assert parts.queue.rows("queued") == []
    assert "That cannot be done" in posted(http, f"/runs/{run_id}/stop").text
    assert "cannot be undone" in seen(http, f"/runs/{run_id}/delete")
    assert posted(http, f"/runs/{run_id}/delete").headers["location"] == "/runs"
    assert "Not found" in seen(http, f"/runs/{run_id}", 404)
    assert posted(http, f"/runs/{run_id}/resume").status_code == 404


# ------------------------------------------------------------------------------------------------ compare


def test_compare_shows_only_what_differs(http: TestClient, home: Path) -> None:
    a = made_run(home, "a", losses={1: 2.0})
    b = made_run(home, "b", losses={1: 1.0}, strategy={"name": "sft", "optimizer": {"name": "adamw", "lr": 0.01}})
    page = seen(http, f"/compare?runs={a},{b}")
    rows = re.findall(r"<td><code>([^<]+)</code></td>", page)
    assert "strategy.optimizer.lr" in rows
    assert "strategy.clip_norm" in rows, "one run has this setting unset, the other has not got it"
    assert "task.name" not in rows
    assert re.search(r'<td class="best">1 ', page), "the lower loss is marked"
    everything = re.findall(r"<td><code>([^<]+)</code></td>", seen(http, f"/compare?runs={a},{b}&show=all"))
    assert "task.name" in everything
    assert re.findall(r"<td><code>([^<]+)</code></td>", seen(http, f"/compare?runs={a},{b}&q=optimizer.lr")) == [
        "strategy.optimizer.lr"
    ]


def test_selected_runs_get_one_address(http: TestClient, home: Path) -> None:
    a, b = made_run(home, "a"), made_run(home, "b")
    answer = http.get(f"/compare?runs={a}&runs={b}", follow_redirects=False)
    assert answer.headers["location"] == f"/compare?runs={a},{b}"
    assert "no such run" in seen(http, f"/compare?runs={a},gone", 404)
    seen(http, "/compare?runs=" + ",".join(f"r{number}" for number in range(50)), 422)


# ------------------------------------------------------------------------------------------------ queue


def test_the_queue_is_ordered_paused_and_emptied_by_forms(http: TestClient, home: Path, parts: Parts) -> None:
    ids = [made_run(home, name, status="stopped") for name in "abc"]
    for folder in sorted(home.glob("runs/*/*")):
        record = queued_again(folder)
        parts.queue.add(record.id, folder, "cpu")
    a, b, c = ids
    assert names_listed(seen(http, "/queue")) == [a, b, c]
    posted(http, f"/queue/{c}/move", to="first")
    posted(http, f"/queue/{a}/move", to="down")
    posted(http, f"/queue/{a}/move", to="up")
    assert names_listed(seen(http, "/queue")) == [c, a, b]
    posted(http, "/queue/pause", paused="true")
    assert "Paused." in seen(http, "/queue")
    assert "The queue is paused" in seen(http, "/")
    posted(http, "/queue/pause", paused="false")
    posted(http, "/queue/after-failure", goes_on="false")
    assert "after a failure the queue pauses" in text_of(seen(http, "/queue"))
    posted(http, f"/queue/{c}/stop")
    assert names_listed(seen(http, "/queue")) == [a, b]
    assert posted(http, f"/queue/{c}/move", to="up").status_code == 409
    assert posted(http, f"/queue/{a}/move", to="sideways").status_code == 422


# ------------------------------------------------------------------------------------------------ all screens


def test_no_screen_holds_scripts_styles_or_foreign_addresses(http: TestClient, home: Path) -> None:
    a, b = made_run(home, "a"), made_run(home, "b", status="failed", message="broken")
    for path in ("/", "/runs", f"/runs/{a}", f"/runs/{b}", f"/runs/{a}?tab=settings", f"/compare?runs={a},{b}",
                 "/queue", f"/runs/{b}/delete", "/runs/gone"):  # fmt: skip
        answer = http.get(path)
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|https?://", answer.text), path
        assert "script-src" not in answer.headers["content-security-policy"]
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.text.count("<h1") == 1
        assert len(answer.content) < 60_000


def test_files_of_a_screen_are_kept_by_browsers_and_small(http: TestClient, home: Path) -> None:
    run_id = made_run(home)
    sizes = {}
    for path in ("/runs", f"/runs/{run_id}"):
        page = seen(http, path)
        files = set(re.findall(r'(?:src|href)="(/assets/[^"]+)"', page))
        answers = [http.get(file) for file in files]
        assert all(answer.status_code == 200 for answer in answers)
        assert all("immutable" in answer.headers["cache-control"] for answer in answers)
        sizes[path] = len(page) + sum(len(answer.content) for answer in answers)
    assert sizes["/runs"] < 300_000
    assert sizes[f"/runs/{run_id}"] < 6_000_000
    assert http.get("/assets/old/app.css").headers["cache-control"] == "no-cache"
    assert http.get("/assets/old/nothing.css").status_code == 404
    assert http.get("/assets/old/..%2Fapp.py").status_code == 404


def test_the_look_is_remembered(http: TestClient) -> None:
    assert 'data-theme="auto"' in seen(http, "/runs")
    answer = posted(http, "/theme", theme="dark", to="/runs?q=a")
    assert answer.headers["location"] == "/runs?q=a"
    assert 'data-theme="dark"' in seen(http, "/runs")
    for foreign in ("https://evil.example", "//evil.example", "/\\evil.example"):
        assert posted(http, "/theme", theme="light", to=foreign).headers["location"] == "/"
    assert posted(http, "/theme", theme="pink").status_code == 422


def test_sizes_and_settings_are_said_plainly() -> None:
    assert wording.size(0) == "0 B"
    assert wording.value({"a": None}) == '{"a": null}'
