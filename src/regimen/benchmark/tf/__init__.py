"""Runners on TensorFlow 2: the same problems, splits, first weights and batches as on PyTorch, with Keras' optimizers.

A problem needs nothing for it where its net is a `Sequential` of dense layers, convolutions, poolings and ReLU with
cross-entropy: the net is translated. Any other problem may bring a net of its own for TensorFlow:

    make_tf_net()                 a Keras model, or what has `trainable_variables` and answers `net(inputs, training=)`
    tf_losses(outputs, targets)   (B,); cross-entropy of logits without it
    tf_hits(outputs, targets)     (B,) in [0, 1]; without it the largest logit, and no accuracy beside `tf_losses`

Pictures come to it with their channels last, (B, H, W, C). It trains on the CPU.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regimen.benchmark.tf.runner import TFRunner
    from regimen.benchmark.tf.testproblem import TFTestProblem

_HOMES = {"TFRunner": "runner", "TFTestProblem": "testproblem"}
__all__ = ["TFRunner", "TFTestProblem"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'regimen.benchmark.tf' has no attribute {name!r}")
    return getattr(importlib.import_module(f"regimen.benchmark.tf.{_HOMES[name]}"), name)
