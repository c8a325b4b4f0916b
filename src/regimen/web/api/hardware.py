"""The route of the machine."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from regimen.web.api.wiring import TheParts, refusals
from regimen.web.services.hardware import hardware

router = APIRouter(prefix="/hardware", tags=["hardware"])


class GpuBody(BaseModel):
    index: int
    name: str
    memory_bytes: int
    memory_used_bytes: int
    busy: float | None = Field(description="fraction of the last moments, 0 to 1")


class DeviceBody(BaseModel):
    """What a run can have to itself."""

    name: str
    slots: int = Field(description="runs at once")
    running: list[str] = Field(description="ids of the runs that have it")


class HardwareBody(BaseModel):
    """What the machine has."""

    cores: int
    load: float = Field(description="processes that want a core, over the last minute")
    memory_bytes: int
    memory_free_bytes: int
    disk_bytes: int
    disk_free_bytes: int = Field(description="where the runs are")
    gpus: list[GpuBody]
    devices: list[DeviceBody]
    platform: str
    python: str
    versions: dict[str, str]


@router.get("", response_model=HardwareBody, responses=refusals(422))
def get(parts: TheParts) -> HardwareBody:
    """Cores, memory, GPUs, disk, versions, and who trains on which device."""
    found = hardware(parts)
    gpus = [GpuBody(**vars(gpu)) for gpu in found.gpus]
    devices = [DeviceBody(**device._asdict()) for device in found.devices]
    return HardwareBody(**{**found._asdict(), "gpus": gpus, "devices": devices})
