"""The documentation is true: its blocks and commands run, its links lead somewhere, its tables follow from the code."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple, get_args

import pytest
import torch
import typer

from regimen.choices import CheckedSpec
from regimen.cli import main
from regimen.cli.app import app
from regimen.document import check, read_document
from regimen.errors import RegimenError
from regimen.execute import prepare
from regimen.finetune.batches.collate import collate
from regimen.finetune.models import ModelSource
from regimen.kinds import KINDS
from regimen.listing import list_runs
from regimen.records.writer import Status
from regimen.registry import plugins

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
WORKED = (
    "docs/quickstart.md",
    "docs/add-a-strategy.md",
    "docs/optimizer-benchmarks.md",
    "docs/architecture-search.md",
    "docs/server.md",
)
"""Pages whose blocks are run from top to bottom."""
LONG = ("docs/optimizer-benchmarks.md", "docs/server.md")


class Block(NamedTuple):
    """A fenced block: its language, the file it is to be, whether it may run, where it stands."""

    language: str
    title: str
    runs: bool
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w+)([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        language, more, body = match.groups()
        title = re.search(r"title=(\S+)", more)
        line = text.count("\n", 0, match.start()) + 2
        yield Block(language, title.group(1) if title else "", "norun" not in more, body, line)


def commands(block: Block) -> list[list[str]]:
    """The words of each `regimen` command of a console block."""
    lines = [line.partition("   #")[0].strip() for line in block.text.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("regimen ")]


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


# ------------------------------------------------------------------------------------------------ what it shows runs


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.long] * (n in LONG)) for n in WORKED])
def test_a_worked_page_runs_from_top_to_bottom(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Files are written where their title says; python blocks share their names; commands end with code 0."""
    names: dict[str, Any] = {}
    for block in blocks(ROOT / name):
        place = f"{name}:{block.line}"
        if block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text)
        elif block.language == "python" and block.runs:
            exec(compile(block.text, place, "exec"), names)
        elif block.language == "console" and block.runs:
            for words in commands(block):
                assert main(with_runs(words)) == 0, f"{place}: {words}\n{''.join(capsys.readouterr())[-2000:]}"


def with_runs(words: list[str]) -> list[str]:
    """`RUN` is the newest run, `OTHER` the one before it."""
    runs = [row.id for row in list_runs(Path("runs")).rows] if Path("runs").exists() else []
    return [runs[("RUN", "OTHER").index(word)] if word in ("RUN", "OTHER") else word for word in words]


def test_the_strategy_of_the_readme_trains(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = [block for block in blocks(ROOT / "README.md") if block.language == "python"]
    assert len([line for line in block.text.splitlines() if line]) <= 10, "a strategy in ten lines"
    Path("strategies").mkdir()
    Path(block.title).write_text(block.text)
    task = {"name": "sorting", "train_rows": 32, "valid_rows": 4, "metrics": [], "samples": 0}
    prepared = prepare({"task": task, "strategy": "focal", "budget": {"steps": 2}})
    model, tokenizer = ModelSource("tiny").load(torch.device("cpu")), ModelSource("tiny").tokenizer()
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "dd"}]
    data = prepared.strategy.prepare_dataset(rows, tokenizer, {})  # type: ignore[attr-defined]
    batch = prepared.strategy.collate([data[0], data[1]], 0)  # type: ignore[attr-defined]
    loss = prepared.strategy.compute_loss(model, batch)  # type: ignore[attr-defined]
    assert not prepared.errors
    assert 0 < float(loss.sum.detach()) < 20 * loss.count


