"""The model card of what a run left: what it is, how it was trained, what came of it, how to use it.

Markdown with YAML metadata, as the Hugging Face Hub reads it. Files are named without their folders: a card travels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from regimen.records.reader import Record
from regimen.spec import RunSpec, differing

_SHOWN = ("valid/", "test/")
_PACKAGES = ("regimen-ml", "torch", "transformers", "peft", "bitsandbytes", "datasets")


def card(
    record: Record, spec: RunSpec, final: Mapping[str, float], *, kind: Literal["adapter", "model"], chat: bool
) -> str:
    """The card of a run that has just been trained; `chat`: its rows were chats under the tokenizer's template."""
    title = f"{_name(spec.task.model_dump()['model'])}, tuned by {spec.strategy.name}"
    sections = [
        _metadata(spec, final, kind),
        f"# {title}\n\nTrained with Regimen (`regimen-ml`): strategy `{spec.strategy.name}` on task "
        f"`{spec.task.name}`, seed {spec.seed}. No license has been chosen: set `license` above before you publish "
        "this.",
        "## Results\n\n" + _results(record, final),
        "## How to use\n\n" + _usage(spec, kind, chat),
        "## How it was trained\n\nSettings that differ from their defaults:\n\n" + _settings(spec),
        "## Data\n\n" + _data(record.folder / "artifacts" / "data.json"),
        "## Reproduce\n\n" + _versions(record, spec),
    ]
    return "\n\n".join(part.strip() for part in sections if part.strip()) + "\n"


def of_merged(text: str, difference: float) -> str:
    """An adapter's card as the card of base and adapter merged into one model."""
    head, between, rest = text.partition("## How to use")
    _, _, after = rest.partition("## How it was trained")
    note = (
        "This is base and adapter merged into one model, in full precision; the largest difference of a logit from "
        f"the two apart was {difference:.3g} on the run's probe rows."
    )
    head = head.replace("library_name: peft", "library_name: transformers", 1)
    usage = _code(
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "model = AutoModelForCausalLM.from_pretrained(here)",
    )
    return f"{head}{between}\n\n{note}\n\n{usage}\n\n## How it was trained{after}"


def _metadata(spec: RunSpec, final: Mapping[str, float], kind: str) -> str:
    task, strategy = spec.task.model_dump(), spec.strategy.model_dump()
    tuning = strategy.get("tuning", {}).get("name", "full")
    files = [value for key, value in (task.get("data") or {}).items() if key in ("train", "valid", "test") and value]
    measured = sorted({key.partition("/")[2] for key in final if key.startswith(("valid/", "test/"))})
    body = {
        "base_model": _name(task["model"]),
        "base_model_relation": "adapter" if kind == "adapter" else "finetune",
        "library_name": "peft" if kind == "adapter" else "transformers",
        "pipeline_tag": "text-generation",
        "license": "unknown",
        "tags": ["regimen", spec.strategy.name, tuning],
        "datasets": [_name(file) for file in files],
        "metrics": measured,
    }
    return f"---\n{yaml.safe_dump(body, sort_keys=False, allow_unicode=True)}---"


def _results(record: Record, final: Mapping[str, float]) -> str:
    keys = [key for key in final if key.startswith(_SHOWN)]
    if not keys:
        return "Nothing was measured: there were no rows to evaluate on."
    rows = ["| metric | before training | after |", "|---|---|---|"]
    for key in keys:
        first = record.curves.get(key, [])
        before = f"{first[0].value:.5g}" if first and first[0].step == 0 else "–"
        rows.append(f"| {key} | {before} | {final[key]:.5g} |")
    return "\n".join(rows) + _proved(final)


def _proved(final: Mapping[str, float]) -> str:
    if "final/proof_reload_difference" not in final:
        return ""
    reload, base = final["final/proof_reload_difference"], final["final/proof_base_difference"]
    return (
        "\n\nThese files were loaded again after they had been saved: on the probe rows the largest difference of a "
        f"logit is {reload:.3g} from the model that was trained, and {base:.3g} from the base."
    )


def _usage(spec: RunSpec, kind: str, chat: bool) -> str:
    task = spec.task.model_dump()
    revision = f", revision={task['revision']!r}" if task.get("revision") else ""
    name = "../base" if task["model"] == "tiny" else _name(task["model"])
    if kind == "model":
        return _code(
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "model = AutoModelForCausalLM.from_pretrained(here)",
            chat,
        )
    imports = "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer"
    where = "" if name == task["model"] else "  # the folder of the base"
    base = f"base = AutoModelForCausalLM.from_pretrained({name!r}{revision}){where}"
    return _code(imports, f"{base}\nmodel = PeftModel.from_pretrained(base, here)", chat)


def _code(imports: str, load: str, chat: bool = True) -> str:
    ask = (
        'messages = [{"role": "user", "content": "..."}]\n'
        "inputs = tokenizer.apply_chat_template(\n"
        '    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"\n'
        ")"
        if chat
        else 'inputs = tokenizer("...", return_tensors="pt")'
    )
    return f"""```python
{imports}

here = "."  # this folder
tokenizer = AutoTokenizer.from_pretrained(here)
{load}
{ask}
output = model.generate(**inputs, max_new_tokens=64)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
```"""


def _settings(spec: RunSpec) -> str:
    said = {path: value for path, value in differing(spec).items() if path.partition(".")[0] not in ("output", "log")}
    plain = {path: _plain(value) for path, value in said.items()}
    return f"```yaml\n{yaml.safe_dump(plain, sort_keys=True, allow_unicode=True)}```"


def _data(path: Path) -> str:
    try:
        splits: dict[str, dict[str, Any]] = json.loads(path.read_bytes())["splits"]
    except (FileNotFoundError, KeyError):
        splits = {}
    if not splits:
        return "The strategy prepared the rows itself; Regimen has no counts of them."
    rows = ["| split | rows | kept | dropped | tokens | trained tokens |", "|---|---|---|---|---|---|"]
    for name, split in splits.items():
        dropped = "; ".join(f"{counted['rows']} {reason}" for reason, counted in split["dropped"].items()) or "0"
        counts = f"{split['rows']} | {split['kept']} | {dropped} | {split['tokens']} | {split['trained_tokens']}"
        rows.append(f"| {name} | {counts} |")
    return "\n".join(rows)


def _versions(record: Record, spec: RunSpec) -> str:
    packages = record.environment.get("packages", {})
    lines = [
        f"- seed: {spec.seed}",
        f"- content hash (settings, data, code): `{record.content}`",
        f"- run: `{record.id}`",
    ]
    lines.append("- versions: " + ", ".join(f"{name} {packages[name]}" for name in _PACKAGES if name in packages))
    return "\n".join(lines)


def _name(value: str) -> str:
    """A name on the Hub as it is, a path by its last part."""
    return value if not Path(value).expanduser().exists() and not Path(value).is_absolute() else Path(value).name


def _plain(value: object) -> object:
    """A setting as YAML can hold it, without folders."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, str | Path):
        return _name(str(value))
    return value if isinstance(value, int | float | bool) or value is None else str(value)
