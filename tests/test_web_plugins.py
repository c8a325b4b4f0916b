"""Plug-ins over HTTP: what is listed, described, broken; schemas; forms that lose no value; recipes; estimates."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regimen.choices import CheckedSpec
from regimen.errors import SpecError
from regimen.kinds import KINDS
from regimen.registry import plugins
from regimen.web.app import make_app
from regimen.web.services import forms
from regimen.web.services.forms import Field
from regimen.web.services.parts import Parts
from regimen.web.services.recipes import RECIPES

API = "/api/v1"
MINE = '''
"""Not in any list of papers."""
from typing import Annotated
from pydantic import Field
from regimen.finetune import TrainingStrategy


class Mine(TrainingStrategy):
    """Mine, after somebody's (arXiv:2403.07691). More of it."""

    name = "mine"
    beta: Annotated[float, Field(ge=0, description="weight of it")] = 0.0
    words: list[str] = []
    title: str = ""
    odd: str | None = "x"
'''
PREFERENCES = '{"prompt": "a", "chosen": "b", "rejected": "c"}\n'
QUESTIONS = '{"instruction": "a", "output": "b"}\n'


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    parts = Parts.at(tmp_path_factory.mktemp("home"))
    (parts.home.folder / "strategies").mkdir()
    (parts.home.folder / "strategies" / "mine.py").write_text(MINE)
    for layout, row in (("preference", PREFERENCES), ("instruction", QUESTIONS)):
        rows = [row.replace('"a"', f'"a{number}"') for number in range(30)]
        (parts.home.datasets / f"{layout}.jsonl").write_text("".join(rows))
    return parts


@pytest.fixture(scope="module")
def client(parts: Parts) -> Iterator[TestClient]:
    with TestClient(make_app(parts)) as client:
        yield client


@pytest.fixture(scope="module")
def form(client: TestClient, parts: Parts) -> list[Field]:
    return forms.fields(parts, "mine", "text")


def test_every_kind_is_listed_as_the_registry_has_it(client: TestClient, parts: Parts) -> None:
    for kind in KINDS:
        found = client.get(f"{API}/plugins/{kind}").json()
        assert [one["name"] for one in found["plugins"]] == [one.name for one in plugins(kind, parts.home.folder)]
        assert found["broken"] == []
    every = {(one["kind"], one["name"]) for one in client.get(f"{API}/plugins").json()["plugins"]}
    assert ("tuning", "lora") in every
    strategies = client.get(f"{API}/strategies").json()["plugins"]
    assert {(one["kind"], one["name"]) for one in strategies} == {pair for pair in every if KINDS[pair[0]].family}
    assert client.get(f"{API}/plugins/strategy").json()["plugins"] == strategies
    assert {one["name"] for one in client.get(f"{API}/tasks").json()["plugins"]} == {n for k, n in every if k == "task"}


def test_a_list_takes_milliseconds(client: TestClient) -> None:
    client.get(f"{API}/plugins")
    took = []
    for _ in range(5):
        began = time.perf_counter()
        client.get(f"{API}/plugins")
        took.append(time.perf_counter() - began)
    assert min(took) < 0.5  # 0.02 on a quiet machine


def test_what_is_not_there_is_404_with_the_nearest_name(client: TestClient) -> None:
    for url, word in (("strategies/stf", "sft"), ("tasks/txt", "text"), ("plugins/tunin", "tuning")):
        answer = client.get(f"{API}/{url}")
        assert answer.status_code == 404
        assert word in answer.json()["errors"][0]["fix"]
    for name in ("mine.py", "strategies%2Fmine.py", "..%2Fmine.py", ".%2Fmine.py:Mine", "os:system"):
        assert client.get(f"{API}/strategies/{name}").status_code == 404


def test_a_strategy_says_what_it_is(client: TestClient) -> None:
    found = client.get(f"{API}/strategies/mine").json()
    assert (found["qualified"], found["origin"], found["file"]) == ("finetune/mine", "folder", "strategies/mine.py")
    assert found["summary"] == "Mine, after somebody's (arXiv:2403.07691)."
    assert found["papers"] == ["arXiv:2403.07691"]
    assert found["defaults"]["beta"] == 0.0
    assert found["json_schema"]["properties"]["beta"]["description"] == "weight of it"
    assert "$ref" not in str(found["json_schema"])
    assert client.get(f"{API}/strategies/mine/schema").json() == found["json_schema"]
    trains = {one["task"]: one["why_not"] for one in found["trains"]}
    assert trains["text"] is None
    assert "language models" in trains["digits_mlp"]


def test_a_task_and_its_required_settings(client: TestClient) -> None:
    assert client.get(f"{API}/tasks/text").json()["required"] == ["data"]
    assert "train" in str(client.get(f"{API}/tasks/text/schema").json()["properties"]["data"])
    assert client.get(f"{API}/plugins/tuning/lora").json()["defaults"]["r"] == 16


def test_the_whole_schema_holds_every_plugin(client: TestClient) -> None:
    schema = client.get(f"{API}/schema").json()
    names = [one["properties"]["name"]["const"] for one in schema["properties"]["strategy"]["anyOf"]]
    assert {"sft", "mine", "fair"} <= set(names)
    mine = schema["properties"]["strategy"]["anyOf"][names.index("mine")]
    assert mine["properties"].keys() == client.get(f"{API}/strategies/mine/schema").json()["properties"].keys()
    assert schema["required"] == ["task", "strategy"]


def test_a_dropped_file_appears_and_a_broken_one_hinders_no_other(client: TestClient, parts: Parts) -> None:
    folder = parts.home.folder / "strategies"
    (folder / "broken.py").write_text("def (:\n")
    (folder / "dead.py").write_text(MINE.replace('"mine"', '"dead"') + "\nraise ValueError('no')\n")
    (folder / "twice.py").write_text(MINE)
    try:
        listed = client.get(f"{API}/strategies").json()
        assert {"mine", "dead", "sft"} <= {one["name"] for one in listed["plugins"]}
        told = {one["file"]: one["problem"]["message"] for one in listed["broken"]}
        assert set(told) == {"strategies/broken.py", "strategies/twice.py"}
        assert "does not parse" in told["strategies/broken.py"]
        assert str(parts.home.folder) not in str(listed["broken"])
        dead = client.get(f"{API}/strategies/dead")
        assert dead.status_code == 422
        assert dead.json()["errors"][0]["place"].startswith("strategies/dead.py:")
        assert client.get(f"{API}/strategies/sft").status_code == 200
        assert client.get(f"{API}/schema").status_code == 200
        body: dict[str, Any] = {"task": {"name": "sorting", "train_rows": 9, "valid_rows": 2}, "strategy": "sft"}
        assert client.post(f"{API}/runs/check", json={"settings": body}).json()["ready"]
        taken = client.post(f"{API}/runs/check", json={"settings": {**body, "strategy": "mine"}})
        assert "is taken" in taken.json()["errors"][0]["message"]
    finally:
        for name in ("broken", "dead", "twice"):
            (folder / f"{name}.py").unlink()
    assert client.get(f"{API}/strategies").json()["broken"] == []


# ------------------------------------------------------------------ forms


def resolved(given: dict[str, Any]) -> dict[str, Any]:
    return CheckedSpec.model_validate(given).model_dump(mode="json")


@pytest.mark.parametrize(
    ("strategy", "task"), [("sft", "sorting"), ("dpo", "sorting"), ("standard", "digits_cnn"), ("fair", "digits")]
)
def test_defaults_as_a_form_are_the_defaults_again(client: TestClient, parts: Parts, strategy: str, task: str) -> None:
    found = forms.fields(parts, strategy, task)
    names = {"task": {"name": task}, "strategy": {"name": strategy}}
    texts = forms.to_form(found, names)
    assert forms.settings_from_form(found, texts) == names
    assert forms.settings_from_form(found, {}) == names
    full = resolved(names)
    full["budget"] = dict.fromkeys(full["budget"])  # unset is more than its default: a problem's own number
    texts = forms.to_form(found, full)
    assert forms.settings_from_form(found, texts) == names
    assert len({field.key for field in found}) == len(found)


def test_a_published_form_is_the_one_that_the_page_uses(client: TestClient, form: list[Field]) -> None:
    shown = client.get(f"{API}/form?strategy=mine&task=text").json()["fields"]
    assert [one["key"] for one in shown] == [field.key for field in form]
    by_key = {one["key"]: one for one in shown}
    assert by_key["strategy.tuning.name"]["choices"] == ["dora", "full", "lora", "rslora"]
    rank = by_key["strategy.tuning.r"]
    assert (rank["default"], rank["text"], rank["minimum"], rank["group"]) == (16, "16", 1, "how")
    assert rank["when"] == [["strategy.tuning.name", ["dora", "lora", "rslora"]]]
    assert by_key["task.data.train"]["required"]
    assert by_key["task.data.train"]["type"] == "dataset"
    assert by_key["strategy.optimizer.lr"]["default"] == 2e-4
    assert {"output", "schema_version", "task.trust_remote_code"}.isdisjoint(by_key)
    assert client.get(f"{API}/form?strategy=stf&task=text").status_code == 404


KEPT: list[dict[str, Any]] = [
    {"strategy": {"beta": 0}, "task": {"samples": 0}},
    {"strategy": {"clip_norm": None, "group_by_length": False}},
    {"strategy": {"title": "", "odd": ""}},
    {"strategy": {"title": '"quoted"', "odd": None}},
    {"strategy": {"words": ["true", "null", "1", "a, b"], "title": "1"}},
    {"strategy": {"tuning": {"name": "full"}}},
    {"strategy": {"tuning": {"name": "lora", "r": 1, "dropout": 0.5, "target_modules": ["q_proj"]}}},
    {"strategy": {"tuning": {"name": "rslora", "target_modules": "5"}}},
    {"strategy": {"optimizer": {"name": "sgd", "momentum": 0, "nesterov": False}}},
    {"strategy": {"optimizer": {"name": "adamw"}}},
    {"strategy": {"quantize": {"bits": 8, "double": False}}},
    {"strategy": {"schedule": {"name": "constant", "warmup": 0}}},
    {"task": {"data": {"train": "datasets/a.jsonl", "eval_split": 0, "columns": {"prompt": "q: x"}}}},
    {"budget": {"epochs": 1}, "seed": 0},
    {"budget": {"steps": 5, "seconds": 0.5}, "checkpoint": {"best": "valid/loss", "patience": 2}, "threads": 1},
    {"task": {"metrics": ["f1"], "template": "chatml"}, "deterministic": True, "precision": "bf16"},
]


@pytest.mark.parametrize("some", KEPT, ids=str)
def test_settings_as_a_form_are_the_settings_again(form: list[Field], parts: Parts, some: dict[str, Any]) -> None:
    """Zero, false, empty and null are kept, and what a partial group leaves out is what pydantic says it is."""
    inside(parts)
    wanted = named(some)
    texts = forms.to_form(form, wanted)
    assert all(isinstance(text, str) for text in texts.values())
    assert resolved(forms.settings_from_form(form, texts)) == resolved(wanted)
    assert resolved(forms.settings_from_form(form, forms.to_form(form, resolved(wanted)))) == resolved(wanted)


@given(
    st.lists(st.sampled_from(KEPT), max_size=4),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=3),
    st.floats(0, 1e6),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_settings_survive_a_form(
    form: list[Field], parts: Parts, some: list[dict[str, Any]], title: str, words: list[str], beta: float
) -> None:
    inside(parts)
    wanted = named({})
    for one in some:
        for part, inner in copy.deepcopy(one).items():
            wanted[part] = {**wanted.get(part, {}), **inner} if isinstance(inner, dict) else inner
    wanted["strategy"] |= {"title": title, "words": words, "odd": title, "beta": beta}
    assert resolved(forms.settings_from_form(form, forms.to_form(form, wanted))) == resolved(wanted)


def named(some: dict[str, Any]) -> dict[str, Any]:
    data = {"data": {"train": "datasets/instruction.jsonl"}}
    rest = {key: value for key, value in some.items() if key not in ("task", "strategy")}
    return {
        **copy.deepcopy(rest),
        "task": {"name": "text", **data, **some.get("task", {})},
        "strategy": {"name": "mine", **some.get("strategy", {})},
    }


def inside(parts: Parts) -> None:
    """Plug-ins of the home are those of the current folder, here as in the helper."""
    os.chdir(parts.home.folder)


def test_wrong_texts_are_all_named_by_their_paths(form: list[Field]) -> None:
    wrong = {
        "strategy.batch_size": "many",
        "strategy.clip_norm": "1e999",
        "seed": "1.5",
        "strategy.packing": "yes",
        "strategy.overlength": "cut",
        "strategy.optimizer.*": "[1]",
        "strategy.tuning.target_modules": "[q_proj",
        "strategy.tuning.name": "lora",
    }
    with pytest.raises(SpecError) as caught:
        forms.settings_from_form(form, {**wrong, "csrf": "x"})
    assert {problem.place for problem in caught.value.problems} == {*wrong} - {"strategy.tuning.name"}
    assert "is 'many' (text); expected a whole number. (rows a micro-batch" in str(caught.value)


def test_what_is_not_shown_is_not_given(form: list[Field]) -> None:
    texts = {"strategy.tuning.name": "full", "strategy.tuning.r": "nonsense", "strategy.quantize.bits": "8"}
    assert forms.settings_from_form(form, texts)["strategy"] == {"name": "mine", "tuning": {"name": "full"}}


# ------------------------------------------------------------------ recipes and estimates


def test_every_recipe_passes_its_check(client: TestClient) -> None:
    shown = client.get(f"{API}/recipes").json()["recipes"]
    assert [one["name"] for one in shown] == [one.name for one in RECIPES]
    for one in shown:
        body = copy.deepcopy(one["settings"])
        if one["needs"]:
            body["task"]["data"] = {"train": f"datasets/{one['needs']}.jsonl"}
        answer = client.post(f"{API}/runs/check", json={"settings": body})
        assert answer.status_code == 200, answer.text
        assert answer.json()["ready"], (one["name"], answer.json()["findings"])


def test_memory_and_steps_are_told_and_seconds_only_if_measured(client: TestClient) -> None:
    body = {"task": {"name": "sorting", "train_rows": 96, "valid_rows": 16}, "strategy": "sft", "budget": {"epochs": 2}}
    answer = client.post(f"{API}/estimate", json={"settings": body}).json()
    assert answer["steps"] == 24
    assert answer["memory"]["total"] > answer["memory"]["weights"] > 0
    assert (answer["seconds"], answer["measured_on"]) == (None, None)
    other = {"task": "digits_cnn", "strategy": "standard"}
    assert client.post(f"{API}/estimate", json={"settings": other}).json()["memory"] is None