def test_the_yaml_of_the_readme_is_that_of_the_example() -> None:
    shown = [block for block in blocks(ROOT / "README.md") if block.language == "yaml"]
    assert len(shown) == 3
    for block in shown:
        Path("shown.yaml").write_text(block.text)
        example = read_document(ROOT / block.title).data
        assert read_document("shown.yaml").data == {key: value for key, value in example.items() if key != "seed"}


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.yaml")), ids=lambda path: path.name)
def test_an_example_is_ready(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    document = read_document(path).with_overrides([f"output={tmp_path}"])
    if "tune" in document.data:
        assert main(["tune", str(path), "--dry-run", "--set", f"output={tmp_path}"]) == 0
        return
    spec = check(document, CheckedSpec)
    if getattr(spec.task, "model", None) == "tiny" or spec.task.name == "digits":  # no download, no weights
        assert not prepare(document).errors


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def test_the_orpo_of_the_docs_is_that_of_trl(monkeypatch: pytest.MonkeyPatch) -> None:
    """The odds-ratio term is TRL's on one batch; the likelihood term is the paper's, a mean over the chosen answer."""
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    trainer = pytest.importorskip("trl.experimental.orpo").ORPOTrainer
    (block,) = [block for block in blocks(ROOT / WORKED[1]) if block.title == "strategies/orpo.py"]
    Path("documented_orpo.py").write_text(block.text)
    strategy = load(Path("documented_orpo.py")).ORPO()
    model = ModelSource("tiny").load(torch.device("cpu"))
    pair = {"prompt_ids": [5, 6, 7], "chosen_ids": [8, 9], "rejected_ids": [10, 11, 12, 13], "row": 0}
    other = {"prompt_ids": [20], "chosen_ids": [21, 22, 23], "rejected_ids": [24], "row": 1}
    batch = strategy.collate([pair, other], 0)
    loss = strategy.compute_loss(model, batch)

    apart = collate([answered(row, part) for part in ("chosen_ids", "rejected_ids") for row in (pair, other)])
    logits_BTV = model(input_ids=apart["input_ids"]).logits
    chosen_B, rejected_B = trainer.get_batch_logps(logits_BTV, apart["labels"], average_log_prob=True).chunk(2)
    trl = SimpleNamespace(beta=strategy.beta, accelerator=SimpleNamespace(device="cpu"))
    ratio_B, *_, log_odds = trainer.odds_ratio_loss(trl, chosen_B, rejected_B)
    torch.testing.assert_close(loss.sum, (-chosen_B - ratio_B).sum(), rtol=1e-5, atol=0)
    torch.testing.assert_close(loss.metrics["log_odds"][0] / 2, log_odds, rtol=1e-4, atol=1e-6)


def answered(row: dict[str, Any], part: str) -> dict[str, Any]:
    prompt, answer = row["prompt_ids"], row[part]
    return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer, "row": 0}


# ------------------------------------------------------------------------------------------------- what it says exists


def shown_commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Every `regimen ...` of a page: in console blocks, and in code within a sentence."""
    text = page.read_text(encoding="utf-8")
    for block in blocks(page):
        if block.language == "console":
            yield from ((f"{page.name}:{block.line}", words) for words in commands(block))
    prose = re.sub(
        r"^```.*?^```$", lambda block: "\n" * block.group().count("\n"), text, flags=re.MULTILINE | re.DOTALL
    )
    for match in re.finditer(r"`regimen ([^`\n]+)`", prose):
        yield f"{page.name}:{prose.count(chr(10), 0, match.start()) + 1}", shlex.split(match.group(1))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_command_exists_with_its_options(page: Path) -> None:
    for place, words in shown_commands(page):
        assert not (wrong := what_is_wrong(words)), f"{place}: regimen {' '.join(words)}: {wrong}"


def what_is_wrong(words: list[str]) -> str:
    """What the command line would object to; nothing for a command that is named without its arguments."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return f"there is no {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in known]
    if unknown or not words or hasattr(command, "commands"):
        return f"there is no {', '.join(unknown)}" if unknown else ""
    if all(word.startswith("-") for word in words):
        return ""
    try:
        command.make_context("regimen", list(words))
    except Exception as error:  # noqa: BLE001 - typer brings its own copy of click: its classes cannot be named
        return str(error)
    return ""


@pytest.mark.parametrize("words", ["rum x.yaml", "run x.yaml --sett a=b", "diff A", "data preview x.yaml -n many"])
def test_a_wrong_command_would_be_found(words: str) -> None:
    assert what_is_wrong(words.split())


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(other), (
            f"{page.name} links to {target}; there are {sorted(anchors(other))}"
        )


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --------------------------------------------------------------------------------------------- what it says is complete


def test_every_plugin_is_named() -> None:
    page = anchors(ROOT / "docs" / "settings.md")
    missing = [
        plugin.qualified for kind in KINDS for plugin in plugins(kind, Path("nowhere")) if plugin.name not in page
    ]
    assert not missing, f"docs/settings.md has no {missing}: python docs/generate.py"


def test_generated_parts_are_fresh() -> None:
    generate = load(ROOT / "docs" / "generate.py")
    for name in generate.PARTS:
        path, text = generate.renewed(name)
        assert path.read_text(encoding="utf-8") == text, (
            f"{path.name} is not what the code says: python docs/generate.py"
        )


def test_every_exit_code_and_status_is_explained() -> None:
    codes = {0} | {error.exit_code for error in errors(RegimenError)}
    for page in ("README.md", "docs/troubleshooting.md"):
        rows = {int(code) for code in re.findall(r"^\| (\d+) \|", (ROOT / page).read_text(), re.MULTILINE)}
        assert rows == codes, page
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    assert {word for word in get_args(Status) if f"| {word} |" not in text} == set()


def errors(cls: type[RegimenError]) -> Iterator[type[RegimenError]]:
    for child in cls.__subclasses__():
        yield child
        yield from errors(child)


def test_every_defect_that_is_not_kept_has_a_test_that_is_there() -> None:
    page = (ROOT / "docs/decisions/0008-deepobs-names-kept-defects-not.md").read_text()
    named = re.findall(r"`(test_\w+)`", page)
    written = set(re.findall(r"^def (test_\w+)", "".join(p.read_text() for p in ROOT.glob("tests/*.py")), re.MULTILINE))
    assert len(named) >= 24
    assert set(named) <= written
