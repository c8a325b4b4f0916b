"""How close generated answers are to the expected ones: exact match, F1 of words, ROUGE.

- `exact_match`: the same text once runs of white space count as one space; capitals and punctuation count.
- `f1`: words in common, as SQuAD counts them (arXiv:1606.05250): capitals, punctuation and a, an, the do not count.
- `rouge1`, `rouge2`, `rougeL`: F-measures of `rouge_score`, without stemming. Its own word splitter knows ASCII alone
  and scores other alphabets as 0; ours takes the letters and digits of any, and gives the same words for ASCII.
"""

from __future__ import annotations

import importlib.util
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from regimen.errors import MissingExtra, Problem
from regimen.finetune.texttask import LanguageTask, Metric

BY_PURPOSE: dict[str, tuple[Metric, ...]] = {
    "summarization": ("rouge",),
    "extractive-question-answering": ("exact_match", "f1"),
}
"""The usual metrics of a task that asks for none."""

Scores = dict[str, float]


def wanted(task: LanguageTask) -> tuple[Metric, ...]:
    """What a task asks for, or what is usual for its purpose."""
    return tuple(task.metrics) or BY_PURPOSE.get(getattr(task, "purpose", ""), ())


def check_installed(metrics: Sequence[Metric]) -> None:
    """Raises `MissingExtra` for a metric whose package is absent: to be called before anything is spent."""
    if "rouge" in metrics and importlib.util.find_spec("rouge_score") is None:
        raise MissingExtra(Problem("task.metrics", "rouge needs rouge_score.", "pip install 'regimen-ml[eval]'"))


def scores(metrics: Sequence[Metric], predictions: Sequence[str], references: Sequence[str]) -> Scores:
    """The mean of each metric over the answers, 0 to 1; nothing for no answers. Raises `MissingExtra`."""
    check_installed(metrics)
    found: Scores = {}
    for metric in dict.fromkeys(metrics):
        each = [
            _METRICS[metric](prediction, reference)
            for prediction, reference in zip(predictions, references, strict=True)
        ]
        for name in each[0] if each else ():
            found[name] = sum(score[name] for score in each) / len(each)
    return found


def exact_match(prediction: str, reference: str) -> float:
    """
    >>> exact_match(" Paris\\n", "Paris"), exact_match("paris", "Paris")
    (1.0, 0.0)
    """
    return float(prediction.split() == reference.split())


def f1(prediction: str, reference: str) -> float:
    """
    >>> f1("The Eiffel Tower, in Paris", "eiffel tower"), f1("", "")
    (0.6666666666666666, 1.0)
    """
    ours, theirs = _words(prediction), _words(reference)
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs))


def _words(text: str) -> list[str]:
    plain = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def rouge(prediction: str, reference: str) -> Scores:
    """`rouge1`, `rouge2` and `rougeL` of one answer. Needs the extra `eval`."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=_AnyAlphabet())
    return {name: float(score.fmeasure) for name, score in scorer.score(reference, prediction).items()}


class _AnyAlphabet:
    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"[^\W_]+", text.lower())


_METRICS: dict[Metric, Callable[[str, str], Scores]] = {
    "exact_match": lambda prediction, reference: {"exact_match": exact_match(prediction, reference)},
    "f1": lambda prediction, reference: {"f1": f1(prediction, reference)},
    "rouge": rouge,
}
