"""Data sets over HTTP: uploads that are bounded and overwrite nothing, rows, checks, and the tokens of training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from regimen.finetune.preparing import tokenized
from regimen.prepared import prepare
from regimen.web.api import uploading
from regimen.web.app import make_app
from regimen.web.services.datasets import safe_name
from regimen.web.services.parts import Parts

API = "/api/v1"
ROWS = [{"instruction": f"Say {number}.", "output": str(number)} for number in range(40)]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return Parts.at(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def client(parts: Parts) -> Iterator[TestClient]:
    with TestClient(make_app(parts)) as client:
        yield client


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def upload(client: TestClient, name: str, content: bytes) -> Response:
    return client.post(f"{API}/datasets", files={"file": (name, content)})


def uploaded(client: TestClient, name: str, content: bytes) -> str:
    answer = upload(client, name, content)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["name"])


def left_over(parts: Parts) -> list[str]:
    return [path.name for path in parts.home.datasets.iterdir() if path.name.startswith(".")]


# ------------------------------------------------------------------ uploads


def test_an_upload_is_kept_under_a_safe_name_and_told(client: TestClient, parts: Parts) -> None:
    answer = upload(client, "../my data (1).JSONL", jsonl(ROWS)).json()
    assert (answer["name"], answer["path"]) == ("my-data-1.jsonl", "datasets/my-data-1.jsonl")
    assert (answer["rows"], answer["columns"], answer["layouts"]) == (40, ["instruction", "output"], ["instruction"])
    assert (parts.home.datasets / "my-data-1.jsonl").read_bytes() == jsonl(ROWS)
    assert answer in client.get(f"{API}/datasets").json()["datasets"]
    assert client.get(f"{API}/datasets/my-data-1.jsonl").json() == answer
    assert left_over(parts) == []


def test_nothing_is_overwritten(client: TestClient, parts: Parts) -> None:
    names = [uploaded(client, "same.jsonl", jsonl(ROWS[:number])) for number in (1, 2, 3)]
    assert names == ["same.jsonl", "same-2.jsonl", "same-3.jsonl"]
    assert [client.get(f"{API}/datasets/{name}").json()["rows"] for name in names] == [1, 2, 3]


def test_every_format_that_is_taken_is_read(client: TestClient, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    contents = {
        "a.json": json.dumps(ROWS).encode(),
        "a.csv": b"instruction,output\n" + b"a,b\n" * 40,
        "a.tsv": b"instruction\toutput\n" + b"a\tb\n" * 40,
        "a.parquet": (tmp_path / "a.parquet").read_bytes(),
    }
    for name, content in contents.items():
        answer = upload(client, name, content).json()
        assert (answer["rows"], answer["columns"]) == (40, ["instruction", "output"]), name


@pytest.mark.parametrize(
    "name", ["x.py", "x.html", "x.svg", "x.jsonl.exe", "x.pkl", "x.jsonl.gz", "x.zip", "jsonl", ".jsonl/", "x"]
)
def test_other_kinds_are_refused_and_leave_nothing(client: TestClient, parts: Parts, name: str) -> None:
    there = sorted(path.name for path in parts.home.datasets.iterdir())
    answer = upload(client, name, b"x")
    assert answer.status_code == 422
    assert ".jsonl" in answer.json()["errors"][0]["message"]
    assert sorted(path.name for path in parts.home.datasets.iterdir()) == there


@pytest.mark.parametrize("name", ["../../x.jsonl", "..\\..\\x.jsonl", "/etc/x.jsonl", "a/\x7f\u2028é.jsonl", ".jsonl"])
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    safe = safe_name(name)
    assert safe.removesuffix(".jsonl").replace("-", "").isalnum()
    assert safe_name("n" * 500 + ".jsonl") == "n" * 100 + ".jsonl"


def test_too_large_is_413_and_leaves_nothing(client: TestClient, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = uploading.received

    async def bounded(request: Any, home: Any) -> str:
        return await whole(request, home, 100_000)

    monkeypatch.setattr("regimen.web.api.datasets.received", bounded)
    for size in (150_000, 2_000_000):  # the one is noticed on the way, the other from its declared length
        answer = upload(client, "large.jsonl", b"x" * size)
        assert answer.status_code == 413
        assert "is larger than" in answer.json()["errors"][0]["message"]
    assert not list(parts.home.datasets.glob("large*"))
    assert left_over(parts) == []


def test_what_is_no_form_with_a_file_is_refused(client: TestClient, parts: Parts) -> None:
    url = f"{API}/datasets"
    assert client.post(url, json={}).status_code == 415
    assert client.post(url, files={"other": ("a.jsonl", b"{}")}).status_code == 422
    assert client.post(url, files={"file": ("a.jsonl", b"")}).status_code == 422
    two = [("file", ("a.jsonl", b"{}")), ("file", ("b.jsonl", b"{}"))]
    assert client.post(url, files=two).status_code == 422
    torn = b'--b\r\nContent-Disposition: form-data; name="file"; filename="torn.jsonl"\r\n\r\n{"te'
    assert (
        client.post(url, content=torn, headers={"content-type": "multipart/form-data; boundary=b"}).status_code == 422
    )
    wrong = client.post(url, content=b"nonsense", headers={"content-type": "multipart/form-data; boundary=b"})
    assert wrong.status_code == 422
    assert left_over(parts) == []
    assert not list(parts.home.datasets.glob("torn*"))


def test_a_file_that_cannot_be_read_is_kept_and_says_where(client: TestClient) -> None:
    answer = upload(client, "bad.jsonl", b'{"text": "a"}\n{"text": \n').json()
    assert answer["rows"] is None
    assert answer["problems"][0]["place"] == "bad.jsonl:2"
    assert client.get(f"{API}/datasets/bad.jsonl/rows").status_code == 422
    checked = client.post(f"{API}/datasets/bad.jsonl/validate", json={}).json()
    assert (checked["valid"], checked["num_errors"]) == (False, 1)


# ------------------------------------------------------------------ looking


def test_rows_are_shown_as_they_are(client: TestClient) -> None:
    name = uploaded(client, "rows.jsonl", jsonl([*ROWS, {"instruction": "x" * 50_000, "output": None, "more": [1.5]}]))
    page = client.get(f"{API}/datasets/{name}/rows", params={"offset": 38, "limit": 3}).json()
    assert page["total"] == 41
    assert page["columns"] == ["instruction", "output", "more"]
    assert page["rows"][0] == {"place": f"{name}:39", "row": ROWS[38]}
    assert page["rows"][2]["row"]["instruction"].endswith("... (50,000 characters)")
    assert page["rows"][2]["row"]["more"] == [1.5]
    assert client.get(f"{API}/datasets/{name}/rows?offset=100").json()["rows"] == []
    for wrong in ("limit=0", "limit=101", "offset=-1", "offset=x"):
        assert client.get(f"{API}/datasets/{name}/rows?{wrong}").status_code == 422


def test_every_row_is_checked(client: TestClient) -> None:
    rows = [*ROWS, {"instruction": "a", "output": None}, {"instruction": "b"}, ROWS[0]]
    name = uploaded(client, "check.jsonl", jsonl(rows))
    found = client.post(f"{API}/datasets/{name}/validate", json={"strategy": "sft"}).json()
    assert (found["valid"], found["rows"], found["bad_rows"], found["layout"]) == (False, 43, 2, "instruction")
    assert [one["place"] for one in found["errors"]] == [f"{name}:41", f"{name}:42"]
    assert (found["duplicates"], found["duplicate_places"]) == (1, [[f"{name}:43", f"{name}:1"]])
    wrong = client.post(f"{API}/datasets/{name}/validate", json={"strategy": "dpo"}).json()
    assert (wrong["valid"], wrong["layout"]) == (False, None)
    assert client.post(f"{API}/datasets/{name}/validate", json={"strategy": "nope"}).status_code == 404


def test_columns_that_fit_nothing_are_mapped_as_suggested(client: TestClient) -> None:
    name = uploaded(client, "odd.jsonl", jsonl([{"question": r["instruction"], "answer": r["output"]} for r in ROWS]))
    assert client.get(f"{API}/datasets/{name}").json()["layouts"] == []
    found = client.post(f"{API}/datasets/{name}/validate", json={}).json()
    assert found["suggested_columns"] == {"prompt": "question", "completion": "answer"}
    mapped = client.post(f"{API}/datasets/{name}/validate", json={"columns": found["suggested_columns"]}).json()
    assert (mapped["valid"], mapped["mapping"]) == (True, found["suggested_columns"])
    body: dict[str, Any] = {
        "task": {"name": "text", "data": {"train": f"datasets/{name}"}},
        "strategy": {"name": "sft"},
    }
    checked = client.post(f"{API}/runs/check", json={"settings": body}).json()
    errors = [finding for finding in checked["findings"] if finding["level"] == "error"]
    assert errors[0]["fix_settings"] == [{"path": "task.data.columns", "value": found["suggested_columns"]}]
    assert client.post(f"{API}/runs/check", json={"settings": fixed(body, errors[0])}).json()["ready"]


def fixed(body: dict[str, Any], finding: dict[str, Any]) -> dict[str, Any]:
    """The settings with a finding's remedy, as its button would change them."""
    changed: dict[str, Any] = json.loads(json.dumps(body))
    for change in finding["fix_settings"]:
        *groups, last = change["path"].split(".")
        here = changed
        for group in groups:
            here = here.setdefault(group, {})
        here[last] = change["value"]
    return changed


