"""Keeps the libraries' own progress bars and upgrade hints off the terminal: a run says itself what it does."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """While inside: no bars for loading weights, no hints about names that a later transformers will drop."""
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for library in ("transformers", "peft", "trl", "accelerate", "torch"):
            warnings.filterwarnings("ignore", category=FutureWarning, module=library)
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=library)
        try:
            yield
        finally:
            if shown:
                transformers_logging.enable_progress_bar()
