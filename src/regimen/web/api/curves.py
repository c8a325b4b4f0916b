"""Routes of a run's curves: thinned for drawing as JSON, whole as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from regimen.web.api.wiring import TheParts, refusals
from regimen.web.services import curves, runs
from regimen.web.services.charts import charts_of
from regimen.web.services.columns import Columns

router = APIRouter(prefix="/runs", tags=["runs"])


class MarkBody(BaseModel):
    """A recorded number that is not finite."""

    x: float
    value: Literal["NaN", "Infinity", "-Infinity"]


class SeriesBody(BaseModel):
    """One metric, thinned so that every extreme stays."""

    key: str
    total: int = Field(description="recorded points")
    x: list[float]
    y: list[float | None] = Field(description="null where the number is not finite: see marks")
    mean: list[float | None] | None = Field(description="of what lies around each point; null if nothing was left out")
    marks: list[MarkBody]


class ChartBody(BaseModel):
    """Metrics of one name, on all data."""

    name: str
    title: str
    unit: str
    keys: list[str]
    is_main: bool = Field(description="a result or a loss, not a number about time or machine")


class CurvesBody(BaseModel):
    """The curves of a run up to a cursor."""

    id: str
    keys: list[str] = Field(description="all recorded metrics")
    axes: list[curves.Axis] = Field(description="what x can be")
    x: curves.Axis
    series: list[SeriesBody]
    resumes: list[float] = Field(description="where the run went on after a stop or a kill")
    charts: list[ChartBody] = Field(description="which metrics belong into one picture, in the order to show them")
    cursor: int = Field(description="give it as `after` to the events: they begin where these curves end")


@router.get("/{run_id}/curves", response_model=CurvesBody, responses=refusals(404, 422))
def get_curves(
    parts: TheParts,
    run_id: str,
    keys: Annotated[str | None, Query(max_length=8000, description="metrics, with commas; unset: all")] = None,
    points: Annotated[int, Query(ge=8, le=curves.MOST_POINTS, description="at most, of each metric")] = 1000,
    x: curves.Axis = "step",
) -> dict[str, Any]:
    """A run's curves, thinned so that every extreme stays; without what a resume superseded."""
    record = runs.record_of(parts, run_id)
    wanted = None if keys is None else [key for key in keys.split(",") if key]
    found = curves.curves(parts, record, wanted, points, x)
    series = [{**vars(one), "marks": [vars(mark) for mark in one.marks]} for one in found.series]
    charts = [chart._asdict() for chart in charts_of(found.keys)]
    return {"id": record.id, **vars(found), "series": series, "charts": charts}


@router.get(
    "/{run_id}/curves.csv",
    response_class=StreamingResponse,
    responses={**refusals(404, 422), 200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def get_curves_as_csv(parts: TheParts, run_id: str) -> StreamingResponse:
    """Every recorded number that counts: a line for each step and moment, a column for each metric."""
    record = runs.record_of(parts, run_id)
    columns = curves.columns_of(parts, record)
    name = {"content-disposition": f'attachment; filename="{record.id}.csv"'}
    return StreamingResponse(_lines(columns), media_type="text/csv; charset=utf-8", headers=name)


def _lines(columns: Columns) -> Iterator[str]:
    keys = sorted(columns.values)
    places = {
        key: dict(zip(rows.tolist(), values.tolist(), strict=True)) for key, (rows, values) in columns.values.items()
    }
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["step", "at", *keys])
    for row, (step, at) in enumerate(zip(columns.steps.tolist(), columns.at.tolist(), strict=True)):
        writer.writerow([step, at, *(places[key].get(row, "") for key in keys)])
        if text.tell() > 1 << 16 or row == len(columns.steps) - 1:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    if not len(columns.steps):
        yield text.getvalue()
