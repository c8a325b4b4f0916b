"""The screens of data: what is uploaded, what is in a file, what is wrong with it, and the tokens it becomes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import Query, Request
from fastapi.responses import Response

from regimen.errors import Problem, RegimenError
from regimen.kinds import STRATEGIES
from regimen.web.api.uploading import received
from regimen.web.api.wiring import TheParts
from regimen.web.pages.layout import back, page, screens
from regimen.web.pages.mapping import FIELDS
from regimen.web.services import datasets, plugins
from regimen.web.services.parts import Parts

router = screens()

_ROWS, _TOKEN_ROWS = 10, 3


@router.get("/datasets")
def all_datasets(request: Request, parts: TheParts) -> Response:
    """What is there, and a place to bring more."""
    return page(
        request,
        "datasets.html",
        title="Data",
        files=datasets.listed(parts),
        suffixes=datasets.SUFFIXES,
        most=datasets.MOST_BYTES,
    )


@router.post("/datasets")
async def upload(request: Request, parts: TheParts) -> Response:
    """Keeps a file, and shows what is in it."""
    return back(_address(await received(request, parts.home), check=True))


@router.get("/datasets/{name}")
def one_dataset(
    request: Request,
    parts: TheParts,
    name: str,
    offset: Annotated[int, Query(ge=0, le=1 << 40)] = 0,
    check: bool = False,
    tokens: bool = False,
    strategy: Annotated[str, Query(max_length=200)] = "sft",
    model: Annotated[str, Query(max_length=400)] = "tiny",
    first: Annotated[int, Query(ge=0, le=1 << 40)] = 0,
) -> Response:
    """A file's rows; `check`: every row checked; `tokens`: some as `strategy` would train them on `model`."""
    found = datasets.get(parts, name)
    columns = _chosen(request, found.columns)
    shown = _asked(lambda: datasets.rows(parts, name, offset, _ROWS)) if found.rows is not None else (None, [])
    validated, wrong = _asked(lambda: datasets.validate(parts, name, columns, None)) if check else (None, [])
    preview, why_not = _tokens(parts, name, columns, strategy, model, first) if tokens else (None, [])
    asked = {"check": int(check), **{f"as:{column}": field for field, column in columns.items()}}
    return page(
        request,
        "dataset.html",
        title=name,
        file=found,
        rows=shown[0],
        problems=[*found.problems, *shown[1], *wrong],
        validated=validated,
        preview=preview,
        why_no_preview=why_not,
        fields=FIELDS,
        strategies=[one for one in plugins.listed(parts, STRATEGIES).plugins if one.kind == "finetune"],
        asked=asked,
        strategy=strategy,
        model=model,
        first=first,
        offset=offset,
        per_page=_ROWS,
        train=f"/new?{urlencode({'dataset': name, **({'columns': json.dumps(columns)} if columns else {})})}",
        link=lambda **more: _address(name, **{**asked, **more}),
        suggestion=_suggestion(validated),
    )


@router.get("/datasets/{name}/delete")
def confirm_delete(request: Request, parts: TheParts, name: str) -> Response:
    """Says what would be gone."""
    return page(request, "dataset_delete.html", title="Delete a file", file=datasets.get(parts, name))


@router.post("/datasets/{name}/delete")
def delete(parts: TheParts, name: str) -> Response:
    """Deletes the file."""
    datasets.delete(parts, name)
    return back("/datasets")


def _address(name: str, **asked: Any) -> str:
    given = {key: value for key, value in asked.items() if value not in (0, "", False)}
    given = {key: 1 if value is True else value for key, value in given.items()}
    return f"/datasets/{quote(name)}" + (f"?{urlencode(given)}" if given else "")


def _chosen(request: Request, columns: list[str]) -> dict[str, str]:
    """`{field: column}` out of the address: `as:COLUMN=FIELD`."""
    asked = {column: request.query_params.get(f"as:{column}", "") for column in columns}
    return {field: column for column, field in asked.items() if field in FIELDS}


def _suggestion(validated: Mapping[str, Any] | None) -> dict[str, str]:
    """The suggested columns, as the address says them."""
    given: Mapping[str, str] = validated["suggested_columns"] if validated else {}
    return {f"as:{column}": field for field, column in given.items()}


def _tokens(
    parts: Parts, name: str, columns: Mapping[str, str], strategy: str, model: str, first: int
) -> tuple[dict[str, Any] | None, list[Problem]]:
    task: dict[str, Any] = {"name": "text", "model": model}
    if columns:
        task["data"] = {"columns": dict(columns)}
    how = {"name": strategy}
    return _asked(lambda: datasets.preview(parts, name, task, how, offset=first, limit=_TOKEN_ROWS))


def _asked(ask: Any) -> tuple[dict[str, Any] | None, list[Problem]]:
    """An answer, or what keeps it from being given: the rest of the screen is shown all the same."""
    try:
        return ask(), []
    except RegimenError as error:
        return None, list(error.problems)
