"""Which of the runs that a study wants go to one process together, to be trained at once where that pays."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from regimen.study.course import Course
from regimen.study.trial import Place, Wanted

Replicas = int | Literal["auto", "off"]
Group = list[tuple[Course, Wanted]]


def grouped(waiting: Group, replicas: Replicas, processes: int, singly: Collection[Place]) -> list[Group]:
    """The runs in groups for one process each, in their order. With `auto`, each process gets as many.

    Runs of other tasks or lengths, those that go on from a checkpoint, and those that must go `singly` stay apart.
    """
    if replicas == "off":
        return [[each] for each in waiting]
    alike: dict[object, Group] = {}
    for course, run in waiting:
        alone = run.place if run.goes_on_from is not None or run.place in singly else None
        alike.setdefault((course.task, run.epochs, run.place.purpose, alone), []).append((course, run))
    groups: list[Group] = []
    for group in alike.values():
        size = max(1, math.ceil(len(group) / processes)) if replicas == "auto" else replicas
        groups += [group[start : start + size] for start in range(0, len(group), size)]
    return groups


def one_request(requests: Sequence[Mapping[str, Any]], replicas: Replicas) -> Mapping[str, Any]:
    """What a process is asked, for a group."""
    if len(requests) == 1:
        return requests[0]
    most = replicas if isinstance(replicas, int) else None
    return {"do": "settle together", "requests": list(requests), "most": most}
