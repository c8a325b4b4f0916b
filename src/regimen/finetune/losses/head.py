"""Logits of trained tokens only: the output head is a large part of a step, and most tokens need no logits.

B rows, T tokens, N trained tokens, H hidden size, V vocabulary.

A hook in front of the model's own output head hands it the hidden states of the N trained positions, as one row of N
tokens. The model's own forward does the rest, so scaled or soft-capped logits, adapters on the head, tied weights,
autocast and wrappers for process groups stay as they are. For models built like Llama there is a forward written out
by hand besides, which takes 15 to 17 % less time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import nn

from regimen.finetune.kernels.llama import has_states, llama_states


class Output(NamedTuple):
    """Logits of the trained positions, and the model's own additional loss."""

    logits_NV: torch.Tensor

    auxiliary: torch.Tensor | None
    """What a mixture of experts adds to a mean loss to balance its experts, already weighted; else None."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside `torch.compile` and the wrappers for process groups."""
    while True:
        inner = getattr(model, "_orig_mod", None) or (
            model.module if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel) else None
        )
        if inner is None:
            return model
        model = cast(nn.Module, inner)


def output_head(model: nn.Module) -> nn.Module | None:
    """The module that turns hidden states into logits, or None where the model does not say."""
    find = getattr(unwrapped(model), "get_output_embeddings", None)
    head = find() if callable(find) else None
    return head if isinstance(head, nn.Module) else None


def target_logits(model: nn.Module, inputs: Mapping[str, torch.Tensor], place_N: torch.Tensor) -> Output:
    """The model's logits at flat positions `b * T + t`, the output head having seen those alone.

    Where the model has no output head of its own, or does not call it as a module, the full logits are computed and
    the positions picked: always right, only slower.
    """
    num_rows, num_tokens = inputs["input_ids"].shape
    picked = False

    def pick(_: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        nonlocal picked
        if not args or args[0].dim() != 3 or args[0].shape[0] != num_rows or args[0].shape[1] < num_tokens:
            return None
        picked = True
        return (_at_places(args[0], num_tokens, place_N)[None], *args[1:])

    head = output_head(model)
    hook = head.register_forward_pre_hook(pick) if head is not None else None
    try:
        output = model(**inputs, use_cache=False)
    finally:
        if hook is not None:
            hook.remove()
    logits = output.logits
    # Not `logits[0]`: its gradient is written into zeros of the same size.
    return Output(logits.squeeze(0) if picked else _at_places(logits, num_tokens, place_N), _auxiliary(model, output))


def all_logits(model: nn.Module, inputs: Mapping[str, torch.Tensor], place_N: torch.Tensor) -> Output:
    """The same through the logits of all tokens, (B, T, V)."""
    output = model(**inputs, use_cache=False)
    num_tokens = inputs["input_ids"].shape[1]
    return Output(_at_places(output.logits, num_tokens, place_N), _auxiliary(model, output))


def written_out_logits(model: nn.Module, inputs: Mapping[str, torch.Tensor], place_N: torch.Tensor) -> Output:
    """The same through a forward written out for this kind of model, and where there is none by `target_logits`."""
    states_NH = llama_states(model, inputs, place_N)
    head = output_head(model)
    if states_NH is None or head is None:
        return target_logits(model, inputs, place_N)
    return Output(head(states_NH), None)


def is_written_out(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> bool:
    """Whether `written_out_logits` has a forward for this model and these inputs."""
    return output_head(model) is not None and has_states(model, inputs)


@dataclass(frozen=True)
class Way:
    """How a loss comes to the logits of the trained tokens."""

    logits: Callable[[nn.Module, Mapping[str, torch.Tensor], torch.Tensor], Output]

    overwrites: bool = False
    """Whether the loss may write into these logits: nobody else reads them."""


ALL, PICKED, WRITTEN_OUT = Way(all_logits), Way(target_logits), Way(written_out_logits, overwrites=True)


def _at_places(states_BTX: torch.Tensor, num_tokens: int, place_N: torch.Tensor) -> torch.Tensor:
    # Prompt tuning puts virtual tokens in front of ours: ours are the last ones.
    if states_BTX.shape[1] != num_tokens:
        states_BTX = states_BTX[:, -num_tokens:]
    return states_BTX.flatten(0, 1).index_select(0, place_N)


def _auxiliary(model: nn.Module, output: object) -> torch.Tensor | None:
    auxiliary = getattr(output, "aux_loss", None)
    if not isinstance(auxiliary, torch.Tensor):
        return None
    config = getattr(unwrapped(model), "config", None)
    return auxiliary * float(getattr(config, "router_aux_loss_coef", 0.0))
