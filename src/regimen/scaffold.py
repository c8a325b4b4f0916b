"""Writes the file of a new plug-in, complete and running, with its test: `regimen new strategy NAME`."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import NamedTuple

from regimen.errors import Problem, SpecError, did_you_mean
from regimen.kinds import KINDS as KIND_NAMES
from regimen.records.writer import replace_file
from regimen.registry import plugins
from regimen.templates.runner import RUNNER
from regimen.templates.sampler import SAMPLER
from regimen.templates.searchparts import CRITERION, NEW, PART_TEST, SEARCHER, SPACE, USUAL

STRATEGY = '''"""{Title}: say in one sentence what this strategy does differently."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import nn

from regimen import Loss
from regimen.finetune import TrainingStrategy, target_logits


class {Class}(TrainingStrategy):
    """Cross-entropy with a bonus for staying uncertain (Pereyra et al., arXiv:1701.06548); put your idea here."""

    name = "{name}"

    # A setting: checked, shown by help, sweepable. Those of every fine-tune (tuning, optimizer, ...) are inherited.
    weight: Annotated[float, Field(ge=0, description="of the entropy bonus; 0 is plain supervised fine-tuning")] = 0.1

    def compute_loss(self, model: nn.Module, batch: Any) -> Loss:
        """A sum and its count, so that accumulation and several processes divide rightly."""
        logits_NV, _ = target_logits(model, batch.inputs, batch.targets.place_N)  # N trained tokens, V vocabulary
        logprobs_NV = logits_NV.float().log_softmax(dim=-1)
        nll_N = -logprobs_NV.gather(1, batch.targets.token_N[:, None])[:, 0]
        entropy_N = -(logprobs_NV.exp() * logprobs_NV).sum(dim=-1)
        total = (nll_N - self.weight * entropy_N).sum()
        return Loss(total, nll_N.numel(), {{"entropy": (entropy_N.detach().sum(), nll_N.numel())}})
'''

ALL_HOOKS = '''"""{Title}: every hook of a fine-tune spelled out, with a transformers trainer."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig, TaskType, get_peft_model, prepare_model_for_kbit_training

from regimen.modelforge import Trainer, TrainingArguments, TrainingError, logger


class {Class}:
    """LoRA on `input` and `output` rows, with a transformers Trainer."""

    def get_strategy_name(self) -> str:
        return "{name}"

    def get_required_dataset_fields(self) -> list[str]:
        return ["input", "output"]

    def prepare_model(self, model: Any, config: Any) -> Any:
        if config.get("use_4bit") or config.get("use_8bit"):
            model = prepare_model_for_kbit_training(model)
        adapter = LoraConfig(
            r=config.get("lora_r", 16),
            lora_alpha=config.get("lora_alpha", 32),
            lora_dropout=config.get("lora_dropout", 0.05),
            target_modules=config.get("target_modules", "all-linear"),
            task_type=TaskType.CAUSAL_LM,
        )
        return get_peft_model(model, adapter)

    def prepare_dataset(self, dataset: Any, tokenizer: Any, config: Any) -> Any:
        missing = [name for name in self.get_required_dataset_fields() if name not in dataset.column_names]
        if missing:
            raise TrainingError(f"the dataset lacks {{missing}}; it has {{dataset.column_names}}")
        longest = config.get("max_seq_length", 512)

        def tokens(row: dict[str, str]) -> dict[str, list[int]]:
            prompt = tokenizer(row["input"] + "\\n").input_ids
            answer = tokenizer(row["output"], add_special_tokens=False).input_ids + [tokenizer.eos_token_id]
            # -100 is not trained: the loss is on the answer, its end token included.
            return {{"input_ids": (prompt + answer)[:longest], "labels": ([-100] * len(prompt) + answer)[:longest]}}

        logger.info("making tokens of %d rows", len(dataset))
        return dataset.map(tokens, remove_columns=dataset.column_names)

    def create_trainer(
        self, model: Any, train_dataset: Any, eval_dataset: Any, tokenizer: Any, config: Any, callbacks: Any = None
    ) -> Any:
        def pad(rows: list[dict[str, list[int]]]) -> dict[str, Any]:
            import torch

            size = max(len(row["input_ids"]) for row in rows)
            fill = {{"input_ids": tokenizer.pad_token_id, "labels": -100}}
            batch = {{
                key: torch.tensor([row[key] + [value] * (size - len(row[key])) for row in rows])
                for key, value in fill.items()
            }}
            lengths = torch.tensor([len(row["input_ids"]) for row in rows])
            return {{**batch, "attention_mask": (torch.arange(size) < lengths[:, None]).long()}}

        arguments = TrainingArguments(
            output_dir=config.get("output_dir", "./results"),
            num_train_epochs=config.get("num_train_epochs", 3),
            per_device_train_batch_size=config.get("per_device_train_batch_size", 4),
            learning_rate=config.get("learning_rate", 2e-4),
            lr_scheduler_type=config.get("lr_scheduler_type", "cosine"),
            warmup_ratio=config.get("warmup_ratio", 0.03),
            logging_steps=config.get("logging_steps", 10),
        )
        return Trainer(
            model=model,
            args=arguments,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            tokenizer=tokenizer,
            data_collator=pad,
            callbacks=callbacks or [],
        )
'''

TUNING = '''"""{Title}: say in one sentence which parameters move."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from regimen.finetune import Tuning


