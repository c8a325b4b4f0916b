"""Reads a run folder: `Record`, the read-only view of what a run left on disk, complete or not."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from regimen.errors import Problem, RecordError
from regimen.events import SCHEMA_VERSION, Event, Metrics, Note, Resumed, from_json, surviving
from regimen.records.writer import Status, is_locked
from regimen.walking import files_below

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where PyYAML was built with it: several times faster."""


class Point(NamedTuple):
    step: int
    value: float


@dataclass(frozen=True)
class Record:
    """What one run left. Every property reads the folder when it is first asked and keeps the answer.

    >>> import regimen                                                              # doctest: +SKIP
    >>> record = regimen.load("runs/text/sft/seed__0__...")                         # doctest: +SKIP
    >>> record.status, record.final["valid/loss"], record.curve("train/loss")[-1]   # doctest: +SKIP
    """

    folder: Path

    @cached_property
    def spec(self) -> dict[str, Any]:
        """`passed` and `resolved` settings, `id`, `content`, and the fingerprints of data and code."""
        body: dict[str, Any] = self._yaml("spec.yaml")
        return body

    @property
    def settings(self) -> dict[str, Any]:
        """The checked settings, defaults filled in."""
        return dict(self.spec["resolved"])

    @property
    def id(self) -> str:
        return str(self.spec["id"])

    @property
    def content(self) -> str:
        """Hash of resolved settings, seed, data and code: two runs with one `content` compute the same."""
        return str(self.spec["content"])

    @property
    def name(self) -> str:
        """Task, strategy and seed in a line."""
        settings = self.settings
        return f"{settings['task']['name']} · {settings['strategy']['name']} · seed {settings['seed']}"

    @cached_property
    def state(self) -> dict[str, Any]:
        """`status.json` as it is: status, times, step, message, exit code, final metrics."""
        return self._json("status.json")

    @cached_property
    def status(self) -> Status:
        """As recorded; a run that says running and has no process is lost."""
        recorded: Status = self.state.get("status", "lost")
        return "lost" if recorded == "running" and not is_locked(self.folder) else recorded

    @cached_property
    def environment(self) -> dict[str, Any]:
        return self._json("environment.json")

    @cached_property
    def events(self) -> Sequence[Event]:
        """In order, without those that a later resume superseded."""
        path = self.folder / "events.jsonl"
        try:
            with path.open("rb") as lines:
                return tuple(surviving(lines, str(path)))
        except FileNotFoundError:
            return ()

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Note)]

    @property
    def resumes(self) -> list[int]:
        """The steps from which the run went on after a stop or a kill."""
        return [event.resumed_from for event in self.events if isinstance(event, Resumed)]

    @cached_property
    def curves(self) -> dict[str, list[Point]]:
        """Every metric over the steps."""
        found: dict[str, list[Point]] = {}
        for event in self.events:
            if isinstance(event, Metrics):
                for key, value in event.values.items():
                    found.setdefault(key, []).append(Point(event.step, value))
        return found

    def curve(self, key: str) -> list[Point]:
        """One metric over the steps. Raises `KeyError` that names the recorded ones."""
        if key not in self.curves:
            raise KeyError(f"{key!r} was not recorded; recorded: {', '.join(sorted(self.curves))}")
        return self.curves[key]

    @property
    def final(self) -> dict[str, float]:
        """What `train` returned, or nothing if the run has not ended well."""
        return from_json(self.state.get("final", {}))

    @property
    def identity(self) -> list[tuple[int, str, float]]:
        """Every (step, key, value) outside `time/`, as two identical runs share it."""
        return [
            (e.step, k, v)
            for e in self.events
            if isinstance(e, Metrics)
            for k, v in e.values.items()
            if not k.startswith("time/")
        ]

    @property
    def artifacts(self) -> list[Path]:
        return sorted(path for path in (self.folder / "artifacts").glob("*") if not path.name.startswith("."))

    @property
    def checkpoints(self) -> list[Path]:
        """Oldest first; those without a manifest do not count."""
        found = {
            manifest.parent: manifest.parent.name.removeprefix("step-")
            for manifest in (self.folder / "checkpoints").glob("step-*/manifest.json")
        }
        whole = [folder for folder, step in found.items() if step.isdigit()]  # a kill may leave `step-7.tmp`
        return sorted(whole, key=lambda folder: int(found[folder]))

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{v:.6g}</td></tr>" for k, v in sorted(self.final.items()))
        folder = html.escape(str(self.folder))
        return f"<b>{html.escape(self.name)}</b> ({self.status})<br><code>{folder}</code><table>{rows}</table>"

    def _yaml(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            body = yaml.load(path.read_bytes(), Loader=_Loader)
        except FileNotFoundError:
            raise RecordError(
                Problem(
                    str(self.folder),
                    f"is not a run: it has no {name}.",
                    "Give a run's folder or its id (`regimen list`).",
                )
            ) from None
        except yaml.YAMLError as error:
            raise RecordError(Problem(str(path), f"cannot be parsed: {error}.")) from error
        return _readable(body, path)

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            body = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise RecordError(
                Problem(str(path), f"cannot be parsed: {error}.", "The file was edited or damaged.")
            ) from error
        return _readable(body, path)


def _readable(body: object, path: Path) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise RecordError(Problem(str(path), "does not hold what a run writes there."))
    version = body.get("schema_version", SCHEMA_VERSION)
    if version > SCHEMA_VERSION:
        raise RecordError(
            Problem(
                str(path),
                f"has schema version {version}; this regimen reads up to {SCHEMA_VERSION}.",
                "Upgrade regimen-ml.",
            )
        )
    return body


def load(folder: str | Path) -> Record:
    """The record in `folder`. Raises `RecordError` if there is none, or if a newer regimen wrote it."""
    record = Record(Path(folder))
    record.spec  # noqa: B018 - reads it, so that a wrong folder is named here
    return record


def find_records(root: Path) -> Iterator[Record]:
    """Every run below `root`, newest first (ids sort by time). Folders that cannot be read are passed over by
    `list`.
    """
    folders = [path.parent for path in files_below(root, "spec.yaml")]
    return iter(Record(folder) for folder in sorted(folders, key=lambda f: f.name.rpartition("__")[2], reverse=True))
