"""How a run ended, in words, with what to do next, and its key numbers before and after."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Literal, NamedTuple

from regimen.readable import number
from regimen.records.reader import Record
from regimen.records.writer import Status
from regimen.report.glossary import IMPORTANCE, SPLITS, meaning
from regimen.report.markup import EMPTY, Markup, join, section, table, tag

_MEASURED = ("test", "valid", "train_eval", "final")
_RESULT_SPLITS = (*_MEASURED, "search", "found", "ranking")
"""Of the last three only what a run ends with is a result: their curves are of one network after the other."""
_OF = ("found", "ranking")
"""Parts of a key before which a reader expects `of`."""


class Change(NamedTuple):
    """One metric before training and at the end; `before` is None if it was not measured then."""

    key: str
    before: float | None
    after: float
    verdict: Literal["better", "worse", "equal", ""]
    """Empty where nothing says which direction is better, or one of the numbers is missing or not finite."""


def changes(record: Record) -> list[Change]:
    """Every result metric: measured before the first step, and what training returned (or the last recorded)."""
    final = {key: value for key, value in record.final.items() if _is_result(key)}
    recorded = {key: points for key, points in record.curves.items() if _is_result(key, _MEASURED)}
    found = []
    for key in dict.fromkeys([*final, *recorded]):
        points = recorded.get(key, [])
        before = points[0].value if points and points[0].step == 0 else None
        if key in final or len(points) > 1 or (points and before is None):
            after = final.get(key, points[-1].value if points else math.nan)
            found.append(Change(key, before, after, _verdict(key, before, after)))
    return sorted(found, key=lambda change: _rank(change.key))


def _is_result(key: str, splits: Sequence[str] = _RESULT_SPLITS) -> bool:
    """The proof of the save has a section of its own."""
    return key.partition("/")[0] in splits and not key.startswith("final/proof_")


def _rank(key: str) -> tuple[int, int, int, str]:
    """What can be understood without knowing the method comes first: right answers, then the loss."""
    split, _, name = key.partition("/")
    first = 0 if name in ("exact_match", "accuracy") else 1
    order = IMPORTANCE.index(name) if name in IMPORTANCE else len(IMPORTANCE)
    return _RESULT_SPLITS.index(split), first, order, key


def _verdict(key: str, before: float | None, after: float) -> Literal["better", "worse", "equal", ""]:
    better = meaning(key).better
    if before is None or better == "neither" or not (math.isfinite(before) and math.isfinite(after)):
        return ""
    if before == after:
        return "equal"
    return "better" if (after < before) == (better == "lower") else "worse"


def results(record: Record) -> Markup:
    """Each measured number before and after training, with a verdict where better is known."""
    found = changes(record)
    if not found:
        return EMPTY
    rows = [
        (_named(c.key), "–" if c.before is None else number(c.before), tag("b", number(c.after)), _said(c))
        for c in found
    ]
    last = "after" if record.status == "completed" else "last measured"
    head = ("metric", "before training", last, "change")
    note = EMPTY
    if any(change.before is not None for change in found):
        note = tag("p", "Before is the same model on the same rows, measured before the first step.", class_="hint")
    return section("Result", table(head, rows, frozenset({1, 2, 3}), "stack"), note)


def _named(key: str) -> Markup:
    known, split = meaning(key), key.partition("/")[0]
    better = "" if known.better == "neither" else f"{known.better} is better"
    said = "; ".join(part for part in (known.sentence, better) if part)
    return join(
        [
            tag("b", known.title),
            f" {'of' if split in _OF else 'on'} {SPLITS[split]}" if split != "final" else "",
            tag("small", said, " ", tag("code", key)),
        ]
    )


def _said(change: Change) -> Markup:
    if change.before is None or not math.isfinite(change.after - change.before):
        return tag("span", "–")
    difference = change.after - change.before
    relative = f" ({100 * difference / abs(change.before):+.1f}%)" if change.before else ""
    sign = "+" if difference > 0 else ""
    word = {"better": " better", "worse": " worse", "equal": "", "": ""}[change.verdict]
    amount = f"{sign}{number(difference, 3)}{relative}"
    if meaning(change.key).unit == "share":
        amount = f"{100 * difference:+.1f} points"
    text = "unchanged" if difference == 0 else f"{amount}{word}"
    return tag("span", text, class_=change.verdict or None)


# ------------------------------------------------------------------------------------------------ in words


_HEADINGS: dict[Status, tuple[str, str]] = {
    "completed": ("good", "Completed."),
    "running": ("", "Still running when this page was written."),
    "queued": ("", "Waiting in the queue; nothing has been trained yet."),
    "stopped": ("warn", "Stopped before the end; it can go on."),
    "diverged": ("bad", "Diverged: a loss or a gradient was not a finite number."),
    "refused": ("bad", "Refused before training: nothing was spent."),
    "failed": ("bad", "Failed with an error."),
    "lost": ("bad", "Lost: the process ended without a word (killed, out of memory, or the machine restarted)."),
}


def status(record: Record) -> Markup:
    """The banner: what happened, the recorded message, and what to do."""
    colour, heading = _HEADINGS[record.status]
    message = str(record.state.get("message") or "")
    parts: list[object] = [tag("b", heading)]
    if message:
        parts.append(tag("pre", message))
    parts += [tag("p", advice) for advice in _advice(record)]
    return tag("div", *parts, class_=f"status {colour}".strip(), role="status")


def _advice(record: Record) -> list[Markup]:
    folder = shlex.quote(str(record.folder))
    checkpoints = record.checkpoints
    kept = (
        f"from the checkpoint of step {checkpoints[-1].name.removeprefix('step-')}" if checkpoints else "from the start"
    )
    go_on = join(["Go on ", kept, ": ", tag("code", f"regimen resume {folder}")])
    clone = tag("code", f"regimen clone {folder} again.yaml")
    again = join(["Then run it again: ", clone, " writes these settings to edit."])
    before = ["The step was not made, so the weights are the last good ones"]
    before += [f" (the newest checkpoint is {checkpoints[-1].name})." if checkpoints else "; none was saved yet."]
    lower = (
        "Usual ways out: a lower learning rate, a longer warm-up, gradient clipping, and a look at any row named above."
    )
    log = join(["The whole traceback is in ", tag("a", "log.txt", href="log.txt"), "."])
    advice: dict[Status, list[Markup]] = {
        "stopped": [go_on],
        "lost": [go_on, join(["What was printed last is in ", tag("a", "log.txt", href="log.txt"), "."])],
        "diverged": [join(before), join([lower]), again],
        "failed": [log, go_on],
        "refused": [again],
    }
    return advice.get(record.status, [])
