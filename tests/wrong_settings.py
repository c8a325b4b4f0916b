"""Wrong descriptions of a run, each with the place and the words that its message must have.

Longer than other files because it is one table.
"""

from __future__ import annotations

from typing import NamedTuple

BASE = """task:
  name: sorting
  train_rows: 96
  valid_rows: 16
  metrics: []
strategy:
  name: sft
  tuning: full
budget: {steps: 2}
"""


def strategy(text: str) -> str:
    """The description with `text` in place of line 8."""
    return BASE.replace("tuning: full", text)


def task(text: str) -> str:
    """The description with `text` in place of line 3."""
    return BASE.replace("train_rows: 96", text)


def budget(text: str) -> str:
    """The description with `text` on line 9."""
    return BASE.replace("{steps: 2}", text)


def more(text: str) -> str:
    """The description with `text` on line 10."""
    return f"{BASE}{text}\n"


class Wrong(NamedTuple):
    text: str | bytes
    place: str
    said: str
    """A part of the message."""
    overrides: tuple[str, ...] = ()


UNKNOWN_KEYS = {
    "top": Wrong(more("sede: 3"), "run.yaml:10 sede", "is not a setting. Did you mean 'seed'?"),
    "task": Wrong(task("trian_rows: 9"), "run.yaml:3 task.trian_rows", "Did you mean 'train_rows'?"),
    "strategy": Wrong(strategy("batchsize: 3"), "run.yaml:8 strategy.batchsize", "Did you mean 'batch_size'?"),
    "tuning": Wrong(
        strategy("tuning: {name: lora, rnak: 3}"), "run.yaml:8 strategy.tuning.rnak", "Known: alpha, dropout, init"
    ),
    "optimizer": Wrong(
        strategy("optimizer: {lr: 1.0, weight_decya: 1}"),
        "run.yaml:8 strategy.optimizer.weight_decya",
        "is no hyperparameter of adamw. Did you mean 'weight_decay'?",
    ),
    "schedule": Wrong(
        strategy("schedule: {warm_up: 1}"), "run.yaml:8 strategy.schedule.warm_up", "Did you mean 'warmup'?"
    ),
    "quantize": Wrong(strategy("quantize: {bit: 4}"), "run.yaml:8 strategy.quantize.bit", "Did you mean 'bits'?"),
    "budget": Wrong(budget("{step: 2}"), "run.yaml:9 budget.step", "Did you mean 'steps'?"),
    "checkpoint": Wrong(more("checkpoint: {evry: 2}"), "run.yaml:10 checkpoint.evry", "Did you mean 'every'?"),
    "evaluate": Wrong(more("evaluate: {rows: 2}"), "run.yaml:10 evaluate.rows", "Did you mean 'max_rows'?"),
    "log": Wrong(more("log: {evry: 2}"), "run.yaml:10 log.evry", "Did you mean 'every'?"),
    "published name": Wrong(
        more("learning_rate: 0.1"), "run.yaml:10 learning_rate", "Did you mean 'strategy.optimizer.lr'?"
    ),
    "published name below": Wrong(
        strategy("lora_r: 8"), "run.yaml:8 strategy.lora_r", "Did you mean 'strategy.tuning.r'?"
    ),
    "wrong level": Wrong(more("batch_size: 8"), "run.yaml:10 batch_size", "Did you mean 'strategy.batch_size'?"),
    "both spellings": Wrong(
        strategy("batch_size: 8\n  per_device_train_batch_size: 8"),
        "run.yaml:9 strategy.per_device_train_batch_size",
        "Did you mean 'strategy.batch_size'?",
    ),
}