# ------------------------------------------------------------------ tokens


@pytest.mark.parametrize("strategy", [{"name": "sft"}, {"name": "sft", "max_length": 28, "overlength": "truncate"}])
def test_the_preview_is_what_training_sees(
    client: TestClient, parts: Parts, monkeypatch: pytest.MonkeyPatch, strategy: dict[str, Any]
) -> None:
    name = uploaded(client, "tokens.jsonl", jsonl(ROWS))
    shown = client.post(f"{API}/datasets/{name}/preview", json={"strategy": strategy, "limit": 50}).json()
    monkeypatch.chdir(parts.home.folder)
    task = {"name": "text", "data": {"train": f"datasets/{name}", "eval_split": 0}}
    prepared: Any = prepare({"task": task, "strategy": strategy})
    trained = tokenized(prepared.strategy, prepared.task, "train").dataset
    assert shown["total"] == len(ROWS)
    kept = [row for row in shown["rows"] if not row["dropped"]]
    assert len(kept) == len(trained) > 0
    for row, theirs in zip(kept, trained, strict=True):
        seen = [token for token in row["tokens"] if not token["cut"]]
        assert [token["id"] for token in seen] == theirs["input_ids"]
        assert [token["trained"] for token in seen] == [label != -100 for label in theirs["labels"]]
        assert row["num_trained"] == sum(token["trained"] for token in seen)
        assert (row["num_tokens"], row["num_whole"]) == (len(seen), len(row["tokens"]))


