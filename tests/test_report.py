"""The report page: complete in itself, true to the record, and readable whatever the record holds."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recorded import a_run, begin, train
from regimen.records.reader import Record
from regimen.report import report_page, write_report
from regimen.report.markup import tag
from regimen.report.outcome import changes

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Checks that elements nest, and collects the text and what the page would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ""
        self.fetched: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(name)
        self.fetched += [value or "" for key, value in attributes if key in ("src", "href", "action", "style")]
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        self.text += data


def leave(record: Record, name: str, body: object) -> None:
    (record.folder / "artifacts" / name).write_text(body if isinstance(body, str) else json.dumps(body))


DATA = {
    "splits": {
        "train": {
            "rows": 8000,
            "kept": 7981,
            "dropped": {"longer than max_length": {"rows": 19, "places": ["train.jsonl:17"]}},
            "notes": {"truncated to max_length": {"rows": 4, "places": ["train.jsonl:23"]}},
            "tokens": 400_000,
            "trained_tokens": 100_000,
            "lengths": {"min": 3, "median": 49, "p95": 88, "max": 512},
        }
    },
    "overlap": {"rows in both": 2},
}
SAMPLES = [{"prompt": "2 + 3?", "expected": "5", "before": "once upon", "after": "5 ", "place": "valid.jsonl:9"}]


def test_a_whole_page_says_what_the_record_says(tmp_path: Path) -> None:
    record = a_run(tmp_path / "run")
    leave(record, "data.json", DATA)
    leave(record, "samples.json", SAMPLES)
    leave(record, "proof.json", {"reloaded_equals_trained": True})
    path = write_report(record)
    assert path == record.folder / "report.html"
    text = Page(path.read_text()).text
    for said in (
        "Completed.",
        "Loss on held-out data went from 4 to 1.05, which is better.",
        "-2.95 (-73.8%) better",
        "train.jsonl:17",
        "train.jsonl:23",
        "100,000 (25%)",
        "once upon",
        "valid.jsonl:9",
        "✓ as expected",
        "reloaded equals trained",
        "strategy.optimizer.lr",
        "regimen run",
        "2.13.0",
        record.content,
    ):
        assert said in text


def test_it_fetches_nothing_and_runs_nothing(tmp_path: Path) -> None:
    record = a_run(tmp_path / "run")
    leave(record, "data.json", DATA)
    markup = report_page(record)
    page = Page(markup)
    assert not {"script", "link", "img", "iframe"} & set(page.seen)
    assert all(re.fullmatch(r"log\.txt|artifacts/[\w.]+", link) for link in page.fetched)
    assert "url(" not in markup
    assert "@import" not in markup
    assert "default-src 'none'" in markup


def test_no_text_of_a_run_becomes_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'&<b onclick=x>"
    writer = begin(tmp_path / "run", strategy=evil)
    writer.metrics(0, {"valid/" + evil: 1.0})
    writer.metrics(1, {"valid/" + evil: 2.0, "train/" + evil: 2.0})
    writer.note(evil)
    writer.status("failed", message=evil)
    writer.close()
    record = Record(writer.folder)
    leave(record, "samples.json", [{"prompt": [{"role": evil, "content": evil}], "after": evil, "expected": evil}])
    leave(
        record,
        "data.json",
        {"splits": {evil: {"dropped": {evil: {"rows": 1, "places": [evil]}}}}, "overlap": {evil: evil}},
    )
    leave(record, "proof.json", {evil: [evil]})
    (record.folder / "artifacts" / "<script>").write_text("")
    markup = report_page(record)
    page = Page(markup)
    assert "script" not in page.seen
    assert "<b onclick" not in markup
    assert page.text.count("alert(1)") >= 8


@pytest.mark.parametrize(
    ("status", "message", "advice"),
    [
        ("stopped", "received SIGTERM", "regimen resume"),
        ("diverged", "step 7: the loss is nan on train.jsonl:17", "a lower learning rate"),
        ("failed", "orpo.py:12: KeyError", "log.txt"),
        ("refused", "train.jsonl:3: no answer", "nothing was spent"),
        ("running", "", "regimen resume"),  # no process holds it any more: lost
        ("queued", "", "Waiting in the queue"),
    ],
)
def test_each_end_says_what_to_do(tmp_path: Path, status: str, message: str, advice: str) -> None:
    writer = begin(tmp_path / "run")
    train(writer, 1, 7)
    writer.status(status, message=message)  # type: ignore[arg-type]
    writer.close()
    text = Page(report_page(Record(writer.folder))).text
    assert message in text
    assert advice in text


def test_a_run_that_recorded_nothing_has_a_page(tmp_path: Path) -> None:
    writer = begin(tmp_path / "run")
    writer.close()
    for name in ("events.jsonl", "environment.json", "status.json"):
        (writer.folder / name).unlink()
    assert "Lost" in Page(report_page(Record(writer.folder))).text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["splits", "train", "dropped", "rows", "places", "tokens", "prompt", "after", "lengths"]),
            inner,
        )
    ),
    max_leaves=12,
)


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(json_values)
def test_any_artifact_leaves_a_page(tmp_path: Path, body: object) -> None:
    record = Record(tmp_path / "run") if (tmp_path / "run").exists() else a_run(tmp_path / "run")
    for name in ("data.json", "samples.json", "proof.json"):
        leave(record, name, body)
    Page(report_page(Record(record.folder)))


def test_a_broken_artifact_is_said(tmp_path: Path) -> None:
    record = a_run(tmp_path / "run")
    leave(record, "data.json", "{")
    assert "artifacts/data.json cannot be read" in Page(report_page(record)).text


def test_changes_know_which_direction_is_better(tmp_path: Path) -> None:
    writer = begin(tmp_path / "run")
    writer.metrics(0, {"valid/loss": 2.0, "valid/accuracy": 0.5, "valid/length": 3.0, "valid/perplexity": math.inf})
    writer.metrics(5, {"valid/loss": 2.5, "valid/accuracy": 0.75, "valid/length": 4.0, "valid/perplexity": 9.0})
    writer.close()
    found = {change.key: (change.before, change.after, change.verdict) for change in changes(Record(writer.folder))}
    assert found == {
        "valid/accuracy": (0.5, 0.75, "better"),
        "valid/loss": (2.0, 2.5, "worse"),
        "valid/perplexity": (math.inf, 9.0, ""),
        "valid/length": (3.0, 4.0, ""),
    }


def test_a_long_run_makes_a_small_page(tmp_path: Path) -> None:
    writer = begin(tmp_path / "run")
    for step in range(20_000):
        values = {"train/loss": 1 + math.sin(step) ** 2, "train/grad_norm": 1 + math.cos(step) ** 2, "train/lr": 1e-4}
        writer.metrics(step, {**values, "valid/loss": 1.5, "time/tokens_per_s": 300.0 + step % 7})
    writer.close()
    assert len(report_page(Record(writer.folder)).encode()) < 300_000


@given(st.text())
def test_text_is_escaped_in_content_and_attributes(text: str) -> None:
    found = tag("p", text, title=text)
    assert "<" not in found.removeprefix("<p").removesuffix("</p>")
    assert found.count('"') == 2