VALUES = {
    "text for a whole number": Wrong(
        budget("{steps: many}"), "run.yaml:9 budget.steps", "is 'many' (text); expected a whole number."
    ),
    "fraction": Wrong(budget("{steps: 2.5}"), "run.yaml:9 budget.steps", "is 2.5 (a number); expected a whole number."),
    "quoted number": Wrong(budget("{steps: '2'}"), "run.yaml:9 budget.steps", "Write it without quotes."),
    "true for a number": Wrong(budget("{steps: true}"), "run.yaml:9 budget.steps", "is true (yes or no)"),
    "one for true": Wrong(strategy("packing: 1"), "run.yaml:8 strategy.packing", "expected true or false."),
    "yes is a word": Wrong(strategy("packing: yes"), "run.yaml:8 strategy.packing", "is 'yes' (text)"),
    "no is a word": Wrong(strategy("packing: no"), "run.yaml:8 strategy.packing", "is 'no' (text)"),
    "on is a word": Wrong(strategy("packing: on"), "run.yaml:8 strategy.packing", "is 'on' (text)"),
    "alias to itself": Wrong("task: &a [*a]\nstrategy: sft\n", "run.yaml", "an alias to what it stands in"),
    "negative": Wrong(
        budget("{steps: -2}"), "run.yaml:9 budget.steps", "is -2 (a whole number); expected more than 0."
    ),
    "zero": Wrong(budget("{epochs: 0}"), "run.yaml:9 budget.epochs", "expected more than 0."),
    "nan": Wrong(budget("{epochs: .nan}"), "run.yaml:9 budget.epochs", "expected a finite number."),
    "inf": Wrong(budget("{epochs: .inf}"), "run.yaml:9 budget.epochs", "expected a finite number."),
    "inf seconds": Wrong(budget("{seconds: .inf}"), "run.yaml:9 budget.seconds", "expected a finite number."),
    "inf steps": Wrong(budget("{steps: .inf}"), "run.yaml:9 budget.steps", "is inf"),
    "nan rate": Wrong(strategy("optimizer: {lr: .nan}"), "run.yaml:8 strategy.optimizer.lr", "finite number"),
    "inf rate": Wrong(strategy("optimizer: {lr: .inf}"), "run.yaml:8 strategy.optimizer.lr", "finite number"),
    "negative rate": Wrong(
        strategy("optimizer: {lr: -1e-3}"), "run.yaml:8 strategy.optimizer.lr", "is -0.001 (a number)"
    ),
    "rate as text": Wrong(
        strategy("optimizer: {lr: fast}"), "run.yaml:8 strategy.optimizer.lr", "is 'fast' (text); expected a number."
    ),
    "negative decay": Wrong(
        strategy("optimizer: {lr: 1e-3, weight_decay: -1}"),
        "run.yaml:8 strategy.optimizer.weight_decay",
        "is -1; adamw does not take it: Invalid weight_decay value",
    ),
    "decay as text": Wrong(
        strategy("optimizer: {lr: 1e-3, weight_decay: lots}"),
        "run.yaml:8 strategy.optimizer.weight_decay",
        "is 'lots'; adamw does not take it: it is of the wrong type.",
    ),
    "betas": Wrong(
        strategy("optimizer: {betas: [2, 3]}"), "run.yaml:8 strategy.optimizer.betas", "Invalid beta parameter"
    ),
    "no limit": Wrong(budget("{}"), "run.yaml:9 budget", "sets no limit. Give one of epochs, steps, passes"),
    "empty budget": Wrong(budget(""), "run.yaml:9 budget", "is empty; expected settings below it: epochs, steps"),
    "budget as number": Wrong(budget("3"), "run.yaml:9 budget", "is 3 (a whole number); expected settings below it"),
    "budget with a unit": Wrong(budget("{seconds: 1h}"), "run.yaml:9 budget.seconds", "is '1h' (text)"),
    "log as list": Wrong(more("log: [3]"), "run.yaml:10 log", "is [3] (a list); expected settings below it: every"),
    "quantize as number": Wrong(strategy("quantize: 4"), "run.yaml:8 strategy.quantize", "settings below it: bits"),
    "three bits": Wrong(strategy("quantize: {bits: 3}"), "run.yaml:8 strategy.quantize.bits", "expected 4 or 8."),
    "schedule": Wrong(
        strategy("schedule: cosin"), "run.yaml:8 strategy.schedule.name", "'linear' or 'cosine'. Did you mean 'cosine'?"
    ),
    "negative warm-up": Wrong(
        strategy("schedule: {warmup: -1}"), "run.yaml:8 strategy.schedule.warmup", "expected at least 0."
    ),
    "floor": Wrong(strategy("schedule: {floor: 2}"), "run.yaml:8 strategy.schedule.floor", "expected at most 1."),
    "device": Wrong(more("device: gpu"), "run.yaml:10 device", "is 'gpu' (text)"),
    "device number": Wrong(more("device: cuda:x"), "run.yaml:10 device", "(auto, cpu, mps, cuda or cuda:N;"),
    "a long value": Wrong(more(f"device: {'x' * 300}"), "run.yaml:10 device", "x... (text)"),
    "precision": Wrong(more("precision: fp8"), "run.yaml:10 precision", "expected 'auto', 'fp32', 'bf16' or 'fp16'."),
    "negative seed": Wrong(more("seed: -1"), "run.yaml:10 seed", "expected at least 0."),
    "large seed": Wrong(more("seed: 4294967296"), "run.yaml:10 seed", "expected less than 4294967296."),
    "threads": Wrong(more("threads: 0"), "run.yaml:10 threads", "expected at least 1."),
    "workers": Wrong(more("workers: -1"), "run.yaml:10 workers", "expected at least 0."),
    "newer schema": Wrong(more("schema_version: 99"), "run.yaml:10 schema_version", "expected at most 1."),
    "mode": Wrong(more("checkpoint: {mode: low}"), "run.yaml:10 checkpoint.mode", "expected 'min' or 'max'."),
    "keep": Wrong(more("checkpoint: {keep: 0}"), "run.yaml:10 checkpoint.keep", "expected at least 1."),
    "patience without best": Wrong(
        more("checkpoint: {patience: 2}"), "run.yaml:10 checkpoint.patience", "needs `checkpoint.best`"
    ),
    "output": Wrong(more("output: [a]"), "run.yaml:10 output", "is ['a'] (a list); expected a path."),
    "metric": Wrong(BASE.replace("[]", "[bleu]"), "run.yaml:5 task.metrics.0", "expected 'exact_match', 'f1' or"),
    "metric not in a list": Wrong(BASE.replace("[]", "rouge"), "run.yaml:5 task.metrics", "expected a list such as"),
    "batch": Wrong(strategy("batch_size: 0"), "run.yaml:8 strategy.batch_size", "expected at least 1."),
    "rank": Wrong(strategy("tuning: {name: lora, r: 0}"), "run.yaml:8 strategy.tuning.r", "expected at least 1."),
    "either of two types": Wrong(
        strategy("tuning: {name: lora, target_modules: 3}"),
        "run.yaml:8 strategy.tuning.target_modules",
        "expected text or a list such as [a, b].",
    ),
    "an item of a list": Wrong(
        strategy("tuning: {name: lora, target_modules: [q_proj, 3]}"),
        "run.yaml:8 strategy.tuning.target_modules.1",
        "is 3 (a whole number); expected text.",
    ),
}

