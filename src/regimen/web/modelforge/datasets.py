"""Routes of data sets: uploaded with a look at every row, and listed."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from regimen.errors import Problem
from regimen.web.api.uploading import BODY, received
from regimen.web.api.wiring import TheParts
from regimen.web.modelforge.names import strategy_named
from regimen.web.modelforge.wire import Answer, ModelForgeRoute, refusals
from regimen.web.services import datasets, plugins
from regimen.web.services.parts import Parts

router = APIRouter(tags=["modelforge"], route_class=ModelForgeRoute)


class Validation(Answer):
    valid: bool
    errors: list[str] = Field(description="the first 20: file and line, what is wrong, what to do")
    warnings: list[str] = Field(description="the first 20")


class Uploaded(Answer):
    """A file that was kept, whether or not its rows are fine."""

    success: Literal[True] = True
    filename: str = Field(description="what it is called here; nothing is overwritten")
    file_path: str = Field(description="as settings name it; /api/start_training takes either")
    num_examples: int | None = Field(description="null where the file cannot be read")
    validation: Validation


class OneDataset(Answer):
    """A data file."""

    filename: str
    file_path: str
    num_examples: int | None = Field(description="null where the file cannot be read")
    columns: list[str]
    size_mb: float
    errors: list[str] = Field(description="why it cannot be read")


class DatasetList(Answer):
    success: Literal[True] = True
    datasets: list[OneDataset]
    total: int


@router.post("/upload_dataset", response_model=Uploaded, responses=refusals(413, 415, 424), openapi_extra=BODY)
async def upload_dataset(
    parts: TheParts,
    request: Request,
    strategy: Annotated[str | None, Query(max_length=100, description="what the rows are for; unset: any")] = None,
) -> Uploaded:
    """Keeps one file (.jsonl .json .csv .tsv .parquet .txt) and checks every row."""
    name = await run_in_threadpool(strategy_named, parts, strategy) if strategy is not None else None
    return await run_in_threadpool(_looked_at, parts, await received(request, parts.home), name)


@router.get("/datasets", response_model=DatasetList, responses=refusals(424))
def list_datasets(parts: TheParts) -> DatasetList:
    """All that were uploaded, by name."""
    found = [
        OneDataset(
            filename=one.name,
            file_path=one.path,
            num_examples=one.rows,
            columns=one.columns,
            size_mb=round(one.bytes / 1e6, 3),
            errors=[str(problem) for problem in one.problems],
        )
        for one in datasets.listed(parts)
    ]
    return DatasetList(datasets=found, total=len(found))


def _looked_at(parts: Parts, filename: str, strategy: str | None) -> Uploaded:
    plugin = plugins.found(parts, ("finetune",), strategy) if strategy is not None else None
    found = datasets.validate(parts, filename, {}, plugin)
    errors, warnings = ([str(Problem(**one)) for one in found[kind]] for kind in ("errors", "warnings"))
    return Uploaded(
        filename=filename,
        file_path=f"datasets/{filename}",
        num_examples=found["rows"],
        validation=Validation(valid=found["valid"], errors=errors, warnings=warnings),
    )
