"""A description as a document and as settings: nothing is lost on the way, and what identifies a run is just that."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as some

from regimen.choices import CheckedSpec
from regimen.document import check, parse_document, read_document
from regimen.errors import SpecError
from regimen.execute import run
from regimen.identity import content_hash, new_id, run_folder
from regimen.published import NAMES, check_names, to_published, to_settings, usual_places
from regimen.spec import Budget, Progress, RunSpec, changed_settings, differing, identifying

PASSED: dict[str, Any] = {
    "task": {"name": "sorting", "train_rows": 96, "valid_rows": 16, "metrics": [], "samples": 0},
    "strategy": {"name": "sft", "tuning": {"name": "lora", "r": 2}, "optimizer": {"lr": 0.01, "weight_decay": 0.1}},
    "budget": {"steps": 1},
}


def checked(passed: dict[str, Any], *overrides: str) -> CheckedSpec:
    return check(read_document(passed).with_overrides(overrides), CheckedSpec)


def test_passed_and_resolved_are_both_kept_and_say_the_same(tmp_path: Path) -> None:
    record = run(PASSED)
    assert record.spec["passed"] == PASSED
    resolved = record.spec["resolved"]
    assert resolved["strategy"]["tuning"]["alpha"] == 32
    assert resolved["strategy"]["optimizer"] == {"name": "adamw", "lr": 0.01, "weight_decay": 0.1}
    assert checked(resolved).model_dump(mode="json") == resolved
    assert checked(record.spec["passed"]).model_dump(mode="json") == resolved
    assert checked(yaml.safe_load(yaml.safe_dump(resolved))).model_dump(mode="json") == resolved
    assert record.settings == resolved


def test_a_name_alone_is_a_plug_in_without_settings() -> None:
    short = checked({"task": "sorting", "strategy": "sft"})
    long = checked({"task": {"name": "sorting"}, "strategy": {"name": "sft"}})
    assert short.model_dump() == long.model_dump()
    assert short.budget == Budget(epochs=1)


# ------------------------------------------------------------------------------------------------------ overrides

WORDS = some.text("abcdefgh_", min_size=1, max_size=6)
VALUES = (
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
    | WORDS
    | some.lists(some.integers(), max_size=3)
)


@given(some.lists(WORDS, min_size=1, max_size=4), VALUES)
def test_set_puts_a_value_where_the_path_says(path: list[str], value: object) -> None:
    text = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
    document = read_document({"x y": 1}).with_overrides([f"{'.'.join(path)}={text}"])
    found: Any = document.data
    for key in path:
        found = found[key]
    assert found == value or yaml.safe_load(text) != value
    assert document.data["x y"] == 1
    assert document.place(tuple(path)) == f"--set {'.'.join(path)}"


@given(some.dictionaries(WORDS, VALUES, min_size=1, max_size=5))
def test_the_place_of_each_key_is_its_line(settings: dict[str, Any]) -> None:
    text = yaml.safe_dump({"above": settings})
    document = parse_document(text, "run.yaml")
    for line, content in enumerate(text.splitlines(), start=1):
        key = re.match(r"  ([a-h_]+):", content)
        if key:
            assert document.place(("above", key[1])) == f"run.yaml:{line} above.{key[1]}"


def test_later_overrides_win_and_the_document_stays(tmp_path: Path) -> None:
    document = read_document(PASSED)
    changed = document.with_overrides(["budget.steps=2"]).with_overrides(["budget.steps=3"])
    assert (document.data["budget"]["steps"], changed.data["budget"]["steps"]) == (1, 3)
    assert document.data == PASSED


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-2", 0.01), ("1E3", 1000.0), (".5", 0.5), ("-0.0", 0.0), ("1_000", 1000), ("0x10", 16), ("true", True)],
)
def test_numbers_as_people_write_them(text: str, value: object) -> None:
    found = parse_document(f"a: {text}\n", "run.yaml").data["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", ["yes", "no", "on", "off", "1e", "1-2", "v1.0", "1.2.3", "e5", "2026-11-21x", "12:30"])
def test_words_stay_words(text: str) -> None:
    assert parse_document(f"a: {text}\n", "run.yaml").data["a"] == text


# ------------------------------------------------------------------------------------------------------ what differs


def test_what_differs_names_the_change_and_nothing_else() -> None:
    assert differing(checked({"task": "sorting", "strategy": "sft"})) == {"task": "sorting", "strategy": "sft"}
    said = differing(checked(PASSED, "strategy.tuning.r=2"))
    assert said["strategy.tuning.r"] == 2
    assert said["strategy.optimizer.lr"] == 0.01
    assert said["strategy.optimizer.weight_decay"] == 0.1
    assert said["task.train_rows"] == 96
    assert "strategy.batch_size" not in said
    other = differing(checked({"task": "sorting", "strategy": {"name": "sft", "tuning": "full"}}))
    assert other["strategy.tuning"] == "full"


TREES = some.recursive(VALUES, lambda inner: some.dictionaries(WORDS, inner, max_size=3), max_leaves=8)
DICTS = some.dictionaries(WORDS, TREES, max_size=4)


@given(DICTS, DICTS)
def test_changed_settings_are_all_there_is_between_two(old: dict[str, Any], new: dict[str, Any]) -> None:
    changes = changed_settings(old, new)
    assert changed_settings(old, old) == {}
    assert {path: (b, a) for path, (a, b) in changed_settings(new, old).items()} == changes
    if not changes:
        assert _without_none(old) == _without_none(new)


def _without_none(value: Any) -> Any:
    """Absent is None, and a group of nothing but that is an empty one."""
    return {k: _without_none(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value


# ------------------------------------------------------------------------------------------------------ published


def test_every_published_name_has_a_place() -> None:
    places = usual_places()
    assert places["learning_rate"] == "strategy.optimizer.lr"
    assert places["batch_size"] == "strategy.batch_size"
    assert "every" not in places
    spec = checked({"task": {"name": "text", "data": {"train": "x"}}, "strategy": {"name": "sft", "quantize": {}}})
    dumped = spec.model_dump(mode="json") | {"precision": "bf16"}
    flat = to_published(dumped)
    optional = {"weight_decay"}
    assert set(NAMES) - set(flat) <= optional, "a published name leads to no setting"


@given(
    some.fixed_dictionaries(
        {},
        optional={
            "strategy": some.sampled_from(["sft", "dpo"]),
            "model_name": WORDS,
            "lora_r": some.integers(1, 64),
            "lora_alpha": some.floats(0.5, 64, allow_subnormal=False),
            "num_train_epochs": some.floats(0.5, 9, allow_subnormal=False),
            "max_steps": some.integers(1, 99) | some.just(-1),
            "learning_rate": some.floats(1e-6, 1, allow_subnormal=False),
            "per_device_train_batch_size": some.integers(1, 64),
            "gradient_accumulation_steps": some.integers(1, 64),
            "max_grad_norm": some.floats(0.1, 9, allow_subnormal=False) | some.just(0.0),
            "use_4bit": some.booleans(),
            "bf16": some.booleans(),
            "packing": some.booleans(),
            "seed": some.integers(0, 99),
            "beta": some.floats(0, 1, allow_subnormal=False),
        },
    )
)
def test_published_names_survive_the_way_there_and_back(flat: dict[str, Any]) -> None:
    """But for those that say "not given": they are left out, and come back as nothing."""
    unset = {"max_steps": -1, "use_4bit": False, "bf16": False}
    given = {name: value for name, value in flat.items() if unset.get(name, ...) != value}
    back = to_published(to_settings(flat))
    assert {name: back[name] for name in given} == given
    assert set(back) - set(given) <= {"use_lora", "fp16", "use_8bit", "bnb_4bit_quant_type"}
    assert to_settings({name: back[name] for name in given}) == to_settings(given)


def test_unknown_published_names_are_all_told() -> None:
    with pytest.raises(SpecError) as raised:
        check_names({"lora_r": 3, "lora_q": 3, "learning_rat": 1, "beta": 1}, {"beta"})
    assert "lora_q: is not a setting. Did you mean 'lora_r'?" in str(raised.value)
    assert "learning_rat: is not a setting. Did you mean 'learning_rate'?" in str(raised.value)


# ------------------------------------------------------------------------------------------------------ the budget


@given(
    some.dictionaries(some.sampled_from(Progress._fields), some.integers(1, 100), min_size=1),
    some.tuples(*[some.integers(0, 200)] * 5),
)
def test_a_budget_is_spent_when_its_first_limit_is(limits: dict[str, int], spent: tuple[int, ...]) -> None:
    budget, progress = Budget.model_validate(limits), Progress(*spent)
    assert budget.limits() == limits
    assert budget.exhausted(progress) == (budget.fraction(progress) == 1.0)
    assert budget.exhausted(progress) == any(getattr(progress, unit) >= limit for unit, limit in limits.items())
    assert 0 <= budget.fraction(progress) <= 1


# ------------------------------------------------------------------------------------------------------ identity


def test_ids_sort_by_time_and_never_repeat() -> None:
    made = []
    for _ in range(5):
        made.append(new_id())
        time.sleep(0.002)
    assert made == sorted(made)
    assert len({new_id() for _ in range(1000)}) == 1000
    assert all(re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{26}", name) for name in made)


def test_folder_names_are_cut_hashed_and_free() -> None:
    many = [f"strategy.optimizer.{name}={value}" for name, value in (("eps", 1e-7), ("amsgrad", "true"))]
    more = ["task.data_seed=77", "task.max_new_tokens=25", "strategy.schedule.warmup=0.125", "strategy.max_length=512"]
    when = time.struct_time((2026, 11, 21, 8, 9, 10, 5, 325, 0))
    folder = run_folder(checked(PASSED, *many, *more), when)
    assert folder.parts[:3] == ("runs", "sorting", "sft")
    assert folder.name == "seed__0__2026-11-21-08-09-10"
    part = folder.parent.name
    assert len(part) == 100
    assert re.search(r"-[0-9a-f]{8}$", part)
    other = run_folder(checked(PASSED, *many, *more, "strategy.max_length=513"), when)
    assert other.parent != folder.parent, "what is cut still tells two runs apart"
    folder.mkdir(parents=True)
    assert run_folder(checked(PASSED, *many, *more), when).name == "seed__0__2026-11-21-08-09-10-2"
    assert run_folder(checked({"task": "sorting", "strategy": "sft"}), when).parent.name == "defaults"


@given(some.text(min_size=1, max_size=300))
def test_no_value_escapes_the_folder(text: str) -> None:
    spec = RunSpec.model_validate({"task": {"name": "t", "model": text}, "strategy": {"name": text}})
    folder = run_folder(spec)
    assert len(folder.parts) in (4, 5)
    assert ".." not in folder.parts
    assert all(re.fullmatch(r"[A-Za-z0-9._+=-]*", part) for part in folder.parts)
    assert all(len(part) <= 255 for part in folder.parts)


IDENTIFYING = [
    "seed=1",
    "budget.steps=2",
    "precision=bf16",
    "device=cpu",
    "checkpoint.best=valid/loss",
    "evaluate.max_rows=4",
    "strategy.batch_size=4",
    "strategy.tuning.r=4",
    "strategy.optimizer.lr=0.1",
    "strategy.optimizer.weight_decay=0.2",
    "task.train_rows=95",
]
NOT_IDENTIFYING = ["output=elsewhere", "log.every=3", "checkpoint.every=7", "checkpoint.keep=5", "workers=2"]


def test_the_content_changes_with_what_is_computed_and_only_with_that() -> None:
    def content(*overrides: str, data: str = "d", code: str = "c") -> str:
        return content_hash(checked(PASSED, *overrides).model_dump(mode="json"), data, code)

    usual = content()
    assert [override for override in NOT_IDENTIFYING if content(override) != usual] == []
    different = [content(override) for override in IDENTIFYING] + [content(data="e"), content(code="f")]
    assert len({usual, *different}) == 1 + len(different)
    assert content("budget.steps=1") == usual, "said again is the same"


def test_identifying_leaves_its_argument_alone() -> None:
    dumped = checked(PASSED).model_dump(mode="json")
    kept = identifying(dumped)
    assert dumped == checked(PASSED).model_dump(mode="json")
    assert "output" in dumped
    assert "output" not in kept
    assert kept["checkpoint"] == {"best": None, "mode": "min", "patience": None}