NAMES = {
    "strategy": Wrong(
        BASE.replace("sft", "stf"), "run.yaml:7 strategy.name", "there is no strategy 'stf'. Did you mean 'sft'?"
    ),
    "nothing like it": Wrong(
        BASE.replace("sft", "frobnicate"), "run.yaml:7 strategy.name", "there is no strategy 'frobnicate'. Known: "
    ),
    "task": Wrong(BASE.replace("sorting", "sortin"), "run.yaml:2 task.name", "Did you mean 'sorting'?"),
    "tuning": Wrong(strategy("tuning: fulll"), "run.yaml:8 strategy.tuning.name", "Did you mean 'full'?"),
    "optimizer": Wrong(strategy("optimizer: adamv"), "run.yaml:8 strategy.optimizer.name", "Did you mean 'adam'?"),
    "optimizer module": Wrong(
        strategy("optimizer: {name: 'no.such:Thing'}"), "run.yaml:8 strategy.optimizer.name", "No module named 'no'"
    ),
    "optimizer file": Wrong(
        strategy("optimizer: {name: './opt.py:Thing'}"), "run.yaml:8 strategy.optimizer.name", "No such file"
    ),
    "optimizer number": Wrong(strategy("optimizer: 3"), "run.yaml:8 strategy.optimizer", "is 3 (a whole number)"),
    "strategy file": Wrong(BASE.replace("sft", "./mine.py"), "run.yaml:7 strategy.name", "mine.py: cannot be read"),
    "a number": Wrong("task: 3\nstrategy: sft\n", "run.yaml:1 task", "is 3 (a whole number); expected the name of"),
    "a list": Wrong("task: sorting\nstrategy: [sft]\n", "run.yaml:2 strategy", "expected the name of a strategy"),
    "empty": Wrong("task: sorting\nstrategy:\n", "run.yaml:2 strategy", "is empty; expected the name of a strategy"),
    "no name": Wrong("task: sorting\nstrategy: {tuning: full}\n", "run.yaml:2 strategy", "Write `name: ...`"),
    "no task": Wrong("strategy: sft\n", "run.yaml", "lacks `task`. (model, data and yardstick)"),
    "no data": Wrong("task: text\nstrategy: sft\n", "run.yaml:1 task", "lacks `data`. (where the rows are)"),
    "data as text": Wrong(
        "task: {name: text, data: x.jsonl}\nstrategy: sft\n", "run.yaml:1 task.data", "settings below it: train, valid"
    ),
    "data part": Wrong(
        "task: {name: text, data: {train: x, eval_split: 1.5}}\nstrategy: sft\n",
        "run.yaml:1 task.data.eval_split",
        "expected less than 1.",
    ),
    "column": Wrong(
        "task: {name: text, data: {train: x, columns: {prompt: 3}}}\nstrategy: sft\n",
        "run.yaml:1 task.data.columns.prompt",
        "expected text.",
    ),
}

