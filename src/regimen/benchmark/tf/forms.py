"""What a test problem is on TensorFlow: its own form of it, a known one, or its PyTorch net translated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from regimen.benchmark.problem import Problem
from regimen.benchmark.tf.framework import TFTensor, keras, tensorflow
from regimen.benchmark.tf.translate import Shape, translated, why_untranslatable

PerRow = Callable[[Any, TFTensor], TFTensor]
"""(outputs, targets) to (B,)."""


@dataclass(frozen=True)
class Form:
    """A net of TensorFlow and how it is judged."""

    net: Any
    """A Keras model, or what has `trainable_variables` and answers `net(inputs, training=...)`."""
    losses: PerRow
    hits: PerRow | None
    """None for a problem without accuracy."""
    regularized: tuple[bool, ...]
    """Whether the penalty includes each of `net.trainable_variables`."""


def why_no_form(problem: Problem) -> str | None:
    """Why a problem cannot be trained on TensorFlow, in a sentence; None if it can. Makes no weights."""
    if hasattr(problem, "make_tf_net") or problem.name in _KNOWN:
        return None
    how = "Give it make_tf_net() (see regimen.benchmark.tf), or take a runner on PyTorch."
    own = [name for name in ("forward", "losses", "hits") if getattr(type(problem), name) is not getattr(Problem, name)]
    if own:
        return f"{problem.name} has no form for TensorFlow: its {own[0]}() is its own. {how}"
    with torch.device("meta"):
        reason = why_untranslatable(problem.make_net())
    return reason and f"{problem.name} has no form for TensorFlow: {reason}. {how}"


def made_form(problem: Problem, input_shape: Shape) -> Form:
    """The form for inputs of this shape (channels last, no batch), with first weights drawn from the global
    generators: those of PyTorch, where the problem has no net of its own for TensorFlow, so that both begin alike.
    """
    if hasattr(problem, "make_tf_net"):
        net = problem.make_tf_net()
        names = [(variable.path, variable) for variable in net.trainable_variables]
        own_losses, own_hits = getattr(problem, "tf_losses", None), getattr(problem, "tf_hits", None)
        hits = own_hits or (None if own_losses else _largest)
        return Form(net, own_losses or _cross_entropy, hits, _regularized(problem, names))
    made = problem.make_net()
    regularized = _regularized(problem, list(made.named_parameters()))
    if problem.name in _KNOWN:
        return Form(_KNOWN[problem.name](made), lambda outputs, targets: outputs, None, regularized)
    assert isinstance(made, nn.Sequential)
    return Form(translated(made, input_shape), _cross_entropy, _largest, regularized)


def _regularized(problem: Problem, named: list[tuple[str, Any]]) -> tuple[bool, ...]:
    return tuple(problem.is_regularized(name, parameter) for name, parameter in named)


def _cross_entropy(logits: TFTensor, targets: TFTensor) -> TFTensor:
    return tensorflow().nn.sparse_softmax_cross_entropy_with_logits(targets, logits)


def _largest(logits: TFTensor, targets: TFTensor) -> TFTensor:
    tf = tensorflow()
    return tf.cast(tf.argmax(logits, axis=1) == targets, tf.float32)


class _Bowl:
    """(w - x)' H (w - x) / 2 for each row x of (B, D), with w and H of the PyTorch net."""

    def __init__(self, made: Any) -> None:
        tf = tensorflow()
        self.hessian = tf.constant(made.hessian.numpy())
        self.theta = keras().Variable(made.theta.detach().numpy(), name="theta")
        self.trainable_variables = [self.theta]

    def __call__(self, inputs: TFTensor, training: bool = False) -> TFTensor:
        away = self.theta - inputs
        return 0.5 * tensorflow().reduce_sum(away @ self.hessian * away, axis=1)


_KNOWN: dict[str, Callable[[Any], Any]] = {"quadratic_deep": _Bowl}
"""Problems whose outputs are their losses, by name, with their nets."""