class {Class}(Tuning):
    """Trains the last layers and the head; put your idea here."""

    name = "{name}"

    layers: Annotated[int, Field(ge=1, description="how many of the last layers move")] = 1

    def apply(self, model: nn.Module) -> nn.Module:
        model.requires_grad_(False)
        for part in [*list(model.model.layers)[-self.layers :], model.get_output_embeddings()]:
            part.requires_grad_(True)
        return model
'''

TASK = '''"""{Title}: say in one sentence what is to be learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from regimen.finetune import LanguageTask, Rows, as_rows


class {Class}(LanguageTask):
    """Count on from a number; put your rows here."""

    name = "{name}"

    rows_of_train: Annotated[int, Field(ge=10, description="rows to train on")] = 500

    def read(self) -> Mapping[str, Rows]:
        rows = [{{"prompt": f"After {{n}} comes", "completion": f" {{n + 1}}"}} for n in range(self.rows_of_train + 50)]
        return {{"train": as_rows(rows[:-50], "{name} train"), "valid": as_rows(rows[-50:], "{name} valid")}}
'''

TEST = '''"""The contract that every strategy keeps, for {name}."""

from __future__ import annotations

from pathlib import Path

import pytest

from regimen.registry import find
from regimen.testing import CHECKS, Subject

FILE = Path(__file__).with_name("{name}.py")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(check, tmp_path):
    check(Subject(find(str(FILE), ["{family}"]), {{}}, tmp_path))
'''


class Written(NamedTuple):
    """What is written for a kind of plug-in."""

    kind: str
    """The plug-in's, a key of `kinds.KINDS`."""
    folder: str
    text: str
    test: str = ""


KINDS = {
    "strategy": Written("finetune", "strategies", STRATEGY, TEST),
    "runner": Written("benchmark", "strategies", RUNNER, TEST),
    "sampler": Written("nas", "strategies", SAMPLER, TEST),
    "searcher": Written("searcher", "searchers", SEARCHER, PART_TEST),
    "space": Written("space", "spaces", SPACE, PART_TEST),
    "criterion": Written("criterion", "criteria", CRITERION, PART_TEST),
    "tuning": Written("tuning", "tunings", TUNING),
    "task": Written("task", "tasks", TASK),
}


def write(kind: str, name: str, folder: Path, *, all_hooks: bool = False) -> list[Path]:
    """Writes `strategies/NAME.py` for a strategy, a runner or a sampler, else `searchers/NAME.py`, `tasks/NAME.py` and
    the like; a test beside it for all but tunings and tasks. No other file is touched.

    Raises `SpecError` for an unknown kind, a name that is none or is taken, or a file that is there already.
    """
    if kind not in KINDS:
        raise SpecError(Problem("regimen new", f"there is no kind {kind!r}.", did_you_mean(kind, KINDS)))
    new = KINDS[kind]
    text = ALL_HOOKS if all_hooks and kind == "strategy" else new.text
    _check_name(name, new.kind, folder)
    path = folder / new.folder / f"{name}.py"
    wanted = {path: text} | ({path.with_name(f"test_{name}.py"): new.test} if new.test else {})
    for target in wanted:
        if target.exists():
            raise SpecError(Problem(str(target), "is there already.", "Choose another name, or remove the file."))
    path.parent.mkdir(parents=True, exist_ok=True)
    words = {"name": name, "Class": _class_name(name, kind, text), "Title": name.replace("_", " "), "family": new.kind}
    words |= USUAL | dict([NEW[kind]] if kind in NEW else [])
    for target, template in wanted.items():
        replace_file(target, template.format(**words).encode())
    return list(wanted)


def _check_name(name: str, kind: str, folder: Path) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name.startswith("test_"):
        fix = "Use lower case letters, digits and underscores, and do not begin with `test_`, which tests do."
        raise SpecError(Problem("regimen new", f"{name!r} cannot be the name of a file and a plug-in.", fix))
    for plugin in plugins(kind, folder):
        if plugin.name == name:
            text = f"there is a {KIND_NAMES[kind].name} {name!r} already: {plugin.path} ({plugin.origin})."
            raise SpecError(Problem("regimen new", text, "Choose another name."))


def _class_name(name: str, kind: str, text: str) -> str:
    """`my_idea` gives `MyIdea`; `MyIdeaSampler` and the like where Python or the file means something else by it."""
    found = "".join(part.capitalize() for part in name.split("_"))
    taken = keyword.iskeyword(found) or re.search(rf"\b{found}\b", text)
    return found + kind.capitalize() if taken else found
