"""The screens where something is begun, as a browser without JavaScript uses them: new run, data, models, plug-ins."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import yaml
from fastapi.testclient import TestClient

from made_runs import made_run
from regimen.web.app import make_app
from regimen.web.pages import draft
from regimen.web.services.parts import Parts
from regimen.web.services.recipes import RECIPES
from trained_home import Trained, train

ROWS = [{"question": f"Say {number}.", "reply": str(number) * (1 + 60 * (number % 8 == 7))} for number in range(40)]
COLUMNS = {"prompt": "question", "completion": "reply"}
SORTING = {"task": {"name": "sorting", "train_rows": 96, "valid_rows": 16}, "strategy": {"name": "sft"}}
MINE = '''"""Mine."""

from regimen.finetune.strategy import TrainingStrategy


class Mine(TrainingStrategy):
    """A strategy of the user's own."""

    name = "mine"
    strength: float = 0.25
'''


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def parts(home: Trained) -> Parts:
    return Parts.at(home.folder)


@pytest.fixture(scope="module")
def http(parts: Parts) -> Iterator[TestClient]:
    with TestClient(make_app(parts)) as client:
        yield client


@pytest.fixture(scope="module")
def file(http: TestClient) -> str:
    content = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    answer = http.post("/datasets", files={"file": ("asked.jsonl", content)}, headers=_HEAD, follow_redirects=False)
    assert answer.headers["location"] == "/datasets/asked.jsonl?check=1"
    return "asked.jsonl"


_HEAD = {"origin": "http://testserver"}


def seen(http: TestClient, path: str, status: int = 200) -> str:
    answer = http.get(path)
    assert answer.status_code == status, answer.text
    return answer.text


def posted(http: TestClient, path: str, fields: dict[str, str]) -> Any:
    head = {**_HEAD, "content-type": "application/x-www-form-urlencoded"}
    return http.post(path, content=urlencode(fields), headers=head, follow_redirects=False)


def text_of(page: str) -> str:
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", page).split()))


def filled(page: str) -> dict[str, str]:
    """What a browser would send of the form of a new run."""
    form = page[page.index('<form id="run"') :]
    found: dict[str, str] = {}
    for tag, inner in re.findall(r"(<input[^>]*>)|(<(?:select|textarea).*?</(?:select|textarea)>)", form, re.DOTALL):
        one = tag or inner
        name = re.search(r'name="([^"]*)"', one)
        if name is None or 'type="file"' in one or ('type="checkbox"' in one and " checked" not in one):
            continue
        if one.startswith("<textarea"):
            value = one[one.index(">") + 1 : one.rindex("</textarea>")]
        elif one.startswith("<select"):
            chosen = re.search(r'<option(?: value="([^"]*)")? selected>([^<]*)', one)
            value = (chosen.group(2) if chosen.group(1) is None else chosen.group(1)) if chosen else ""
        else:
            given = re.search(r'value="([^"]*)"', one)
            value = given.group(1) if given else ""
        found[html.unescape(name.group(1))] = html.unescape(value)
    return found


def new(settings: dict[str, Any], **more: str) -> str:
    return f"/new?{urlencode({'settings': json.dumps(settings), **more})}"


def settings_in(address: str) -> Any:
    return json.loads(parse_qs(urlsplit(address).query)["settings"][0])


# ------------------------------------------------------------------------------------------------ new run


@pytest.mark.parametrize("recipe", [one.name for one in RECIPES])
def test_a_recipe_to_form_to_yaml_to_form_is_the_same(http: TestClient, recipe: str) -> None:
    first = filled(seen(http, f"/new?recipe={recipe}"))
    as_yaml = posted(http, "/new", {**first, "do": "yaml"}).headers["location"]
    shown = filled(seen(http, as_yaml))
    assert shown["view"] == "yaml"
    back = posted(http, "/new", {**shown, "do": "form"}).headers["location"]
    again = filled(seen(http, back))
    assert again == first
    assert settings_in(back) == settings_in(as_yaml)


def test_zero_false_and_null_are_values(http: TestClient) -> None:
    settings = {
        **SORTING,
        "strategy": {
            "name": "sft",
            "clip_norm": None,
            "group_by_length": False,
            "optimizer": {"name": "sgd", "lr": 0.0625, "momentum": 0},
        },
        "seed": 0,
        "checkpoint": {"keep": 1},
        "evaluate": {"every": 7},
    }
    asked = posted(http, "/new", {**filled(seen(http, new(settings))), "do": "yaml"}).headers["location"]
    found = settings_in(asked)
    assert found["strategy"]["clip_norm"] is None
    assert found["strategy"]["group_by_length"] is False
    assert found["strategy"]["optimizer"] == {"name": "sgd", "lr": 0.0625, "momentum": 0}
    assert found["checkpoint"] == {"keep": 1}
    assert "seed" not in found, "it is the default"


def test_the_same_settings_and_no_more_come_out_of_a_form(http: TestClient, parts: Parts) -> None:
    for settings in ({**SORTING, "budget": {"steps": 3}}, {**SORTING, "seed": 4, "threads": 1}, SORTING):
        fields, values = draft.values_of(parts, settings)
        assert fields
        assert draft.from_form(parts, values) == settings


def test_a_finding_is_fixed_by_its_button(http: TestClient, file: str) -> None:
    settings = {
        "task": {
            "name": "text",
            "data": {"train": f"datasets/{file}", "columns": COLUMNS},
        },
        "strategy": {"name": "sft", "max_length": 32},
        "budget": {"steps": 2},
    }
    page = seen(http, new(settings, check="1"))
    assert "longer than max_length" in page
    value = re.search(r'<button name="fix" value="([^"]+)"', page)
    assert value is not None
    answer = posted(http, "/new", {**filled(page), "fix": html.unescape(value.group(1))})
    fixed = settings_in(answer.headers["location"])
    assert fixed["strategy"] != settings["strategy"]
    assert "longer than max_length" not in seen(http, answer.headers["location"])


def test_a_check_tells_memory_steps_and_the_tokens_that_are_trained(http: TestClient, file: str) -> None:
    columns = json.dumps(COLUMNS)
    first = filled(seen(http, f"/new?{urlencode({'dataset': file, 'columns': columns})}"))
    assert first["columns:question"] == "prompt"
    answer = posted(http, "/new", {**first, "do": "check"})
    page = seen(http, answer.headers["location"])
    assert "Ready to start" in text_of(page)
    assert re.search(r"memory [\d.]+ [kMG]B of [\d.]+ [MG]B free", text_of(page))
    assert "no run like it has completed here" in page
    trained = "".join(re.findall(r'<mark class="token trained[^>]*>([^<]*)</mark>', page))
    assert "0" in trained
    assert "Say" not in trained


def test_columns_are_mapped_by_choices_and_forgotten_with_the_file(http: TestClient, file: str) -> None:
    form = filled(seen(http, f"/new?dataset={file}"))
    assert form["columns_of"] == f"datasets/{file}"
    mapped = {**form, "columns:question": "prompt", "columns:reply": "completion", "do": "form"}
    found = settings_in(posted(http, "/new", mapped).headers["location"])
    assert found["task"]["data"]["columns"] == COLUMNS
    other = {**mapped, "task.data.train": "datasets/other.jsonl"}
    assert "columns" not in settings_in(posted(http, "/new", other).headers["location"])["task"]["data"]


def test_a_wrong_number_stays_as_typed_with_what_is_wrong(http: TestClient) -> None:
    form = filled(seen(http, new(SORTING)))
    answer = posted(http, "/new", {**form, "strategy.batch_size": "eight", "seed": "3", "do": "start"})
    assert answer.status_code == 422
    again = filled(answer.text)
    assert again["strategy.batch_size"] == "eight"
    assert again["seed"] == "3"
    assert "expected a whole number" in text_of(answer.text)


def test_a_run_is_started_and_one_that_cannot_be_says_why(http: TestClient, parts: Parts) -> None:
    form = filled(seen(http, new({**SORTING, "budget": {"steps": 3}, "threads": 1})))
    answer = posted(http, "/new", {**form, "do": "start"})
    run_id = answer.headers["location"].removeprefix("/runs/")
    assert [row.id for row in parts.queue.rows("queued")] == [run_id]
    again = filled(seen(http, f"/new?from={run_id}"))
    assert {key: text for key, text in again.items() if key in form} == form
    outside = filled(seen(http, new({"task": {"name": "text"}, "strategy": {"name": "sft"}})))
    refused = posted(http, "/new", {**outside, "task.data.train": "/etc/passwd", "do": "start"})
    assert refused.status_code == 422
    assert "outside of the folders" in refused.text
    assert len(parts.queue.rows("queued")) == 1


def test_yaml_is_taken_and_its_mistakes_have_lines(http: TestClient) -> None:
    shown = filled(seen(http, new(SORTING, view="yaml")))
    broken = posted(http, "/new", {**shown, "yaml": "task: {name: sorting\nstrategy: sft\n", "do": "check"})
    assert broken.status_code == 422
    assert "settings:2" in broken.text
    short = "task: sorting\nstrategy: sft\nseed: 9\n"
    there = posted(http, "/new", {**shown, "yaml": short, "do": "form"}).headers["location"]
    assert filled(seen(http, there))["seed"] == "9"
    odd = posted(http, "/new", {**shown, "yaml": short + "nonsense: 1\n", "do": "form"}).headers["location"]
    page = seen(http, odd)
    assert "has no field in the form" in page
    assert filled(page)["view"] == "yaml"
    dated = posted(http, "/new", {**shown, "yaml": short + "evaluate: {every: 2020-01-01}\n", "do": "form"})
    assert dated.status_code == 422
    for wrong in (f"task: &a [*a]\n{short[14:]}", f"task: {'[' * 3000}", "", "[1]", "task: {name: 3}\nstrategy: sft"):
        assert posted(http, "/new", {**shown, "yaml": wrong, "do": "form"}).status_code == 422


@pytest.mark.parametrize(
    "how",
    [{"tuning": {"name": "full", "r": 4}}, {"tuning": {"name": "lora", "odd": 1}}, {"optimizer": [1]}, {"odd": 1}],
)
def test_what_the_form_cannot_say_is_kept_as_yaml(http: TestClient, how: dict[str, Any]) -> None:
    settings = {**SORTING, "strategy": {"name": "sft", **how}}
    page = seen(http, new(settings))
    assert "has no field in the form" in page
    assert yaml.safe_load(filled(page)["yaml"]) == settings


def test_a_name_alone_is_a_group_in_the_form(http: TestClient) -> None:
    short = {
        "task": "sorting",
        "strategy": {"name": "finetune/sft", "tuning": "full", "optimizer": "sgd", "schedule": {}},
    }
    form = filled(seen(http, new(short)))
    assert (form["strategy.name"], form["strategy.tuning.name"], form["strategy.optimizer.name"]) == (
        "sft",
        "full",
        "sgd",
    )


def test_a_dropped_strategy_is_there_at_once_and_a_broken_one_is_named(http: TestClient, home: Trained) -> None:
    folder = home.folder / "strategies"
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(MINE)
    (folder / "torn.py").write_text("class Torn(:\n")
    try:
        page = seen(http, "/new?strategy=mine&task=sorting")
        assert "mine (yours)" in page
        assert filled(page)["strategy.strength"] == "0.25"
        assert "strategies/torn.py" in page
        assert "strategies/torn.py" in seen(http, "/plugins")
        assert "strength" in seen(http, "/plugins/finetune/mine")
        chosen = posted(http, "/new", {**filled(page), "strategy": "dpo", "task": "text", "seed": "5", "do": "choose"})
        assert settings_in(chosen.headers["location"]) == {**settings_in(chosen.headers["location"]), "seed": 5}
        assert filled(seen(http, chosen.headers["location"]))["strategy.name"] == "dpo"
    finally:
        (folder / "mine.py").unlink()
        (folder / "torn.py").unlink()


def test_what_is_not_there_is_said(http: TestClient) -> None:
    seen(http, "/new?recipe=nothing", 404)
    seen(http, "/new?from=nothing", 404)
    seen(http, "/new?dataset=nothing.jsonl", 404)
    seen(http, "/new?settings=[1]", 422)
    seen(http, "/new?settings={}", 422)
    seen(http, "/new?strategy=nothing", 404)
    seen(http, "/plugins/finetune/nothing", 404)
    seen(http, "/datasets/nothing.jsonl", 404)
    seen(http, "/models/nothing", 404)
    form = filled(seen(http, new(SORTING)))
    for wrong in ("nonsense", "[1]", '[{"path": "seed.a.b", "value": 1}]', "{}"):
        assert posted(http, "/new", {**form, "seed": "5", "fix": wrong}).status_code in (303, 422)


# ------------------------------------------------------------------------------------------------ data


def test_a_file_is_looked_at_checked_mapped_and_shown_as_tokens(http: TestClient, file: str) -> None:
    assert f'href="/datasets/{file}"' in seen(http, "/datasets")
    page = seen(http, f"/datasets/{file}?check=1")
    assert "Say 3." in page
    assert "The rows fit no layout" in page
    suggested = re.search(r'<a class="button" href="([^"]+)">Take', page)
    assert suggested is not None
    taken = html.unescape(suggested.group(1))
    assert "All 40 rows can be trained" in seen(http, taken)
    tokens = seen(http, f"{taken}&tokens=1&first=2")
    assert f"{file}:3" in tokens
    assert '<mark class="token trained' in tokens
    assert "Say 12." in seen(http, f"/datasets/{file}?offset=10")
    train_on = re.search(r'href="(/new\?dataset[^"]+)"', tokens)
    assert train_on is not None
    assert filled(seen(http, html.unescape(train_on.group(1))))["columns:reply"] == "completion"


def test_a_file_with_wrong_rows_names_its_lines(http: TestClient) -> None:
    content = b'{"prompt": "a", "completion": "b"}\n{"prompt": "<b>c</b>"}\n' * 5
    where = http.post("/datasets", files={"file": ("torn.jsonl", content)}, headers=_HEAD).url
    page = seen(http, str(where))
    assert "torn.jsonl:2" in page
    assert "<b>c</b>" not in page
    assert "cannot be undone" not in page
    assert posted(http, "/datasets/torn.jsonl/delete", {}).headers["location"] == "/datasets"
    seen(http, "/datasets/torn.jsonl", 404)


def test_no_foreign_kind_is_uploaded(http: TestClient) -> None:
    answer = http.post("/datasets", files={"file": ("x.py", b"import os")}, headers=_HEAD)
    assert answer.status_code == 422
    assert "is of no kind that is taken" in answer.text


# ------------------------------------------------------------------------------------------------ models


def test_models_are_listed_with_a_card_each_and_used_in_a_new_run(http: TestClient, home: Trained) -> None:
    page = seen(http, "/models")
    assert f'href="/models/{home.lora}"' in page
    assert f'href="/playground?model={home.full}"' in page
    card = seen(http, f"/models/{home.lora}")
    assert "Merged, bf16" in card
    assert 'base_url="http://testserver/v1"' in html.unescape(card)
    assert '<option value="private">' in card
    model = filled(seen(http, f"/new?base={home.full}"))["task.model"]
    assert (home.folder / model / "config.json").is_file()
    assert "Export it merged" in seen(http, f"/new?base={home.lora}", 409)
    assert f"/playground?model={home.lora}" in seen(http, f"/runs/{home.lora}")


def test_a_model_is_exported_and_its_export_deleted(http: TestClient, home: Trained) -> None:
    assert (
        posted(http, f"/models/{home.lora}/export", {"kind": "adapter"}).headers["location"] == f"/models/{home.lora}"
    )
    export = f"{home.lora}-adapter"
    for _ in range(600):
        time.sleep(0.2)
        if f'href="/models/{export}"' in seen(http, f"/models/{home.lora}"):
            break
    assert "exported" in seen(http, f"/models/{export}")
    assert "removed from the disk" in seen(http, f"/models/{export}/delete")
    assert posted(http, f"/models/{export}/delete", {}).headers["location"] == "/models"
    seen(http, f"/models/{export}", 404)
    assert posted(http, f"/models/{home.lora}/push", {"repo": "no slash"}).status_code == 422
    assert posted(http, f"/models/{home.full}/export", {"kind": "merged"}).status_code == 422


def test_a_model_answers_beside_its_base_without_javascript(http: TestClient, home: Trained) -> None:
    asked = {"model": home.lora, "prompt": "Sort <3> 1 2.", "compare": "true", "max_new_tokens": "6", "seed": "3"}
    page = posted(http, "/playground", asked).text
    assert "The two differ." in page
    assert "Sort &lt;3&gt; 1 2." in page
    assert re.findall(r'<div class="side1 (\w+)">', page) == ["base", "tuned"]
    assert "seed 3" in page
    assert posted(http, "/playground", {**asked, "temperature": "warm"}).status_code == 422
    chat, bare = (posted(http, "/playground", {**asked, "as": word}).text for word in ("chat", "text"))
    trained, turned, plain = (
        int(re.search(r"(\d+) prompt tokens", one).group(1))  # type: ignore[union-attr]
        for one in (page, chat, bare)
    )
    assert trained == plain < turned, "as its rows were: without the template"
    assert '<option value="text" selected>' in bare
    assert posted(http, "/playground", {**asked, "as": "poem"}).status_code == 422
    gone = posted(http, "/playground", {**asked, "model": "gone"})
    assert gone.status_code == 404
    assert "no such model" in gone.text


# ------------------------------------------------------------------------------------------------ all screens


def test_no_screen_holds_scripts_styles_or_foreign_addresses(http: TestClient, home: Trained, file: str) -> None:
    made_run(home.folder, "evil", task={"name": "<script>alert(1)</script>"})
    for path in ("/new", new(SORTING, view="yaml"), "/datasets", f"/datasets/{file}?check=1&tokens=1", "/models",
                 f"/playground?model={home.lora}", "/plugins", "/plugins/finetune/sft", f"/datasets/{file}/delete",
                 f"/models/{home.full}/delete"):  # fmt: skip
        page = seen(http, path)
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page), path
        assert not re.search(r'(?:src|href|action)="https?://', page), path
        assert page.count("<h1") == 1
        assert len(page) < 120_000


def test_the_form_has_a_label_and_a_description_for_everything(http: TestClient) -> None:
    page = seen(http, "/new")
    ids = re.findall(r'<(?:input|select|textarea)[^>]* id="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 40
    for one in ids:
        assert f'for="{one}"' in page or f'id="{one}" name' in page, one


def test_what_does_not_fit_into_an_address_is_answered_in_place(http: TestClient) -> None:
    shown = filled(seen(http, new(SORTING, view="yaml")))
    long = "task: sorting\nstrategy: sft\nseed: 3\n" + f"nonsense: {'x' * 13000}\n"
    answer = posted(http, "/new", {**shown, "yaml": long, "do": "form"})
    assert answer.status_code == 200
    assert "has no field in the form" in answer.text
