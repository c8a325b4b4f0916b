"""ModelForge's routes and WebSocket, with its payloads, over the services that the page and `/api/v1` use.

wire         errors in ModelForge's shape
names        flat names in, a run's settings out
session      what a browser has chosen so far, in a file
status       where a training stands, from its records
training, choosing, models, playground, datasets, about     its routes
websocket    `/ws/training`
"""

from fastapi import APIRouter

from regimen.web.modelforge import about, choosing, datasets, models, playground, training, websocket

router = APIRouter()
for group in (about, training, choosing, models, playground, datasets):
    router.include_router(group.router, prefix="/api")
router.include_router(websocket.router)
