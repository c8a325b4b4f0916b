"""Starts the server of a folder and stays until it is stopped. Runs are processes of their own and outlive it."""

from __future__ import annotations

import os
import secrets
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from regimen.errors import Problem, SpecError
from regimen.queue.keeper import Keeper
from regimen.queue.store import Queue
from regimen.web.app import make_app
from regimen.web.gate import Gate, is_wildcard
from regimen.web.home import Home
from regimen.web.services.parts import Parts

GOODBYE_S = 2
"""How long open answers may go on when the server is asked to stop; event streams are taken up again by their pages."""
FEWEST_CHARACTERS = 20
"""Of a token that somebody wrote into the file."""


@dataclass(frozen=True)
class Address:
    """Where to listen, and under which names it is asked for."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes any free one."""
    names: tuple[str, ...] = ()
    """Further `HOST` or `HOST:PORT`, as behind a proxy or a forwarded port."""
    always: bool = False
    """Whether programs on this machine need the token, too."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise SpecError(Problem("--port", f"is {self.port}.", "Give one from 0 to 65535."))

    def listen(self) -> socket.socket:
        """A socket that takes connections from now on. Raises `SpecError` where the address cannot be had."""
        try:
            family, kind, protocol, _, where = socket.getaddrinfo(
                self.host or None, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listening = socket.socket(family, kind, protocol)
        except OSError as error:
            raise SpecError(Problem("--host", f"{self.host!r} is no address of this machine: {error}.")) from None
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(where)
            listening.listen(128)
        except OSError as error:
            listening.close()
            text = f"cannot listen on {self.host}:{self.port}: {os.strerror(error.errno or 0).lower()}."
            raise SpecError(Problem("--port", text, "Choose another with --port; 0 takes any free one.")) from None
        return listening

    def gate(self, listening: socket.socket, token: str) -> Gate:
        """Who may ask there."""
        return Gate.at(self.host, listening.getsockname()[1], token, names=self.names, always=self.always)

    def url(self, listening: socket.socket) -> str:
        """What to type into a browser."""
        host = socket.gethostname() if is_wildcard(self.host) else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/"


def up(
    folder: Path,
    roots: tuple[Path, ...] = (),
    address: Address | None = None,
    *,
    slots: int = 1,
    started: Callable[[Home, str], None],
) -> str:
    """Serves a folder until SIGINT or SIGTERM; returns what goes on without it, as a sentence.

    `slots`: runs at once on one device. `started` is called once it answers, with its home and its address, which
    has the token in it. Raises `Refused` with the holder's name where the folder has a server, `SpecError` where the
    address cannot be had.
    """
    address = address or Address()
    for root in roots:
        if not root.is_dir():
            raise SpecError(Problem("--root", f"{root} is no folder."))
    home = Home.at(folder, roots)
    with home.lock(), address.listen() as listening:
        token = token_of(home)
        parts = Parts(home)
        app = make_app(parts, keeper=Keeper(parts.queue, slots=slots), gate=address.gate(listening, token))
        listen_and_serve(app, listening, lambda: started(home, f"{address.url(listening)}?token={token}"))
        return _goodbye(parts.queue)


def listen_and_serve(app: Any, listening: socket.socket, started: Callable[[], None]) -> None:
    """One process of uvicorn on a socket, until a signal; nothing that is asked is logged."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        lifespan="on",
        ws_max_size=1 << 20,
        timeout_graceful_shutdown=GOODBYE_S,
    )
    # uvicorn stops at these signals, and raises them once more when it has.
    before = {number: signal.signal(number, _no_more) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _Server(config, started).run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._tell()


def token_of(home: Home) -> str:
    """The token of a folder's server, the same after a restart, so that open pages go on.

    It is in `.regimen/token`, which only its owner can read; another text may be written there.
    """
    path = home.own / "token"
    if not path.exists():
        beside = path.with_suffix(".new")
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
    path.chmod(0o600)
    token = path.read_text(encoding="utf-8").strip()
    if len(token) < FEWEST_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        text = f"holds no token of {FEWEST_CHARACTERS} or more plain characters."
        raise SpecError(Problem(str(path), text, "Delete it: the server makes a new one."))
    return token


def _no_more(number: int, frame: object) -> None:
    """The server is about to end, as it was asked."""


def _goodbye(queue: Queue) -> str:
    running, waiting = len(queue.rows("running")), len(queue.rows("queued"))
    told = [f"{running} running run{'s go' if running > 1 else ' goes'} on"] if running else []
    if waiting:
        told.append(f"{waiting} wait{'' if waiting > 1 else 's'} for the next `regimen up`")
    return f"stopped; {', '.join(told)}." if told else "stopped."
