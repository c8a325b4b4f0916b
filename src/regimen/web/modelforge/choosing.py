"""Routes by which ModelForge's page chooses task, model and settings, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from regimen.errors import SpecError
from regimen.web.admission import admit
from regimen.web.api.wiring import TheParts
from regimen.web.modelforge.names import Profile, TaskName, path_of
from regimen.web.modelforge.recommending import FITTING, GIB, first_settings, profile_of
from regimen.web.modelforge.session import TheSession
from regimen.web.modelforge.wire import APP, Answer, Body, ModelForgeRoute, refusals
from regimen.web.refusal import Refusal, not_found
from regimen.web.services.datasets import SUFFIXES
from regimen.web.services.hardware import hardware
from regimen.web.services.parts import Parts

router = APIRouter(prefix="/finetune", tags=["modelforge page"], route_class=ModelForgeRoute)

ModelName = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]


class TaskBody(Body):
    task: TaskName


class ModelBody(Body):
    selected_model: ModelName


class RepoBody(Body):
    repo_name: ModelName = Field(description="`owner/name` on the Hub, `tiny`, or a folder of the server's")


class PathBody(Body):
    dataset_path: str = Field(min_length=1, max_length=1000)


class ValidTask(Answer):
    valid: Literal[True] = True
    task: TaskName


class ValidModel(Answer):
    valid: Literal[True] = True
    model: str


class ModelAbout(Answer):
    """What a model's configuration says."""

    id: str
    author: str | None
    model_type: str
    architectures: list[str]
    max_length: int | None = Field(description="tokens that it takes")


class ValidRepo(Answer):
    valid: Literal[True] = True
    repo_name: str
    model_info: ModelAbout


class Ready(Answer):
    app_name: str = APP
    message: str


class Selected(Answer):
    success: Literal[True] = True
    selected_model: str
    message: str


class SelectedRepo(Selected, ValidRepo):
    pass


class SessionBody(Answer):
    """What was chosen so far."""

    success: Literal[True] = True
    task: TaskName | None
    selected_model: str | None
    is_custom_model: bool
    job_id: str | None = Field(description="the training that was started last")


class Settings(Answer):
    """Where to begin."""

    success: Literal[True] = True
    compute_profile: Profile
    selected_model: str | None
    selected_task: TaskName | None
    default_values: dict[str, Any] = Field(description="as /api/start_training takes them")


class Detected(Answer):
    """This machine, and what fits it. Memory in GiB."""

    status_code: Literal[200] = 200
    profile: Profile
    task: TaskName
    gpu_name: str | None
    gpu_total_memory_gb: float
    ram_total_gb: float
    available_diskspace_gb: float
    cpu_cores: int
    model_recommendation: str
    possible_options: list[str]


class Specs(Answer):
    """This machine. Memory in GiB."""

    gpu_count: int
    gpu_name: str | None
    gpu_memory_gb: float = Field(description="of the largest GPU; 0 without one")
    ram_gb: float
    disk_space_gb: float = Field(description="that is free")
    cpu_cores: int
    torch_version: str | None
    compute_profile: Profile
    device_type: Literal["cuda", "cpu"]


class Recommended(Answer):
    task: TaskName
    recommended_model: str
    possible_models: list[str]
    compute_profile: Profile


class ValidPath(Answer):
    success: Literal[True] = True
    file_path: str = Field(description="as /api/start_training takes it")
    filename: str
    file_size: int = Field(description="bytes")
    message: str


@router.post("/validate_task", response_model=ValidTask, responses=refusals())
def validate_task(body: TaskBody) -> ValidTask:
    """Whether there is such a task."""
    return ValidTask(task=body.task)


@router.post("/validate_model", response_model=ValidModel, responses=refusals())
def validate_model(parts: TheParts, body: ModelBody) -> ValidModel:
    """Whether a model may be named; whether it can be had is told by `validate_custom_model`."""
    return ValidModel(model=_admitted(parts, "selected_model", body.selected_model))


@router.post("/validate_custom_model", response_model=ValidRepo, responses=refusals(403, 424))
def validate_custom_model(parts: TheParts, body: RepoBody) -> ValidRepo:
    """Whether a model can be had here, by reading its configuration."""
    return _valid(parts, body.repo_name)


@router.get("/detect", response_model=Ready, responses=refusals())
def before_detection() -> Ready:
    """Says that the hardware can be looked at."""
    return Ready(message="Ready to detect hardware")


