"""What a run was given and what it took: settings, time, memory, machine, notes, and how to do it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

import yaml

from regimen.readable import duration, moment, number
from regimen.records.reader import Record
from regimen.report.artifacts import shown
from regimen.report.markup import EMPTY, Markup, fold, join, pairs, section, table, tag
from regimen.walking import bytes_below


def facts(record: Record) -> Markup:
    """The few numbers of a run that anybody asks for first."""
    curves = record.curves
    found: list[tuple[str, str]] = []
    step = max((points[-1].step for points in curves.values()), default=0)
    if step:
        found.append(("steps", number(step)))
    for key, name in (
        ("train/epoch", "epochs"),
        ("time/elapsed_s", "training time"),
        ("time/tokens_per_s", "tokens per second"),
    ):
        if key in curves:
            value = median(p.value for p in curves[key]) if key == "time/tokens_per_s" else curves[key][-1].value
            text = duration(value) if key == "time/elapsed_s" else number(value, 3)
            found += [(name, text)] if value else []
    if "time/peak_memory_mb" in curves:
        found.append(("peak memory", _megabytes(max(p.value for p in curves["time/peak_memory_mb"]))))
    return tag(
        "div", *(tag("div", tag("span", name), tag("b", text), class_="fact") for name, text in found), class_="facts"
    )


def settings(record: Record) -> Markup:
    """What the user asked for first; with the defaults filled in, to unfold."""
    given = list(_flat(record.spec.get("passed", {})))
    rows = [(tag("code", path), shown(value)) for path, value in given]
    everything = yaml.safe_dump(record.settings, sort_keys=False, allow_unicode=True)
    return section(
        "Settings",
        tag("p", "What was asked for. Everything else was left at its default.", class_="hint"),
        table(("setting", "value"), rows, look="narrow"),
        fold("All settings, defaults filled in", tag("pre", everything)),
    )


def notes(record: Record) -> Markup:
    """What a reader of the result must know, as the run noted it."""
    said = list(dict.fromkeys(note for note in record.notes if not note.startswith("info: ")))
    more = list(dict.fromkeys(note for note in record.notes if note.startswith("info: ")))
    resumed = [f"Resumed from step {step}." for step in record.resumes]
    shown_first = tag("ul", *(tag("li", text) for text in [*resumed, *said])) if resumed or said else EMPTY
    preflight = fold("What preflight noticed", tag("ul", *(tag("li", text) for text in more))) if more else EMPTY
    return section("Notes", shown_first, preflight)


def time_and_memory(record: Record) -> Markup:
    """How long it took, how fast it was, how much memory it held."""
    state, curves = record.state, record.curves
    rows: list[tuple[object, object]] = []
    started, ended = state.get("started_at"), state.get("ended_at")
    if isinstance(started, int | float):
        rows.append(("started", moment(started)))
    if isinstance(ended, int | float):
        rows.append(("ended", moment(ended)))
    if isinstance(started, int | float) and isinstance(ended, int | float):
        rows.append(("from start to end", duration(ended - started)))
    if "time/elapsed_s" in curves:
        rows.append(("of it training and evaluating", duration(curves["time/elapsed_s"][-1].value)))
    speed = [point.value for point in curves.get("time/tokens_per_s", ()) if point.value]
    if speed:
        rows.append(
            (
                "tokens per second, median (range)",
                f"{number(median(speed), 3)} ({number(min(speed), 3)}–{number(max(speed), 3)})",
            )
        )
    if "time/peak_memory_mb" in curves:
        rows.append(("peak memory", _megabytes(max(point.value for point in curves["time/peak_memory_mb"]))))
    return section("Time and memory", pairs(rows)) if rows else EMPTY


def environment(record: Record) -> Markup:
    """Versions, hardware and the command, folded away."""
    found = record.environment
    gpus = found.get("gpus") or ["none"]
    rows: list[tuple[object, object]] = [("GPU", ", ".join(map(str, gpus)))] if "gpus" in found else []
    named = (
        ("platform", "system"),
        ("cores", "CPU cores"),
        ("threads", "threads used"),
        ("memory_gb", "memory, GB"),
        ("python", "Python"),
    )
    rows += [(name, shown(found[key])) for key, name in named if key in found]
    packages = found.get("packages")
    if isinstance(packages, Mapping):
        rows += [(str(name), str(version)) for name, version in packages.items()]
    return section("Environment", pairs(rows)) if rows else EMPTY


def files(record: Record) -> Markup:
    """What is left in the folder, with sizes; links work while the page stays in it."""
    rows = [
        (tag("a", tag("code", f"artifacts/{path.name}"), href=f"artifacts/{path.name}"), _size(path))
        for path in record.artifacts
    ]
    rows += [(tag("code", f"checkpoints/{path.name}"), _size(path)) for path in record.checkpoints]
    return section("What is left", table(("file or folder", "size"), rows, frozenset({1}), "narrow")) if rows else EMPTY


def reproduce(record: Record) -> Markup:
    """The command as it was typed, where, and what must be the same."""
    spec, found = record.spec, record.environment
    command = found.get("command")
    lines = [f"cd {shlex.quote(str(spec['folder']))}"] if spec.get("folder") else []
    lines += [shlex.join(map(str, command))] if isinstance(command, list) and command else []
    passed = yaml.safe_dump(spec.get("passed", {}), sort_keys=False, allow_unicode=True)
    git = found.get("git")
    rows: list[tuple[object, object]] = [("run", record.id), ("content hash", record.content)]
    rows += [
        (name, str(spec[key]))
        for key, name in (("data", "data hash"), ("code", "strategy's source hash"))
        if spec.get(key)
    ]
    if isinstance(git, Mapping):
        changed = ", with uncommitted changes" if git.get("changed") else ""
        rows.append(("git commit", f"{git.get('commit')}{changed}"))
    return section(
        "Do it again",
        tag("p", "The command, as it was typed:") if len(lines) > 1 else EMPTY,
        tag("pre", "\n".join(lines)) if lines else EMPTY,
        fold("Or from this page alone: save these lines as run.yaml, then `regimen run run.yaml`", tag("pre", passed)),
        tag("p", "On CPU, the same settings, seed, data, code and versions give the same numbers.", class_="hint"),
        pairs((name, tag("code", value)) for name, value in rows),
    )


def _flat(settings: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested settings as dotted paths; an empty group is a value of its own."""
    if isinstance(settings, Mapping) and settings:
        for key, value in settings.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, settings


def _size(path: Path) -> str:
    return _megabytes(bytes_below(path) / 1e6)


def _megabytes(size: float) -> str:
    if size >= 1000:
        return f"{size / 1000:.2f} GB"
    return f"{size:.1f} MB" if size >= 0.1 else f"{size * 1000:.1f} kB"


def head_line(record: Record) -> Markup:
    """Whose page this is, under the title."""
    started = record.state.get("started_at")
    when = f" · {moment(started)}" if isinstance(started, int | float) else ""
    return tag("p", join(["run ", tag("code", record.id), when, " · ", tag("code", record.folder)]), class_="sub")
