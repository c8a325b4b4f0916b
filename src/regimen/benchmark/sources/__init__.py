"""Data that people have: MNIST, CIFAR, SVHN, ImageNet and War and Peace, found below a folder, checked and read.

Importing this package imports nothing heavy; what is asked of it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regimen.benchmark.sources.fingerprints import fingerprint
    from regimen.benchmark.sources.images import Raw, read_images
    from regimen.benchmark.sources.pictures import open_folder
    from regimen.benchmark.sources.texts import Text, read_text

_HOMES = {
    "Raw": "images",
    "Text": "texts",
    "fingerprint": "fingerprints",
    "open_folder": "pictures",
    "read_images": "images",
    "read_text": "texts",
}
__all__ = ["Raw", "Text", "fingerprint", "open_folder", "read_images", "read_text"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'regimen.benchmark.sources' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"regimen.benchmark.sources.{_HOMES[name]}"), name)