@router.post("/detect", response_model=Detected, responses=refusals())
def detect(parts: TheParts, session: TheSession, body: TaskBody) -> Detected:
    """Looks at the hardware, recommends models, and remembers the task."""
    session.change(task=body.task)
    specs = _specs(parts)
    first, *others = FITTING[specs.compute_profile].models
    return Detected(
        profile=specs.compute_profile,
        task=body.task,
        gpu_name=specs.gpu_name,
        gpu_total_memory_gb=specs.gpu_memory_gb,
        ram_total_gb=specs.ram_gb,
        available_diskspace_gb=specs.disk_space_gb,
        cpu_cores=specs.cpu_cores,
        model_recommendation=first,
        possible_options=[first, *others],
    )


@router.post("/set_model", response_model=Selected, responses=refusals())
def set_model(parts: TheParts, session: TheSession, body: ModelBody) -> Selected:
    """Remembers a model."""
    name = _admitted(parts, "selected_model", body.selected_model)
    session.change(selected_model=name, is_custom_model=False)
    return Selected(selected_model=name, message="Model selection saved successfully")


@router.post("/set_custom_model", response_model=SelectedRepo, responses=refusals(403, 424))
def set_custom_model(parts: TheParts, session: TheSession, body: RepoBody) -> SelectedRepo:
    """Remembers a model that was looked at and can be had."""
    valid = _valid(parts, body.repo_name)
    session.change(selected_model=valid.repo_name, is_custom_model=True)
    text = "Custom model validated and saved successfully"
    return SelectedRepo(**valid.model_dump(), selected_model=valid.repo_name, message=text)


@router.get("/session", response_model=SessionBody, responses=refusals())
def session(session: TheSession) -> SessionBody:
    """What was chosen so far by this browser; a program without cookies sees what was chosen last."""
    return SessionBody(**session.chosen.__dict__)


@router.get("/load_settings", response_model=Settings, responses=refusals())
def load_settings(parts: TheParts, session: TheSession) -> Settings:
    """Settings to begin with, for this machine."""
    found, chosen = hardware(parts), session.chosen
    return Settings(
        compute_profile=profile_of(found),
        selected_model=chosen.selected_model,
        selected_task=chosen.task,
        default_values=first_settings(found),
    )


@router.get("/hardware_specs", response_model=Specs, responses=refusals())
def hardware_specs(parts: TheParts) -> Specs:
    """This machine."""
    return _specs(parts)


@router.get("/recommended_models/{task}", response_model=Recommended, responses=refusals())
def recommended_models(parts: TheParts, task: TaskName) -> Recommended:
    """Models that fit this machine."""
    profile = profile_of(hardware(parts))
    models = list(FITTING[profile].models)
    return Recommended(task=task, recommended_model=models[0], possible_models=models, compute_profile=profile)


@router.post("/validate_dataset_path", response_model=ValidPath, responses=refusals(404))
def validate_dataset_path(parts: TheParts, body: PathBody) -> ValidPath:
    """Whether there is such a data file among those that the server may read."""
    given = path_of(parts.home, body.dataset_path.strip())
    try:
        admit({"dataset_path": given}, parts.home)
        path = parts.home.folder / Path(given).expanduser()
        there = parts.home.may_read(path) and path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, SpecError):
            raise
        there = False
    if not there:
        raise not_found("data file", body.dataset_path, "Upload it, or give its path below the server's folder.")
    if path.suffix.lower() not in SUFFIXES:
        text = f"is {path.suffix or 'without an ending'}; {', '.join(SUFFIXES)} are taken."
        raise Refusal(422, body.dataset_path, text)
    size = path.stat().st_size
    return ValidPath(file_path=given, filename=path.name, file_size=size, message="Dataset path is valid")


def _admitted(parts: Parts, place: str, name: str) -> str:
    name = name.strip()
    admit({place: name}, parts.home)
    return name


def _valid(parts: Parts, repo: str) -> ValidRepo:
    """Raises `Refusal` 403 for a model that cannot be had."""
    name = _admitted(parts, "repo_name", repo)
    try:
        about = parts.helper.ask("model_about", name=name)
    except SpecError as error:
        _, message, fix = error.problems[0]
        raise Refusal(403, "repo_name", message, fix) from error
    author = name.partition("/")[0] if name.count("/") == 1 else None
    return ValidRepo(repo_name=name, model_info=ModelAbout(id=name, author=author, **about))


def _specs(parts: Parts) -> Specs:
    found = hardware(parts)
    largest = max(found.gpus, key=lambda gpu: gpu.memory_bytes, default=None)
    return Specs(
        gpu_count=len(found.gpus),
        gpu_name=largest.name if largest else None,
        gpu_memory_gb=_gib(largest.memory_bytes) if largest else 0.0,
        ram_gb=_gib(found.memory_bytes),
        disk_space_gb=_gib(found.disk_free_bytes),
        cpu_cores=found.cores,
        torch_version=found.versions.get("torch"),
        compute_profile=profile_of(found),
        device_type="cuda" if largest else "cpu",
    )


def _gib(count: int) -> float:
    return round(count / GIB, 2)
