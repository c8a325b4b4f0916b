"""Reads results of DeepOBS and of this package: a folder at any level, an archive of one, or a table of runs."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

from regimen.benchmark.files.layouts import from_body, parsed
from regimen.benchmark.files.output import Output
from regimen.benchmark.files.results import Results, gathered
from regimen.errors import Problem, RecordError

_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_TABLES = (".jsonl", ".jsonl.gz")
_COMPANIONS = frozenset({"tuning_log.json", "convergence_performance.json"})
"""What DeepOBS' tuners and analyzer leave in the same folders."""
_BROKEN = (OSError, EOFError, tarfile.TarError, zlib.error)

Found = Output | Problem


def read_results(source: str | Path, *, strict: bool = True) -> Results:
    """All runs below a folder (the whole tree, a problem, an optimizer, a setting), in a `.tar.gz` of such a tree, in a
    table (`.jsonl.gz`, one run a line with its `path`), or in one JSON file.

    Everything is read, whatever else is wrong. With `strict`, files that are no runs are an error then, one that names
    them all; without, they are in `problems`. Raises `RecordError` where there is no run at all.
    """
    source = Path(source)
    if not source.exists():
        raise RecordError(Problem(str(source), "does not exist.", "Give a folder of results."))
    outputs, problems = list[Output](), list[Problem]()
    for found in _found(source):
        if isinstance(found, Output):
            outputs.append(found)
        else:
            problems.append(found)
    if not outputs and not problems:
        text = "holds no results: no random_seed__<seed>__<time>.json in it, nor below it."
        problems = [Problem(str(source), text, "Give an output folder of DeepOBS or of `regimen`.")]
    if problems and (strict or not outputs):
        raise RecordError(problems)
    return gathered(outputs, problems)


def read_output(path: str | Path) -> Output:
    """One run from its JSON file. Raises `RecordError` that names the file and what it lacks."""
    path = Path(path)
    try:
        return parsed(path.read_bytes(), str(path), path.read_bytes)
    except OSError as error:
        raise RecordError(Problem(str(path), f"cannot be read: {error.strerror}.")) from error


def _found(source: Path) -> Iterator[Found]:
    if source.is_dir():
        yield from _in_folder(source)
    elif source.name.endswith(_ARCHIVES):
        yield from _in_archive(source)
    elif source.name.endswith(_TABLES):
        yield from _in_table(source)
    else:
        yield _or_problem(lambda: read_output(source))


def _in_folder(folder: Path) -> Iterator[Found]:
    """Files and archives below; of our own run folders only the tree that was exported from them."""
    for above, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if "spec.yaml" in files:
            folders[:] = []
            exported = Path(above, "artifacts", "deepobs")
            yield from _in_folder(exported) if exported.is_dir() else ()
            continue
        for name in sorted(files):
            path = Path(above, name)
            if name.endswith(_ARCHIVES):
                yield from _in_archive(path)
            elif name.endswith(_TABLES) and _is_table(path):
                yield from _in_table(path)
            elif name.endswith(".json") and name not in _COMPANIONS and not name.startswith("."):
                yield _or_problem(lambda path=path: read_output(path))  # type: ignore[misc]


def _in_archive(path: Path) -> Iterator[Found]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = Path(member.name).name
                if not member.isfile() or not name.endswith(".json") or name in _COMPANIONS or name.startswith("."):
                    continue
                file = archive.extractfile(member)
                text = file.read() if file else b""
                where = f"{path}/{member.name}"
                yield _or_problem(lambda text=text, where=where: parsed(text, where))  # type: ignore[misc]
    except _BROKEN as error:
        yield Problem(str(path), f"cannot be read as an archive: {error}.", "It is cut short, or no tar file.")


def _in_table(path: Path) -> Iterator[Found]:
    try:
        with _opened(path) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _or_problem(lambda line=line, number=number: _row(line, path, number))  # type: ignore[misc]
    except _BROKEN as error:
        yield Problem(str(path), f"cannot be read: {error}.", "It is cut short, or no gzip file.")


def _row(line: bytes, path: Path, number: int) -> Output:
    place = f"{path}:{number}"
    try:
        body = json.loads(line)
    except ValueError as error:
        raise RecordError(Problem(place, f"cannot be parsed as JSON: {error}.")) from error
    try:
        output = from_body(body, f"{path}/{body['path']}" if isinstance(body, dict) and "path" in body else place)
    except RecordError as error:
        raise RecordError([problem._replace(place=place) for problem in error.problems]) from error
    return output


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _is_table(path: Path) -> bool:
    """Whether a file of lines holds runs; events and trial logs do not."""
    try:
        with _opened(path) as lines:
            first = json.loads(lines.readline(1 << 24))
    except (*_BROKEN, ValueError):
        return False
    return isinstance(first, dict) and {"path", "testproblem"} <= first.keys()


def _or_problem(read: Callable[[], Output]) -> Found:
    try:
        return read()
    except RecordError as error:
        return error.problems[0]
