"""`config`, as a strategy's hooks get it: a mapping and attributes, under the published flat names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from regimen.errors import did_you_mean


class Config(Mapping[str, Any]):
    """`config["lora_r"]`, `config.get("lora_r", 16)` and `config.lora_r` are the same value.

    For a class that declares settings it holds all of them; for one that declares none, only what the user gave, plus
    model, data, output and seed, so that the file's own defaults hold.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_values", dict(values))

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"config has no {name!r}. {did_you_mean(name, self._values)}") from None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"config is read-only; {name!r} is set in the run's settings")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Config({self._values!r})"
