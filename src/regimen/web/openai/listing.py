"""`/v1/models`."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from regimen.web.openai.offered import Named, TheOffered
from regimen.web.openai.wire import REFUSALS, OpenAIRoute
from regimen.web.refusal import not_found

router = APIRouter(prefix="/models", tags=["openai"], route_class=OpenAIRoute)


class ModelObject(BaseModel):
    """A model that can be asked."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "regimen"


class ModelObjects(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelObject]


@router.get("", response_model=ModelObjects, responses=REFUSALS)
def list_(offered: TheOffered) -> ModelObjects:
    """All models; `:base` after an id means what it was trained from."""
    return ModelObjects(data=[_object(named) for named in offered.all()])


@router.get("/{model_id}", response_model=ModelObject, responses=REFUSALS)
def get(offered: TheOffered, model_id: str) -> ModelObject:
    """One model."""
    named = next((named for named in offered.all() if named.id == model_id), None)
    if named is None:
        raise not_found("model", model_id)
    return _object(named)


def _object(named: Named) -> ModelObject:
    return ModelObject(id=named.id, created=named.created)