def test_marks_and_what_is_cut_away(client: TestClient) -> None:
    name = uploaded(
        client, "long.jsonl", jsonl([*ROWS[:2], {"instruction": "a", "output": "b" * 100}, {"output": "c"}])
    )
    body = {"strategy": {"name": "sft", "max_length": 40, "overlength": "truncate"}}
    short, _, long, bad = client.post(f"{API}/datasets/{name}/preview", json=body).json()["rows"]
    assert (short["tokens"][0]["special"], short["tokens"][-1]["special"]) == ("bos", "eos")
    assert short["tokens"][-1]["trained"]
    assert long["notes"] == ["truncated to max_length"]
    assert (long["num_tokens"], sum(token["cut"] for token in long["tokens"])) == (40, long["num_whole"] - 40)
    assert "".join(token["text"] for token in long["tokens"]).count("b") >= 100
    assert not any(token["trained"] for token in long["tokens"] if token["cut"])
    assert bad["tokens"] == []
    assert "is missing" in bad["dropped"]
    dropped = client.post(
        f"{API}/datasets/{name}/preview", json={**body, "strategy": {"name": "sft", "max_length": 40}}
    )
    assert dropped.json()["rows"][2]["dropped"].startswith("longer than max_length")


def test_a_preview_of_preferences_and_of_wrong_settings(client: TestClient) -> None:
    rows = [{"prompt": f"p{n}", "chosen": "yes", "rejected": "no"} for n in range(4)]
    name = uploaded(client, "pairs.jsonl", jsonl(rows))
    row = client.post(f"{API}/datasets/{name}/preview", json={"strategy": "dpo"}).json()["rows"][0]
    assert {token["part"] for token in row["tokens"]} == {"prompt", "chosen", "rejected"}
    url = f"{API}/datasets/{name}/preview"
    assert client.post(url, json={"strategy": "stf"}).status_code == 422
    assert client.post(url, json={"strategy": "standard"}).status_code == 409
    assert client.post(url, json={"strategy": "./x.py"}).status_code == 422
    assert client.post(url, json={"task": {"data": {"train": "/etc/passwd"}}, "strategy": "dpo"}).status_code == 200
    assert client.post(url, json={"task": {"model": "/etc"}, "strategy": "dpo"}).status_code == 422


