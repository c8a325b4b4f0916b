"""`/v1`: the routes of OpenAI's API that ask models, for its client and for evaluation harnesses.

offered      which models there are: all of a server's, or one
wire         how requests become questions, and refusals the errors of that API
completions, chat, listing     a route each
"""

from fastapi import APIRouter

from regimen.web.openai import chat, completions, listing

router = APIRouter(prefix="/v1")
for group in (listing, completions, chat):
    router.include_router(group.router)
