"""Checks every row of a data set against its layout before anything is spent, and reports all that is wrong."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from regimen.finetune.data.convert import convert
from regimen.finetune.data.duplicates import content_key, repeats
from regimen.finetune.data.findings import Findings
from regimen.finetune.data.layouts import Layout
from regimen.finetune.data.table import Place, Rows
from regimen.finetune.data.turns import Faults


@dataclass
class RowReport:
    """What a pass over all rows found: errors refuse the run, warnings do not."""

    rows: int
    errors: Findings = field(default_factory=Findings)
    warnings: Findings = field(default_factory=Findings)
    bad_rows: array[int] = field(default_factory=lambda: array("Q"))
    """Indices of the rows with an error."""
    duplicates: int = 0
    """Rows whose content an earlier row has already."""
    duplicate_places: list[tuple[Place, Place]] = field(default_factory=list)
    """The first five of them: the row, and the earlier one."""

    def raise_if_bad(self) -> None:
        """Raise `Refused` with the first twenty errors and the number of the others."""
        self.errors.raise_refused()


def check_rows(rows: Rows, layout: Layout) -> RowReport:
    """Every row: missing, null, empty or wrongly typed fields, unknown roles, equal answers, labels, duplicates.

    Memory: 8 bytes a row, and 24 more for a moment, for finding duplicates.
    """
    report = RowReport(len(rows))
    keys = array("Q")
    columns = list(layout.columns.values())
    for index, row in enumerate(rows):
        faults = Faults()
        convert(row, layout, faults)
        if faults.errors or faults.warnings:
            _note(report, rows.place(index), index, faults)
        keys.append(content_key([row.get(column) for column in columns]))
    repeated = repeats(keys)
    report.duplicates = len(repeated)
    report.duplicate_places = [(rows.place(again), rows.place(first)) for again, first in repeated[:5]]
    return report


def _note(report: RowReport, place: Place, index: int, faults: Faults) -> None:
    for fault in faults.errors:
        report.errors.add(place, f"{fault.field} {fault.message}", fault.fix)
    for fault in faults.warnings:
        report.warnings.add(place, f"{fault.field} {fault.message}", fault.fix)
    if faults.errors:
        report.bad_rows.append(index)
