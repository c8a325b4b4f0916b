"""The list of runs: the same rows with and without its cache, filters, sorting, and finding one by a part of its id."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from recorded import a_run, begin, train
from regimen.errors import RecordError, SpecError
from regimen.identity import new_id
from regimen.listing import Listing, list_runs, plain, resolve, shown_metric, table, to_json, warning
from regimen.records.index import INDEX_FILE
from regimen.records.writer import RecordWriter


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five runs: three completed (two of sft), one diverged, one lost."""
    root = tmp_path / "runs"
    a_run(root / "text/sft/r0/seed__0", run_id="01A0", final={"valid/loss": 1.5})
    a_run(root / "text/sft/r1/seed__1", run_id="01B1", seed=1, final={"valid/loss": 1.1})
    a_run(root / "text/dpo/r2/seed__0", run_id="01C2", strategy="dpo", final={"valid/loss": 1.3})
    a_run(root / "text/dpo/r3/seed__0", run_id="01D3", strategy="dpo", status="diverged", final={})
    writer = begin(root / "text/dpo/r4/seed__0", run_id="01E4", strategy="dpo")
    train(writer, 1, 10)
    writer.close()
    return root


def ids(listing: Listing) -> list[str]:
    return [row.id for row in listing.rows]


def test_newest_first_with_what_each_run_came_to(root: Path) -> None:
    rows = list_runs(root).rows
    assert [row.id for row in rows] == ["01E4", "01D3", "01C2", "01B1", "01A0"]
    assert [row.status for row in rows] == ["lost", "diverged", "completed", "completed", "completed"]
    assert [(row.step, row.fraction) for row in rows] == [(10, 0.25), (40, 1.0), (40, 1.0), (40, 1.0), (40, 1.0)]
    assert shown_metric(rows[-1]) == ("valid/loss", 1.5)
    assert shown_metric(rows[0]) is not None


def test_filters_and_sorting(root: Path) -> None:
    assert ids(list_runs(root, status="completed", strategy="sft")) == ["01B1", "01A0"]
    assert ids(list_runs(root, task="digits")) == []
    assert ids(list_runs(root, status="completed", sort="metric", metric="valid/loss")) == ["01B1", "01C2", "01A0"]
    assert ids(list_runs(root, sort="when", reverse=True))[0] == "01A0"
    assert ids(list_runs(root, sort="strategy"))[-2:] == ["01B1", "01A0"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"status": "complete"}, "Did you mean 'completed'"),
        ({"sort": "tasks"}, "Did you mean 'task'"),
        ({"metric": "valid/los"}, "Did you mean 'valid/loss'"),
    ],
)
def test_unknown_words_are_said(root: Path, wrong: dict, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        list_runs(root, **wrong)


def test_the_cache_changes_nothing(root: Path) -> None:
    fresh = list_runs(root)
    assert (root / INDEX_FILE).exists()
    assert list_runs(root) == fresh
    (root / INDEX_FILE).unlink()
    assert list_runs(root) == fresh


def test_the_cache_follows_the_folders(root: Path) -> None:
    list_runs(root)
    a_run(root / "text/sft/r9/seed__9", run_id="01F9", seed=9)
    writer = RecordWriter(root / "text/dpo/r4/seed__0", "01E4")
    writer.status("running")
    train(writer, 11, 20)
    rows = {row.id: row for row in list_runs(root).rows}
    assert (rows["01F9"].seed, rows["01E4"].step, rows["01E4"].status) == (9, 20, "running")
    writer.close()
    assert {row.id: row.status for row in list_runs(root).rows}["01E4"] == "lost"  # no file changed
    for name in ("spec.yaml", "status.json"):
        (root / "text/sft/r9/seed__9" / name).unlink()
    assert "01F9" not in ids(list_runs(root))


@pytest.mark.parametrize("damage", [b"", b"this is not a database, not at all" * 100])
def test_a_damaged_cache_is_rebuilt(root: Path, damage: bytes) -> None:
    fresh = list_runs(root)
    (root / INDEX_FILE).write_bytes(damage)
    assert list_runs(root) == fresh
    assert list_runs(root) == fresh


def test_where_no_cache_can_be_written_runs_are_listed(root: Path) -> None:
    (root / INDEX_FILE).mkdir()
    assert len(list_runs(root).rows) == 5


def test_unreadable_folders_become_one_line(root: Path) -> None:
    for name, content in (("a", "x: ["), ("b", "[]"), ("c", "id: 1"), ("d", "schema_version: 99")):
        (root / name).mkdir()
        (root / name / "spec.yaml").write_text(content)
    for _ in range(2):  # read, then from the cache
        listing = list_runs(root)
        assert len(listing.rows) == 5
        assert len(listing.unreadable) == 4
        said = warning(listing)
        assert said is not None
        assert said.endswith("(and 3 more folders cannot be read)")
        assert "\n" not in said


def test_without_a_folder_there_are_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "none") == Listing([], [], None)
    assert not (tmp_path / "none").exists()


