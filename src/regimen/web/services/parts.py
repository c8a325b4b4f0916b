"""What a server is made of, given to every service."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from regimen.logfile import PRINTED
from regimen.queue.store import Queue
from regimen.web.helper.client import Helper
from regimen.web.home import Home
from regimen.web.modelserver.client import ModelServer


@dataclass
class Parts:
    """One server's home, queue, helper process and model server."""

    home: Home
    queue: Queue = field(init=False)
    helper: Helper = field(init=False)
    models: ModelServer = field(init=False)

    def __post_init__(self) -> None:
        self.queue = Queue(self.home.own / "queue.sqlite")
        self.helper = Helper(self.home.folder, log=self.home.own / PRINTED)
        self.models = ModelServer(log=self.home.own / PRINTED)

    def close(self) -> None:
        """Ends what belongs to this server; runs go on."""
        self.helper.close()
        self.models.close()

    @classmethod
    def at(cls, folder: Path, further: tuple[Path, ...] = ()) -> Parts:
        return cls(Home.at(folder, further))
