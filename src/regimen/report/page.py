"""One HTML page about one run, complete in itself: no network, no JavaScript, no other file."""

from __future__ import annotations

from regimen.readable import number
from regimen.records.reader import Record
from regimen.report import artifacts, circumstances, figures, outcome
from regimen.report.glossary import SPLITS, meaning
from regimen.report.markup import Markup, section, tag
from regimen.report.shell import whole_page


def report_page(record: Record) -> Markup:
    """The whole page, from the doctype on. Raises `RecordError` if the record cannot be read."""
    return whole_page(
        f"{record.name} · {record.status}",
        tag("h1", record.name),
        circumstances.head_line(record),
        outcome.status(record),
        _in_a_sentence(record),
        circumstances.facts(record),
        outcome.results(record),
        section("Curves", figures.drawn(record)),
        artifacts.samples(record.folder),
        artifacts.data(record.folder),
        circumstances.notes(record),
        circumstances.settings(record),
        circumstances.time_and_memory(record),
        artifacts.proof(record.folder),
        circumstances.files(record),
        circumstances.environment(record),
        circumstances.reproduce(record),
        written="Written by Regimen from the files of this run's folder. It needs no network.",
    )


def _in_a_sentence(record: Record) -> Markup:
    """What was done and what came of it, for a stranger."""
    settings = record.settings
    task, strategy = settings["task"], settings["strategy"]
    model = f" the model {task['model']}" if isinstance(task.get("model"), str) else ""
    best = next((change for change in outcome.changes(record) if change.before is not None), None)
    done = f"The strategy {strategy['name']} trained{model} on the task {task['name']}, seed {settings['seed']}."
    if best is None:
        return tag("p", done)
    name = meaning(best.key).title.lower()
    where = SPLITS[best.key.partition("/")[0]]
    move = "stayed at" if best.verdict == "equal" else f"went from {number(best.before or 0.0)} to"
    went = f" {name[:1].upper()}{name[1:]} on {where} {move} "
    word = f", which is {best.verdict}" if best.verdict in ("better", "worse") else ""
    return tag("p", done, went, tag("b", number(best.after)), f"{word}.")
