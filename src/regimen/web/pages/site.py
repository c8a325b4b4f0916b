"""All screens, as one router."""

from __future__ import annotations

from fastapi import APIRouter

from regimen.web.pages import compare, datasets, layout, models, newrun, playground, plugins, queue, run, runs, start

router = APIRouter(include_in_schema=False)
for _screen in (layout, start, newrun, runs, run, compare, queue, datasets, models, playground, plugins):
    router.include_router(_screen.router)
