"""Architectures whose quality is known from a file, such as NAS-Bench-Macro: searchers against the truth."""

from __future__ import annotations

from regimen.nas.tablerun import TableTask


class ArchitectureTable(TableTask):
    """All architectures of a space with their qualities and costs in a file; nothing is trained.

    NAS-Bench-Macro's JSON (Su et al., arXiv:2103.11922), or a file of one's own: columns architecture (`0-2-1`),
    quality or quality_0, quality_1, ..., and of mmac, params and ms what is known. Any sampler will do: it has nothing
    to train. Needs a file that lists the whole space.
    """

    name = "architecture_table"
