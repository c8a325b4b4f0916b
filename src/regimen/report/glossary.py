"""What the recorded metrics mean: a title, a unit, a sentence for a stranger, and which direction is better."""

from __future__ import annotations

from typing import Literal, NamedTuple

Direction = Literal["lower", "higher", "neither"]


class Meaning(NamedTuple):
    title: str
    unit: str = ""
    sentence: str = ""
    better: Direction = "neither"


_KNOWN: dict[str, Meaning] = {
    "loss": Meaning("Loss", "mean per target", "how badly the model predicts; what training makes smaller", "lower"),
    "perplexity": Meaning(
        "Perplexity", "", "between how many tokens the model hesitates, on average; 1 is certain", "lower"
    ),
    "token_accuracy": Meaning("Token accuracy", "share", "how often the likeliest token is the right one", "higher"),
    "exact_match": Meaning("Exact match", "share", "how often the generated answer is the expected one", "higher"),
    "accuracy": Meaning("Accuracy", "share", "how often the answer is right", "higher"),
    "f1": Meaning("F1", "share", "overlap of answer and expectation", "higher"),
    "penalty": Meaning("Penalty", "", "half the sum of factor times squared weight, which training adds to the loss"),
    "lr": Meaning("Learning rate", "after schedule"),
    "grad_norm": Meaning("Gradient norm", "before clipping"),
    "tokens_per_s": Meaning("Speed", "tokens per second"),
    "margin": Meaning("Margin", "", "how much more the chosen answer is preferred to the rejected one", "higher"),
    "mmac": Meaning("Multiply-adds", "millions", "of one forward pass of one row", "lower"),
    "params": Meaning("Parameters", "", "weights of the network", "lower"),
    "ms": Meaning("Latency", "milliseconds", "of one forward pass of one row", "lower"),
    "tau": Meaning(
        "Kendall's tau-b", "", "1: networks are in the order of their own trainings; 0: as by chance", "higher"
    ),
    "tau_low": Meaning("Kendall's tau-b, at least", "", "the lower end of its 95 % interval", "higher"),
    "ceiling": Meaning("Kendall's tau-b of two trainings", "", "how sure the truth of the ranking is"),
    "quality": Meaning("Quality", "", "as the table gives it", "higher"),
    "regret": Meaning("Regret", "", "how much better the best is that the limits allow", "lower"),
    "margins": Meaning("Margin", "", "how much more the chosen answer is preferred to the rejected one", "higher"),
}
_ENDINGS: tuple[tuple[str, Direction], ...] = (
    ("loss", "lower"),
    ("error", "lower"),
    ("perplexity", "lower"),
    ("accuracy", "higher"),
    ("accuracies", "higher"),
    ("match", "higher"),
    ("margin", "higher"),
    ("f1", "higher"),
)


def meaning(key: str) -> Meaning:
    """Of `valid/loss` or `train/lr`; a metric that is not known keeps its name, made readable.

    >>> meaning("valid/loss").better, meaning("valid/rouge_l").title, meaning("train/chosen_margin").better
    ('lower', 'ROUGE-L', 'higher')
    """
    name = key.rpartition("/")[2]
    if name in _KNOWN:
        return _KNOWN[name]
    if name.lower().startswith("rouge"):
        kind = name[5:].strip("_-").upper()
        return Meaning(f"ROUGE-{kind}" if kind else "ROUGE", "share", "overlap with the expected answer", "higher")
    found = [direction for ending, direction in _ENDINGS if name.endswith(ending)]
    better: Direction = found[0] if found else "neither"
    return Meaning(name.replace("_", " ").capitalize(), better=better)


IMPORTANCE = ("loss", "exact_match", "accuracy", "perplexity", "token_accuracy")
"""The order in which metrics are shown; the others follow."""

SPLITS = {
    "train": "training data",
    "train_eval": "rows of the training data",
    "valid": "held-out data",
    "test": "test data",
    "final": "at the end",
    "search": "held-out data, as the search judged it",
    "found": "the found network",
    "ranking": "networks trained alone",
}
"""What the first part of a metric's key says."""
