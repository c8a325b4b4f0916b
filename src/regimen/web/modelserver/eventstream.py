"""Server-sent events from an asynchronous generator; what fails before the first still has a status of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def streamed(lines: AsyncIterator[str]) -> StreamingResponse:
    """A response that sends `lines` (whole events). Raises what comes before the first of them."""
    first = await anext(lines, "")

    async def all_of_them() -> AsyncIterator[str]:
        yield first
        async for line in lines:
            yield line

    return StreamingResponse(all_of_them(), media_type="text/event-stream", headers=HEADERS)
