"""Routes that tell what there is: providers, strategies, tasks, version, and that the server lives."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from fastapi import APIRouter
from pydantic import Field

import regimen
from regimen.queue.enqueue import has_gpu
from regimen.web.api.wiring import TheParts
from regimen.web.modelforge.names import TASKS, Provider, TaskName
from regimen.web.modelforge.wire import APP, Answer, ModelForgeRoute, refusals
from regimen.web.services import plugins

router = APIRouter(tags=["modelforge"], route_class=ModelForgeRoute)


class Health(Answer):
    status: Literal["healthy"] = "healthy"
    version: str
    message: str


class Info(Answer):
    """What can be chosen, in the names of the documentation and of the page."""

    name: str = APP
    version: str
    description: str
    providers: list[Provider]
    strategies: list[str]
    tasks: list[TaskName]
    available_providers: list[Provider] = Field(description="those that can run here")
    available_strategies: list[str]
    supported_tasks: list[TaskName]


class OneProvider(Answer):
    name: Provider
    available: bool
    description: str


class ProviderList(Answer):
    providers: list[OneProvider]


@router.get("/health", response_model=Health, responses=refusals())
def health() -> Health:
    """That the server lives."""
    return Health(version=regimen.__version__, message=f"{APP} is running")


@router.get("/info", response_model=Info, responses=refusals())
def info(parts: TheParts) -> Info:
    """What can be chosen; a strategy whose file was just put into strategies/ among it."""
    strategies = [plugin.name for plugin in plugins.listed(parts, ("finetune",)).plugins]
    known, tasks = _providers(), list(TASKS)
    return Info(
        version=regimen.__version__,
        description="Training strategies: fine-tuning, optimizer benchmarks, architecture search",
        providers=[one.name for one in known],
        strategies=strategies,
        tasks=tasks,
        available_providers=[one.name for one in known if one.available],
        available_strategies=strategies,
        supported_tasks=tasks,
    )


@router.get("/finetune/providers", tags=["modelforge page"], response_model=ProviderList, responses=refusals())
def providers() -> ProviderList:
    """What loads models, and what of it can run here."""
    return ProviderList(providers=_providers())


def _providers() -> list[OneProvider]:
    lacks = [] if find_spec("unsloth") else ["unsloth is not installed"]
    lacks += [] if has_gpu() else ["there is no GPU"]
    why = f"Accelerates models on a GPU; here {' and '.join(lacks)}." if lacks else "Accelerates models on a GPU."
    return [
        OneProvider(name="huggingface", available=True, description="transformers and PEFT"),
        OneProvider(name="unsloth", available=not lacks, description=why),
    ]