# ------------------------------------------------------------------ keeping and taking


def test_a_file_is_an_attachment(client: TestClient) -> None:
    name = uploaded(client, "page.txt", b"<script>alert(1)</script>\n")
    answer = client.get(f"{API}/datasets/{name}/file")
    assert answer.content == b"<script>alert(1)</script>\n"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_only_names_of_files_of_the_folder_are_found(client: TestClient, parts: Parts, tmp_path: Path) -> None:
    (tmp_path / "secret.jsonl").write_text('{"text": "secret"}\n')
    (parts.home.datasets / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (parts.home.datasets / "folder.jsonl").mkdir()
    (parts.home.folder / "outside.jsonl").write_text('{"text": "a"}\n')
    wrong = ["link.jsonl", "folder.jsonl", "nope.jsonl", "..%2Foutside.jsonl", "%2e%2e%2foutside.jsonl", ".upload-1"]
    for name in [*wrong, "n" * 300 + ".jsonl"]:
        for method, rest in (("GET", ""), ("GET", "/rows"), ("GET", "/file"), ("DELETE", "")):
            assert client.request(method, f"{API}/datasets/{name}{rest}").status_code in (404, 405, 422), (name, method)
        assert client.post(f"{API}/datasets/{name}/validate", json={}).status_code in (404, 405, 422)
    names = [one["name"] for one in client.get(f"{API}/datasets").json()["datasets"]]
    assert {"link.jsonl", "folder.jsonl"}.isdisjoint(names)


def test_a_file_that_a_run_waits_for_is_not_deleted(client: TestClient) -> None:
    name = uploaded(client, "needed.jsonl", jsonl(ROWS))
    body = {"task": {"name": "text", "data": {"train": f"datasets/{name}"}}, "strategy": "sft", "budget": {"steps": 1}}
    run = client.post(f"{API}/runs", json={"settings": body}).json()["id"]
    refused = client.delete(f"{API}/datasets/{name}")
    assert refused.status_code == 409
    assert run in refused.json()["errors"][0]["message"]
    client.post(f"{API}/runs/{run}/stop")
    assert client.delete(f"{API}/datasets/{name}").status_code == 204
    assert client.get(f"{API}/datasets/{name}").status_code == 404


def test_a_changed_file_is_looked_at_again(client: TestClient, parts: Parts) -> None:
    name = uploaded(client, "grows.jsonl", jsonl(ROWS[:3]))
    with (parts.home.datasets / name).open("ab") as file:
        file.write(jsonl(ROWS[3:5]))
    assert client.get(f"{API}/datasets/{name}").json()["rows"] == 5


def test_a_published_file_is_found_wanting_and_put_right(client: TestClient, data_dir: Path) -> None:
    content = (data_dir / "dolly" / "dolly_test.jsonl").read_bytes()
    name = uploaded(client, "dolly_test.jsonl", content)
    assert client.post(f"{API}/datasets/{name}/validate", json={"strategy": "sft"}).json()["valid"]
    body: dict[str, Any] = {
        "task": {"name": "text", "data": {"train": f"datasets/{name}"}},
        "strategy": {"name": "sft"},
    }
    before = client.post(f"{API}/runs/check", json={"settings": body}).json()["findings"]
    warning = next(finding for finding in before if finding["level"] == "warning")
    assert "rows are dropped: longer than max_length" in warning["message"]
    assert warning["fix_settings"] == [{"path": "strategy.overlength", "value": "truncate"}]
    after = client.post(f"{API}/runs/check", json={"settings": fixed(body, warning)}).json()["findings"]
    assert not any("longer than max_length" in finding["message"] for finding in after)
    row = client.post(f"{API}/datasets/{name}/preview", json={"offset": 20, "limit": 1}).json()["rows"][0]
    assert row["num_whole"] > 1024
    assert row["dropped"]
