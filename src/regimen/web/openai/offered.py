"""Which models the routes offer: all of a server's, or the one of `regimen serve`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol

from fastapi import Depends, Request

from regimen.web.modelserver.asked import Source
from regimen.web.modelserver.client import ModelServer
from regimen.web.refusal import not_found
from regimen.web.services import models
from regimen.web.services.parts import Parts


class Named(NamedTuple):
    """A model as the list shows it."""

    id: str
    created: int
    """Seconds since 1970, UTC."""


class Offered(Protocol):
    """Models by name, and the process that has them answer."""

    @property
    def server(self) -> ModelServer: ...

    def all(self) -> list[Named]: ...

    def source(self, name: str) -> Source:
        """Raises `Refusal` 404."""
        ...


@dataclass(frozen=True)
class OfServer:
    """Every model below a server's home, and with `:base` what it was trained from."""

    parts: Parts

    @property
    def server(self) -> ModelServer:
        return self.parts.models

    def all(self) -> list[Named]:
        found = []
        for model in models.listed(self.parts):
            created = int(model.created_at or 0)
            found.append(Named(model.id, created))
            if model.run_folder is not None:
                found.append(Named(model.id + models.BASE, created))
        return found

    def source(self, name: str) -> Source:
        return models.source(self.parts, name)


@dataclass(frozen=True)
class OfOne:
    """One model, and with `:base` after its name what it was trained from."""

    server: ModelServer
    name: str
    tuned: Source
    created: int
    has_base: bool

    def all(self) -> list[Named]:
        base = [Named(self.name + models.BASE, self.created)] if self.has_base else []
        return [Named(self.name, self.created), *base]

    def source(self, name: str) -> Source:
        if name not in [named.id for named in self.all()]:
            raise not_found("model", name, f"This server offers {self.name}.")
        part = self.tuned
        return Source(part.folder, part.run, "base", part.quantized) if name.endswith(models.BASE) else part


def _offered(request: Request) -> Offered:
    found: Offered | None = getattr(request.app.state, "offered", None)
    return found if found is not None else OfServer(request.app.state.parts)


TheOffered = Annotated[Offered, Depends(_offered)]
"""A parameter of a route that gets what is offered."""