def test_a_resumed_run_shows_what_counts(tmp_path: Path) -> None:
    writer = begin(tmp_path / "run")
    writer.metrics(1, {"valid/loss": 3.0})
    keep = writer.length
    writer.metrics(90, {"valid/loss": 9.0, "time/fraction": 0.9})
    writer.resumed(1, keep)
    writer.close()
    (row,) = list_runs(tmp_path).rows
    assert (row.step, row.fraction, row.metrics) == (1, None, {"valid/loss": 3.0})


def test_resolve_finds_a_run_by_folder_id_beginning_or_end(root: Path) -> None:
    wanted = root / "text/sft/r1/seed__1"
    for text in (str(wanted), "text/sft/r1/seed__1", "01B1", "01b", "b1", "seed__1"):
        assert resolve(root, text) == wanted


def test_resolve_names_the_candidates(root: Path) -> None:
    with pytest.raises(RecordError, match=r"means 5 runs: 01E4 in .* Give more of the id"):
        resolve(root, "01")
    with pytest.raises(RecordError, match=r"no run below .* `regimen list` shows the 5"):
        resolve(root, "zz")
    with pytest.raises(RecordError, match="no run below"):
        resolve(root, "")


def test_json_has_every_run(root: Path) -> None:
    a_run(root / "nan", run_id="01Z", final={"valid/loss": "NaN"})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    body = json.loads(to_json(list_runs(root)), parse_constant=refuse)
    assert [run["id"] for run in body["runs"]] == ["01Z", "01E4", "01D3", "01C2", "01B1", "01A0"]
    assert body["runs"][0]["metrics"]["valid/loss"] is None


def test_table_and_text_show_ids_that_resolve(root: Path) -> None:
    listing = list_runs(root)
    out = io.StringIO()
    Console(width=160, file=out).print(table(listing, now=0.0))
    text = plain(listing, now=0.0)
    assert [line.split() for line in out.getvalue().splitlines()] == [line.split() for line in text.splitlines()]
    head, first, second = (line.split() for line in text.splitlines()[:3])
    assert head[:5] == ["run", "task", "strategy", "seed", "status"]
    assert first[1:7] == ["text", "dpo", "0", "lost", "10", "25%"]
    assert resolve(root, second[0]).parent.name == "r3"


def test_a_thousand_runs_are_listed_within_a_second(tmp_path: Path) -> None:
    made = a_run(tmp_path / "runs/first").folder
    spec = (made / "spec.yaml").read_text()
    for place in range(1000):
        folder = tmp_path / f"runs/text/sft/{place % 20}/seed__{place}"
        folder.mkdir(parents=True)
        (folder / "spec.yaml").write_text(spec.replace("01KAHZ3Q8M5V7R2T4W6Y8B0D1F", new_id()))
        for name in ("status.json", "events.jsonl"):
            (folder / name).hardlink_to(made / name)
    assert len(list_runs(tmp_path / "runs").rows) == 1001
    began = time.process_time()
    assert len(list_runs(tmp_path / "runs").rows) == 1001
    assert time.process_time() - began < 1.0


def test_listing_imports_neither_torch_nor_rich() -> None:
    code = "import sys, regimen.listing; print([m for m in ('torch', 'rich', 'pydantic', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
