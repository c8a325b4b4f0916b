"""Routes of data sets: upload, look, check, see as tokens, take home."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from regimen.kinds import STRATEGIES
from regimen.web.api.uploading import BODY, received
from regimen.web.api.wiring import OneError, TheParts, refusals
from regimen.web.services import datasets, plugins
from regimen.web.services.datasets import Dataset

router = APIRouter(prefix="/datasets", tags=["datasets"])

Offset = Annotated[int, Query(ge=0, le=1 << 40, description="rows to pass over")]
Limit = Annotated[int, Query(ge=1, le=100, description="rows at most")]


class DatasetInfo(BaseModel):
    """A data file, and what is in it."""

    name: str
    path: str = Field(description="as settings name it: task.data.train")
    bytes: int
    changed_at: float = Field(description="seconds since 1970, UTC")
    rows: int | None = Field(description="null where the file cannot be read")
    columns: list[str]
    layouts: list[str] = Field(description="those that the columns fit; none where they have to be mapped")
    problems: list[OneError] = Field(description="why it cannot be read")


class DatasetList(BaseModel):
    datasets: list[DatasetInfo]


class OneRow(BaseModel):
    place: str = Field(description="file and line")
    row: dict[str, Any]


class RowPage(BaseModel):
    total: int
    columns: list[str]
    rows: list[OneRow]


class Wanted(BaseModel):
    """What the rows are checked for."""

    model_config = ConfigDict(extra="forbid")
    columns: dict[str, str] = Field({}, description="{our field: your column}", max_length=50)
    strategy: str | None = Field(None, description="only its layouts; null: any")


class Validation(BaseModel):
    """What a look at every row found."""

    valid: bool
    rows: int | None
    columns: list[str]
    notes: list[str]
    layout: str | None
    mapping: dict[str, str] = Field(description="{field of the layout: column}")
    unused: list[str] = Field(description="columns that nothing takes")
    errors: list[OneError] = Field(description="the first 20")
    num_errors: int
    warnings: list[OneError] = Field(description="the first 20")
    num_warnings: int
    bad_rows: int
    duplicates: int = Field(description="rows whose content an earlier one has")
    duplicate_places: list[list[str]] = Field(description="the first five: the row, and the earlier one")
    suggested_columns: dict[str, str] = Field(description="a column map that would do, where none fits")


class Shown(BaseModel):
    """How the rows are to be shown: as this strategy trains them on this task."""

    model_config = ConfigDict(extra="forbid")
    task: dict[str, Any] = Field({}, description="of the text task: model, template, data.columns, ...")
    strategy: str | dict[str, Any] = Field("sft", description="a name, or a name with settings")
    offset: int = Field(0, ge=0, le=1 << 40)
    limit: int = Field(5, ge=1, le=50)


class OneToken(BaseModel):
    text: str
    id: int
    trained: bool
    part: str = Field(description="of a preference row: prompt, chosen or rejected")
    special: str = Field(description="bos, eos or pad; empty for a common one")
    cut: bool = Field(description="left away, since the row is too long")


class TokenRow(BaseModel):
    """A row as training would see it, token by token."""

    place: str
    dropped: str = Field(description="why the row is left out; empty if it is not")
    notes: list[str]
    num_tokens: int = Field(description="that the model sees")
    num_trained: int
    num_whole: int = Field(description="before anything was cut away")
    tokens: list[OneToken]


class TokenPreview(BaseModel):
    """Exactly what training sees."""

    split: str
    total: int = Field(description="rows of the split")
    layout: str
    mapping: dict[str, str]
    max_length: int | None
    rows: list[TokenRow]


@router.get("", response_model=DatasetList, responses=refusals(424))
def list_(parts: TheParts) -> DatasetList:
    """All of them, by name."""
    return DatasetList(datasets=[info(found) for found in datasets.listed(parts)])


@router.post(
    "", status_code=201, response_model=DatasetInfo, responses=refusals(413, 415, 422, 424), openapi_extra=BODY
)
async def upload(parts: TheParts, request: Request) -> DatasetInfo:
    """Keeps one file (.jsonl .json .csv .tsv .parquet .txt) under a safe name; none is overwritten."""
    name = await received(request, parts.home)
    return info(await run_in_threadpool(datasets.get, parts, name))


@router.get("/{name}", response_model=DatasetInfo, responses=refusals(404, 422, 424))
def get(parts: TheParts, name: str) -> DatasetInfo:
    """One of them."""
    return info(datasets.get(parts, name))


@router.delete("/{name}", status_code=204, responses=refusals(404, 409, 422))
def delete(parts: TheParts, name: str) -> None:
    """Deletes the file, unless a run that waits or trains needs it."""
    datasets.delete(parts, name)


@router.get("/{name}/rows", response_model=RowPage, responses=refusals(404, 422, 424))
def rows(parts: TheParts, name: str, offset: Offset = 0, limit: Limit = 20) -> dict[str, Any]:
    """Rows as they are."""
    return datasets.rows(parts, name, offset, limit)


@router.get("/{name}/file", response_class=FileResponse, responses=refusals(404, 422))
def file(parts: TheParts, name: str) -> FileResponse:
    """The file itself, as an attachment."""
    path = datasets.path_of(parts.home, name)
    headers = {"X-Content-Type-Options": "nosniff"}
    return FileResponse(path, filename=path.name, media_type="application/octet-stream", headers=headers)


@router.post("/{name}/validate", response_model=Validation, responses=refusals(404, 422, 424))
def validate(parts: TheParts, name: str, body: Wanted) -> dict[str, Any]:
    """Checks every row; wrong rows are an answer, not an error."""
    strategy = plugins.found(parts, STRATEGIES, body.strategy) if body.strategy is not None else None
    return datasets.validate(parts, name, body.columns, strategy)


@router.post("/{name}/preview", response_model=TokenPreview, responses=refusals(404, 409, 422, 424))
def preview(parts: TheParts, name: str, body: Shown) -> dict[str, Any]:
    """Some rows as tokens, and which of them are trained."""
    strategy = {"name": body.strategy} if isinstance(body.strategy, str) else body.strategy
    return datasets.preview(parts, name, body.task, strategy, offset=body.offset, limit=body.limit)


def info(found: Dataset) -> DatasetInfo:
    """As JSON takes it."""
    problems = [OneError(**problem._asdict()) for problem in found.problems]
    return DatasetInfo(**{**found._asdict(), "path": found.path, "problems": problems})
