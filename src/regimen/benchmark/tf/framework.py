"""TensorFlow itself: found when it is needed, and made to give the same bytes for the same seed."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator
from typing import Any

from regimen.errors import MissingExtra, Problem, SpecError

TFTensor = Any
"""A `tf.Tensor`; TensorFlow is not there when types are checked."""
SEEDS = 2**32
"""Keras' seeds are below this."""


def tensorflow() -> Any:
    """The module `tensorflow`. Raises `MissingExtra` where it is not installed."""
    if importlib.util.find_spec("tensorflow") is None:
        text = "trains on TensorFlow, which is not installed."
        raise MissingExtra(Problem("strategy", text, "pip install 'regimen-ml[tf]'"))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # its start-up lines are about builds of itself
    return importlib.import_module("tensorflow")


def is_installed() -> bool:
    """Whether TensorFlow is there; not imported."""
    return importlib.util.find_spec("tensorflow") is not None


def keras() -> Any:
    """Keras on TensorFlow. Raises `MissingExtra`, and `SpecError` where Keras was told to work on another framework."""
    found = tensorflow().keras
    if found.backend.backend() != "tensorflow":
        text = f"is {found.backend.backend()!r}; optimizers and layers must be those of TensorFlow."
        raise SpecError(Problem("KERAS_BACKEND", text, "Set it to tensorflow."))
    return found


def seed(number: int) -> None:
    """Seeds all generators that a step may draw from: Python's, NumPy's, TensorFlow's, those of layers made later.

    To be called once a run: `tf.random.set_seed` throws away what TensorFlow has compiled, so that a step after it
    takes 40 ms instead of 3 (measured on mnist_logreg).
    """
    keras().utils.set_random_seed(number % SEEDS)


def made_repeatable(threads: int) -> Iterator[str]:
    """Has TensorFlow use deterministic kernels, the CPU, and so many threads; yields what could not be had, as notes.

    Threads can be set only before TensorFlow is first used in a process.
    """
    tf = tensorflow()
    tf.config.experimental.enable_op_determinism()
    try:
        if tf.config.list_physical_devices("GPU"):
            tf.config.set_visible_devices([], "GPU")
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:
        kept = tf.config.threading.get_intra_op_parallelism_threads() or "as many as it chose"
        yield f"are {kept}, not {threads}: TensorFlow was in use before the run, and keeps what it began with."