DOCUMENTS = {
    "given twice": Wrong(more("budget: {steps: 3}"), "run.yaml:10 budget", "is given twice (first at line 9)."),
    "twice below": Wrong(strategy("tuning: full\n  tuning: lora"), "run.yaml:9 strategy.tuning", "is given twice"),
    "tab": Wrong(BASE.replace("  name: sft", "\tname: sft"), "run.yaml:7", "is not valid YAML: found character '\\t'"),
    "open list": Wrong(more("seed: [1, 2"), "run.yaml:11", "is not valid YAML"),
    "open quote": Wrong(more("seed: 'abc"), "run.yaml:11", "is not valid YAML"),
    "two colons": Wrong("task: a: b\n", "run.yaml:1", "is not valid YAML: mapping values are not allowed here"),
    "indentation": Wrong(BASE.replace("  tuning", "   tuning"), "run.yaml:8", "is not valid YAML"),
    "unknown alias": Wrong(more("seed: *x"), "run.yaml:10", "found undefined alias 'x'"),
    "a Python object": Wrong(more("seed: !!python/object/apply:os.getcwd []"), "run.yaml:10", "is not valid YAML"),
    "two documents": Wrong(f"{BASE}---\n{BASE}", "run.yaml:10", "found another document"),
    "empty": Wrong("", "run.yaml", "is empty. A run needs at least `task:` and `strategy:`."),
    "comment": Wrong("# later\n", "run.yaml", "is empty."),
    "list": Wrong("- task\n", "run.yaml:1", "holds a list; settings are `key: value` lines."),
    "text": Wrong("hello\n", "run.yaml:1", "holds text"),
    "latin-1": Wrong(b"task: caf\xe9\n", "run.yaml", "is not UTF-8 text"),
    "binary": Wrong(b"a: 1\nb: \x00\n", "run.yaml:2", "holds the character U+0000"),
    "number as key": Wrong(more("3: 4"), "run.yaml:10", "has '3' as a key; keys are text. Put it in quotes."),
    "list as key": Wrong(more("? [a]\n: 4"), "run.yaml:10", "has a list or a group as a key"),
}

OVERRIDES = {
    "no value": Wrong(BASE, "--set seed", "is not of the form path=value. Example: --set budget.steps=100", ("seed",)),
    "no path": Wrong(BASE, "--set =3", "is not of the form path=value.", ("=3",)),
    "two dots": Wrong(BASE, "--set budget..steps=3", "is not of the form path=value.", ("budget..steps=3",)),
    "unknown": Wrong(BASE, "--set budget.stepz", "Did you mean 'steps'?", ("budget.stepz=3",)),
    "wrong type": Wrong(
        BASE, "--set budget.steps", "is 'many' (text); expected a whole number.", ("budget.steps=many",)
    ),
    "below a number": Wrong(more("seed: 3"), "--set seed.a=3", "`seed` is 3 (a whole number)", ("seed.a=3",)),
    "below nothing": Wrong(BASE, "--set seed.a", "is {'a': 3} (settings); expected a whole number.", ("seed.a=3",)),
    "below a name": Wrong(BASE, "--set strategy.tuning.r", "is not a setting. Known: name.", ("strategy.tuning.r=3",)),
    "not YAML": Wrong(BASE, "--set seed=[1", "is not valid YAML", ("seed=[1",)),
    "empty": Wrong(BASE, "--set seed", "is empty; expected a whole number.", ("seed=",)),
}

GROUPS = {"key": UNKNOWN_KEYS, "value": VALUES, "name": NAMES, "document": DOCUMENTS, "set": OVERRIDES}
CASES = {f"{group}: {name}": wrong for group, found in GROUPS.items() for name, wrong in found.items()}
