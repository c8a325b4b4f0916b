"""The folder that a server serves: where its runs, data sets and own files are, and what it may read besides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO

from regimen.errors import Problem, Refused, SpecError
from regimen.filelock import Held, acquire


@dataclass(frozen=True)
class Home:
    """A start folder, and further folders whose files may be named in settings (`--root`)."""

    folder: Path
    """Absolute, symbolic links resolved."""
    further: tuple[Path, ...] = ()

    @classmethod
    def at(cls, folder: Path, further: tuple[Path, ...] = ()) -> Home:
        """The home in a folder, which is made if it is not there. Raises `SpecError` where it cannot be."""
        home = cls(folder.resolve(), tuple(path.resolve() for path in further))
        try:
            for needed in (home.runs, home.datasets, home.own):
                needed.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            text = f"cannot be a home for runs: {error.strerror}: {error.filename}."
            raise SpecError(Problem(str(folder), text, "Choose a folder that can be written.")) from error
        return home

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def datasets(self) -> Path:
        """What is uploaded."""
        return self.folder / "datasets"

    @property
    def own(self) -> Path:
        """Queue, lock and caches."""
        return self.folder / ".regimen"

    def may_read(self, path: Path) -> bool:
        """Whether a file, with all symbolic links followed, is inside the home or a declared folder.

        The server's own files are not: the token is one of them.
        """
        real = path.resolve()
        if real == self.own or self.own in real.parents:
            return False
        return any(real == root or root in real.parents for root in (self.folder, *self.further))

    def lock(self) -> IO[str]:
        """Held by the one server of this home until it is closed. Raises `Refused` that names the holder."""
        try:
            return acquire(self.own / "server.lock")
        except Held as holder:
            text = f"is served already, by {holder}."
            raise Refused(Problem(str(self.folder), text, "Use that one, or stop it first.")) from None
