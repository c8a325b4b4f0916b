"""Thousands of requests made from the OpenAPI document: no error of the server's own, no answer that it omits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi import checks

from regimen.document import Document
from regimen.prepared import prepare
from regimen.queue.enqueue import queued
from regimen.web.app import make_app
from regimen.web.services.parts import Parts

TASK = {"name": "sorting", "train_rows": 96, "valid_rows": 16, "metrics": [], "samples": 0}
SKIPPED = {"/api/v1/runs/stream": "stays open by design; test_web_security asks for its head"}
ALWAYS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
"""Not `positive_data_acceptance`: what settings mean is more than a schema can say."""
FAR = ("delete", "export", "push", "resume", "clone", "stream")
"""What is asked of runs that are not there alone: it would take the one that is, start a process, or stay open."""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """A home with a waiting run and a data set, and a queue that is paused."""
    made = Parts.at(tmp_path_factory.mktemp("fuzzed") / "home")
    before = Path.cwd()
    os.chdir(made.home.folder)
    record = queued(prepare(Document({"task": TASK, "strategy": "sft", "budget": {"steps": 2}, "threads": 1})))
    os.chdir(before)
    made.queue.paused = True
    made.queue.add(record.id, record.folder, "cpu")
    (made.home.datasets / "mine.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    yield made
    made.close()


class Fuzz:
    """Asks one application, and collects what was wrong with its answers, once for each kind of wrong."""

    def __init__(self, parts: Parts, app: FastAPI) -> None:
        self.schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app)
        self.there = {"run_id": parts.queue.rows()[0].id, "name": "mine.jsonl", "kind": "strategy"}
        self.asked: Counter[str] = Counter()
        self.wrong: dict[str, str] = {}

    def run(self, examples: int, only: str = "") -> None:
        """So many requests of each kind, right and wrong ones, to each operation with `only` in its path."""
        for found in self.schema.get_all_operations():
            operation = found.ok()
            if operation.path in SKIPPED or only not in operation.path:
                continue
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                with suppress(Unsatisfiable):  # nothing in it that could be wrong
                    self._many(operation, mode, examples)

    def _many(self, operation: Any, mode: GenerationMode, examples: int) -> None:
        @seed(20261121)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def each(case: Any) -> None:
            self._ask(case, f"{operation.method.upper()} {operation.path}", mode)

        each()

    def _ask(self, case: Any, label: str, mode: GenerationMode) -> None:
        self.asked[label] += 1
        is_far = label.lower().startswith(FAR) or label.endswith(FAR)
        is_near = not is_far and bool(case.path_parameters) and self.asked[label] % 2 == 0
        if is_near:
            known = {name: value for name, value in self.there.items() if name in case.path_parameters}
            case.path_parameters.update(known)
        response = case.call(timeout=300)
        is_judged = mode is GenerationMode.NEGATIVE and not is_near and response.status_code != 413
        more = [checks.negative_data_rejection] if is_judged else []  # too large is a no, too
        try:
            case.validate_response(response, checks=[*ALWAYS, *more])
        except FailureGroup as group:
            for failure in group.exceptions:
                if not isinstance(failure, Failure):
                    raise
                where = f"{label} {response.status_code} {type(failure).__name__}"
                self.wrong.setdefault(where, _told(case, failure, response))


def _told(case: Any, failure: Failure, response: Any) -> str:
    return f"{failure}\n{case.as_curl_command()[:1500]}\n{response.text[:600]}"


def _assert_fine(parts: Parts, wrong: dict[str, str]) -> None:
    assert not wrong, "\n\n".join(f"{where}: {what}" for where, what in sorted(wrong.items()))
    reports = list((parts.home.own / "errors").glob("*")) if (parts.home.own / "errors").exists() else []
    assert not reports, reports[0].read_text()


def test_a_few_hundred_requests_find_nothing_wrong(parts: Parts) -> None:
    """Of the parts that need no other process; all are in the long test."""
    fuzz = Fuzz(parts, make_app(parts))
    for only in ("/api/v1/runs/{run_id}", "/api/v1/queue", "/api/v1/models"):
        fuzz.run(6, only)
    _assert_fine(parts, fuzz.wrong)
    assert fuzz.asked.total() >= 200


@pytest.mark.long
def test_thousands_of_requests_find_nothing_wrong(parts: Parts) -> None:
    app = make_app(parts)
    operations = [path for path, item in app.openapi()["paths"].items() for _ in item if path not in SKIPPED]
    fuzz = Fuzz(parts, app)
    fuzz.run(9000 // (2 * len(operations)) + 25)  # operations that take nothing get one request
    print(f"{fuzz.asked.total()} requests to {len(fuzz.asked)} operations")
    _assert_fine(parts, fuzz.wrong)
    assert len(fuzz.asked) == len(operations)
    assert fuzz.asked.total() >= 5000
    assert parts.queue.rows(), "the waiting run is still there"
