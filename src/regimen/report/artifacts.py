"""The optional JSON that a trainer leaves in `artifacts/`: data counts, sample answers, proof of the save.

    data.json     {"splits": {"train": {"rows", "kept", "tokens", "trained_tokens", "duplicates",
                                        "dropped": {reason: {"rows", "places": ["train.jsonl:17"]}},
                                        "notes": {what: {"rows", "places"}},
                                        "lengths": {"min", "median", ..}}}, "overlap": {..}}
    samples.json  [{"prompt", "expected", "before", "after", "place"}]
    proof.json    {name: value}

Any part may be missing. A file that cannot be read is said on the page instead of hiding it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from regimen.readable import number
from regimen.report.markup import EMPTY, Markup, fold, join, pairs, section, table, tag

_SHOWN, _MOST_SAMPLES = 6, 30
_LONGEST = 2000
"""Characters of one answer; the rest is in the file."""


def read(folder: Path, name: str) -> tuple[object, Markup]:
    """The file's content (None if there is none), and a sentence for the page if it cannot be read."""
    try:
        return json.loads((folder / "artifacts" / name).read_bytes()), EMPTY
    except FileNotFoundError:
        return None, EMPTY
    except (OSError, ValueError) as error:
        return None, tag("p", f"artifacts/{name} cannot be read: {error}", class_="worse")


def shown(value: object) -> str:
    """A value of such a file as text: numbers readable, the rest as it is."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(float(value), 6)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def data(folder: Path) -> Markup:
    """Rows by split, what was dropped and why, lengths, overlap."""
    body, problem = read(folder, "data.json")
    if not isinstance(body, Mapping):
        return section("Data", problem)
    splits = {str(name): split for name, split in _mapping(body.get("splits")).items() if isinstance(split, Mapping)}
    parts: list[object] = [_counts(splits)]
    for name, split in splits.items():
        parts.append(_reasons(f"Dropped from {name}", _mapping(split.get("dropped"))))
        parts.append(_reasons(f"Noticed in {name}", _mapping(split.get("notes"))))
    overlap = _mapping(body.get("overlap"))
    if overlap:
        parts += [tag("h3", "Rows that training and evaluation share"), _values(overlap)]
    return section("Data", *parts)


def _counts(splits: Mapping[str, Mapping[str, object]]) -> Markup:
    if not splits:
        return EMPTY
    measures = list(dict.fromkeys(key for split in splits.values() for key in _mapping(split.get("lengths"))))
    head = ("split", "rows", "used", "dropped", "duplicates", "tokens", "of them trained", *measures)
    rows = [(tag("b", name), *_count_cells(split, measures)) for name, split in splits.items()]
    hint = tag("p", f"{', '.join(measures)}: tokens of a row.", class_="hint") if measures else EMPTY
    return join([table(head, rows, frozenset(range(1, len(head)))), hint])


def _count_cells(split: Mapping[str, object], measures: Sequence[str]) -> list[str]:
    tokens, trained, lengths = split.get("tokens"), split.get("trained_tokens"), _mapping(split.get("lengths"))
    share = (
        f" ({100 * trained / tokens:.0f}%)" if isinstance(tokens, int) and isinstance(trained, int) and tokens else ""
    )
    dropped = number(sum(_rows(entry) for entry in _mapping(split.get("dropped")).values()))
    counts = [_or_dash(split.get("rows")), _or_dash(split.get("kept")), dropped, _or_dash(split.get("duplicates"))]
    return [*counts, _or_dash(tokens), _or_dash(trained) + share, *(_or_dash(lengths.get(key)) for key in measures)]


def _reasons(title: str, reasons: Mapping[str, object]) -> Markup:
    if not any(_rows(entry) for entry in reasons.values()):
        return EMPTY
    rows = []
    for reason, entry in sorted(reasons.items(), key=lambda pair: -_rows(pair[1])):
        places = _mapping(entry).get("places")
        named = ", ".join(map(str, places)) if isinstance(places, list) else ""
        rows.append((str(reason), number(_rows(entry)), tag("code", named)))
    return join([tag("h3", title), table(("what", "rows", "for example"), rows, frozenset({1}))])


def samples(folder: Path) -> Markup:
    """The same prompts answered by the base and by the trained model, beside what was expected."""
    body, problem = read(folder, "samples.json")
    if not isinstance(body, list) or not body:
        return section("Sample answers", problem)
    cards = [_card(sample) for sample in body[:_MOST_SAMPLES] if isinstance(sample, Mapping)]
    more = fold(f"{len(cards) - _SHOWN} more", *cards[_SHOWN:]) if len(cards) > _SHOWN else EMPTY
    rest = len(body) - len(cards)
    hint = tag("p", f"{rest} more are in artifacts/samples.json.", class_="hint") if rest > 0 else EMPTY
    return section("Sample answers", *cards[:_SHOWN], more, hint)


def _card(sample: Mapping[str, object]) -> Markup:
    expected = sample.get("expected")
    columns = [
        ("expected", expected),
        ("before training", sample.get("before")),
        ("after training", sample.get("after")),
    ]
    answers = []
    for who, answer in columns:
        if answer is None:
            continue
        matches = expected is not None and who != "expected" and _spoken(answer).strip() == _spoken(expected).strip()
        mark = tag("span", "✓ as expected", class_="better") if matches else EMPTY
        answers.append(tag("div", tag("div", tag("span", who), mark, class_="who"), _text(answer)))
    who = tag("div", tag("span", "prompt"), tag("span", sample.get("place") or ""), class_="who")
    prompt = tag("div", who, _text(sample.get("prompt", "")), class_="prompt")
    return tag("div", prompt, tag("div", *answers, class_="answers"), class_="sample")


def _text(value: object) -> Markup:
    said = _spoken(value)
    cut = f"{said[:_LONGEST]}… ({len(said) - _LONGEST:,} more characters)" if len(said) > _LONGEST else said
    return tag("div", cut, class_="said") if cut.strip() else tag("div", "(nothing)", class_="said hint")


def _spoken(value: object) -> str:
    """Text as it is; messages as a conversation."""
    if isinstance(value, list) and all(isinstance(message, Mapping) for message in value):
        return "\n".join(f"{message.get('role', '?')}: {message.get('content', '')}" for message in value)
    return value if isinstance(value, str) else shown(value)


def proof(folder: Path) -> Markup:
    """That what was saved is what was trained."""
    body, problem = read(folder, "proof.json")
    if not isinstance(body, Mapping) or not body:
        return section("Proof of the save", problem)
    hint = tag("p", "What was saved was loaded again and compared with the model in memory.", class_="hint")
    return section("Proof of the save", hint, _values(body))


def _values(body: Mapping[str, object]) -> Markup:
    return pairs((str(key).replace("_", " "), shown(value)) for key, value in body.items())


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _rows(entry: object) -> int:
    rows = _mapping(entry).get("rows")
    return rows if isinstance(rows, int) else 0


def _or_dash(value: object) -> str:
    return "–" if value is None else shown(value)
