"""Plug-ins are found by name: in folders, by path, through entry points, registered by hand."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

import regimen
from regimen import registry
from regimen.errors import SpecError, StrategyFailed
from regimen.execute import run
from regimen.kinds import KINDS
from regimen.registry import describe, find, plugins, register
from regimen.strategy import Strategy

PLAIN = '''"""A class without a base class."""


class Mine:
    """Trains nothing, on purpose."""

    name = "mine"

    def prepare_dataset(self, dataset, tokenizer, config):
        rank = config.get("lora_r", 64)
        return dataset, rank, config["beta"], config.temperature
'''
DERIVED = '''from regimen.finetune.strategy import TrainingStrategy


class Derived(TrainingStrategy):
    """From the base class."""

    name = "derived"
    beta: float = 0.5
    _hidden: int = 3
    size = 8
'''


@pytest.fixture(autouse=True)
def _nothing_registered() -> Iterator[None]:
    before = dict(registry._REGISTERED)
    yield
    registry._REGISTERED.clear()
    registry._REGISTERED.update(before)


def put(path: str, text: str) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return Path(path)


# ------------------------------------------------------------------------------------------------ where they are


def test_the_packages_own_are_there() -> None:
    assert {"sft", "dpo", "qlora"} <= {plugin.name for plugin in plugins("finetune")}
    assert {"text", "sorting"} <= {plugin.name for plugin in plugins("task")}
    assert {"full", "lora", "dora", "rslora"} <= {plugin.name for plugin in plugins("tuning")}
    for kind in KINDS:
        for plugin in plugins(kind):
            assert plugin.origin == "built in"
            assert plugin.summary, f"{plugin.qualified} says nothing of itself"


@pytest.mark.parametrize("path", ["strategies/derived.py", "strategies/deeper/still/derived.py"])
def test_a_file_in_the_folder_is_found_without_an_edit(path: str, tmp_path: Path) -> None:
    put(path, DERIVED)
    found = find("derived", ["finetune"])
    assert (found.qualified, found.class_name, found.origin) == ("finetune/derived", "Derived", "folder")
    assert found.summary == "From the base class."
    assert (
        find("finetune/derived", ["finetune"])
        == find("DERIVED", ["finetune"])
        == find("Derived", ["finetune"])
        == found
    )
    assert found in plugins("finetune")
    assert find("derived", ["finetune"], tmp_path).path.resolve() == found.path.resolve()


def test_files_of_the_folder_that_are_no_plug_ins(tmp_path: Path) -> None:
    put("strategies/_private.py", DERIVED)
    put("strategies/test_derived.py", DERIVED)
    put("strategies/notes.py", "class Notes:\n    pass\n")
    put("strategies/base.py", "from abc import ABC\n\n\nclass Base(ABC):\n    def prepare_dataset(self): ...\n")
    assert {plugin.origin for plugin in plugins("finetune")} == {"built in"}


@pytest.mark.parametrize(
    ("folder", "kind", "base", "method"),
    [
        ("tasks", "task", "from regimen.finetune.texttask import LanguageTask as Base", "read"),
        ("tunings", "tuning", "from regimen.finetune.tuning import Tuning as Base", "apply"),
    ],
)
def test_other_kinds_have_folders_of_their_own(folder: str, kind: str, base: str, method: str, tmp_path: Path) -> None:
    put(f"{folder}/own.py", f"{base}\n\n\nclass Own(Base):\n    name = 'own'\n\n    def {method}(self): ...\n")
    found = find("own", [kind])
    assert (found.kind, found.qualified, found.load().__name__) == (kind, "own", "Own")


def test_by_path_with_and_without_the_class(tmp_path: Path) -> None:
    put("some/file.py", DERIVED + "\n\nclass Other(Derived):\n    name = 'other'\n")
    with pytest.raises(SpecError, match=r"holds 2 of them \(Derived, Other\). Name one: some/file.py:Derived."):
        find("some/file.py", ["finetune"])
    assert find("some/file.py:Other", ["finetune"]).name == "other"
    assert find("./some/file.py:Derived", ["finetune"]).name == "derived"
    with pytest.raises(SpecError, match=r"holds no strategy"):
        find("some/file.py:Third", ["finetune"])
    with pytest.raises(SpecError, match=r"none.py: cannot be read: No such file"):
        find("none.py", ["finetune"])


def test_through_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put("site/their_package.py", DERIVED)
    put("site/their_package-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    put("site/their_package-1.0.dist-info/entry_points.txt", "[regimen.plugins]\nderived = their_package\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    found = find("derived", ["finetune"])
    assert found.origin == "their-package"
    assert "their_package" not in sys.modules, "finding reads the source, it runs nothing"
    assert found.load().__name__ == "Derived"


def test_registered_by_hand(tmp_path: Path) -> None:
    class ByHand(Strategy):
        """Made in a notebook."""

        beta: Annotated[float, Field(ge=0)] = 0.1

        def prepare_dataset(self) -> None: ...

    register("finetune", "by_hand", ByHand)
    found = find("by_hand", ["finetune"])
    assert (found.origin, found.summary) == ("registered", "Made in a notebook.")
    assert issubclass(found.load(), ByHand)


def test_one_name_twice_is_told_and_neither_is_taken(tmp_path: Path) -> None:
    put("strategies/a.py", DERIVED)
    put("strategies/b.py", DERIVED)
    with pytest.raises(
        SpecError, match=r"b.py: the name 'finetune/derived' is taken: strategies/a.py \(folder\) has it"
    ):
        find("derived", ["finetune"])
    assert find("sft", ["finetune"]).origin == "built in"
    put("strategies/a.py", DERIVED.replace('"derived"', '"one"'))
    put("strategies/b.py", DERIVED.replace('"derived"', '"other"'))
    assert find("other", ["finetune"]).class_name == "Derived"
    with pytest.raises(SpecError, match="'Derived' is ambiguous: finetune/one, finetune/other"):
        find("Derived", ["finetune"])


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(SpecError, match=r"there is no strategy 'stf'. Did you mean 'sft'\?"):
        find("stf", ["finetune"])
    with pytest.raises(SpecError, match=r"there is no tuning 'x'. Known: dora, full, lora"):
        find("x", ["tuning"])


# ------------------------------------------------------------------------------------------------ running nothing


def test_finding_runs_no_file(tmp_path: Path) -> None:
    put("strategies/loud.py", DERIVED.replace("derived", "loud") + "\n\nraise RuntimeError('was run')\n")
    assert find("loud", ["finetune"]).summary == "From the base class."
    with pytest.raises(StrategyFailed, match=r"loud.py:13: cannot be loaded: RuntimeError: was run"):
        find("loud", ["finetune"]).load()


def test_a_changed_file_is_another_module(tmp_path: Path) -> None:
    """A notebook that edits a file and runs again gets the new one."""
    path = put("strategies/derived.py", DERIVED)
    first = find("derived", ["finetune"])
    hash_before, size = first.source_hash, first.load().size  # type: ignore[attr-defined]
    path.write_text(DERIVED.replace("size = 8", "size = 9"))
    second = find("derived", ["finetune"])
    assert (size, second.load().size) == (8, 9)  # type: ignore[attr-defined]
    assert second.source_hash != hash_before


HEAVY = ("torch", "transformers", "datasets", "peft", "trl", "pandas", "matplotlib", "scipy")
LIGHT = {
    "import": "import regimen",
    "help": "from regimen.cli import main; main(['--help'])",
    "version": "from regimen.cli import main; main(['--version'])",
    "command help": "from regimen.cli import main; main(['run', '--help'])",
    "list": "from regimen.cli import main; main(['list', '--runs', '{runs}'])",
    "list as JSON": "from regimen.cli import main; main(['list', '--json', '--runs', '{runs}'])",
    "show": "from regimen.cli import main; main(['show', '{run}'])",
    "diff": "from regimen.cli import main; main(['diff', '{run}', '{run}'])",
    "logs": "from regimen.cli import main; main(['logs', '{run}'])",
    "stop": "from regimen.cli import main; main(['stop', '{run}'])",
    "plugins": "from regimen.cli import main; main(['plugins'])",
    "prune": "from regimen.cli import main; main(['prune', '{run}', '--dry-run'])",
}


@pytest.fixture(scope="module")
def a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("light") / "runs"
    task = {"name": "sorting", "train_rows": 16, "valid_rows": 4, "metrics": [], "samples": 0}
    return run({"task": task, "strategy": {"name": "sft"}, "budget": {"steps": 1}, "output": str(output)}).folder


@pytest.mark.parametrize("what", LIGHT)
def test_what_only_reads_imports_nothing_heavy(what: str, a_run: Path) -> None:
    code = LIGHT[what].replace("{runs}", str(a_run.parents[3])).replace("{run}", str(a_run))
    code = f"{code}\nimport sys\nprint('HEAVY', *(name for name in {HEAVY} if name in sys.modules))"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    print(f"{what}: {time.perf_counter() - began:.2f} s")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY", done.stdout


# ------------------------------------------------------------------------------------------------ settings of a class


def settings_of(source: str, name: str = "strategies/mine.py") -> dict[str, Any]:
    found = describe(put(name, source), ["finetune"])[0]
    return dict(found.settings().model_fields)


def test_annotations_are_the_settings(tmp_path: Path) -> None:
    fields = settings_of(DERIVED)
    assert fields["beta"].default == 0.5
    assert fields["batch_size"].description == "rows a micro-batch, over all processes"
    assert not {"_hidden", "size", "family", "resume"} & fields.keys()


def test_a_private_annotation_may_be_known_to_type_checkers_only(tmp_path: Path) -> None:
    source = "from __future__ import annotations\nfrom typing import TYPE_CHECKING, ClassVar\n" + DERIVED.replace(
        "    _hidden: int = 3\n", "    _hidden: Nowhere | None = None\n    also: ClassVar[Nowhere] = 3\n"
    )
    assert settings_of(source)["beta"].default == 0.5


def test_parameters_of_init_are_the_settings_of_a_plain_class(tmp_path: Path) -> None:
    source = PLAIN.replace(
        '    name = "mine"\n',
        '    name = "mine"\n\n    def __init__(self, alpha: float, steps: int = 3, *args, **more):\n'
        "        self.twice = 2 * alpha\n",
    )
    fields = settings_of(source)
    assert fields["alpha"].is_required()
    assert fields["steps"].default == 3
    assert {"args", "more"}.isdisjoint(fields)
    plugin = find("mine", ["finetune"])
    made = plugin.make(plugin.settings().model_validate({"alpha": 1.5}))
    assert (made.twice, made.alpha, made.steps) == (3.0, 1.5, 3)


def test_what_a_plain_class_reads_from_config_is_a_setting_without_a_default(tmp_path: Path) -> None:
    fields = settings_of(PLAIN)
    assert {"lora_r", "beta", "temperature"} <= fields.keys()
    assert fields["lora_r"].description == "read by mine.py as config['lora_r']"
    plugin = find("mine", ["finetune"])
    assert plugin.settings().model_validate({"beta": 1}).model_fields_set == {"beta"}


def test_a_plain_class_gets_what_it_lacks(tmp_path: Path) -> None:
    put("strategies/mine.py", PLAIN)
    from regimen.finetune.strategy import TrainingStrategy

    plugin = find("mine", ["finetune"])
    made = plugin.make(plugin.settings().model_validate({}))
    assert isinstance(made, TrainingStrategy)
    assert type(made).__name__ == "Mine"
    assert made.get_strategy_name() == "mine"
    assert made.why_not.__func__ is TrainingStrategy.why_not
    assert made.prepares_itself


def test_each_made_object_is_its_own(tmp_path: Path) -> None:
    put("strategies/derived.py", DERIVED)
    plugin = find("derived", ["finetune"])
    settings = plugin.settings().model_validate({})
    one, two = plugin.make(settings), plugin.make(settings)
    one.beta = 9
    assert (two.beta, plugin.make(settings).beta) == (0.5, 0.5)
    assert regimen.__version__


def test_threads_that_look_at_once_all_find_what_is_there(tmp_path: Path) -> None:
    for number in range(30):
        put(str(tmp_path / f"strategies/mine{number}.py"), PLAIN.replace("mine", f"mine{number}"))
    counts: list[int] = []

    def look() -> None:
        counts.extend(sum(one.origin == "folder" for one in plugins("finetune", tmp_path)) for _ in range(3))

    def let_others_go_on(phase: str, info: dict[str, int]) -> None:
        time.sleep(0)

    threads = [threading.Thread(target=look) for _ in range(4)]
    before = gc.get_threshold()
    gc.callbacks.append(let_others_go_on)
    gc.set_threshold(50)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(let_others_go_on)
    assert counts == [30] * 12, "Python 3.11 parses wrongly where two threads do so at once"
