"""The forward of models built like Llama, written out for training in float32 on a CPU.

B rows of L tokens, T of all tokens in one row, N places whose states are asked for, H hidden size, A heads, D size of a
head.

What differs from the model's own forward is the work, not the numbers: documents stand behind each other without
padding and attend to themselves; tokens that no asked place looks back at are left out, such as the last one of each
document; the last layer computes its MLP only for the places that are asked for; and the parts between matrix products
go over memory less often. Embedding, projections and head are called as the modules that they are, so that adapters and
quantized layers stay in force. The strategy asks the very model, before the first step, whether its numbers are these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from regimen.finetune.kernels.attention import attention_by_document, attention_under_mask
from regimen.finetune.kernels.gate import gated_silu
from regimen.finetune.kernels.norm import rms_norm
from regimen.finetune.kernels.rotary import rotated

_ALIKE = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")
"""Classes of transformers whose layers are Llama's, biases apart. SmolLM2, TinyLlama and many others are Llamas."""
_INPUTS = {"input_ids", "position_ids", "attention_mask"}


class Rows(NamedTuple):
    """How the T tokens belong together: documents of these lengths, or an additive mask of shape (B, 1, L, L)."""

    lengths: list[int]
    mask: torch.Tensor | None


def llama_states(model: nn.Module, inputs: Mapping[str, torch.Tensor], place_N: torch.Tensor) -> torch.Tensor | None:
    """What the output head of `model` is to see at flat positions `b * L + t`, shape (N, H), differentiable.

    None where `has_states` says no.
    """
    body = _body(model, inputs)
    if body is None:
        return None
    mask = inputs.get("attention_mask")
    num_rows, num_tokens = inputs["input_ids"].shape
    token_T = inputs["input_ids"].reshape(-1)
    position_BL = inputs.get("position_ids")
    if position_BL is None:
        position_BL = torch.arange(num_tokens).expand(num_rows, -1)
    position_T, rows = position_BL.reshape(-1), Rows([] if mask is not None else document_lengths(position_BL), mask)
    if mask is None and place_N.numel():
        lengths, seen_T, place_N = seen_tokens(rows.lengths, place_N)
        token_T, position_T, rows = token_T[seen_T], position_T[seen_T], Rows(lengths, None)
    x_TH = body.embed_tokens(token_T)
    cos, sin = body.rotary_emb(x_TH[None], position_T[None])
    angles = cos[0][:, None], sin[0][:, None]
    *lower, last = body.layers
    for layer in lower:
        x_TH = _mlp_added(layer, _attention_added(layer, x_TH, rows, angles))
    x_NH = _mlp_added(last, _attention_added(last, x_TH, rows, angles, place_N))
    return rms_norm(x_NH, body.norm.weight, body.norm.variance_epsilon)


def has_states(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> bool:
    """Whether this is such a model, in a state and with inputs that are known here: no dropout in attention, sliding
    windows, rotations that depend on the longest row, half precision, activation checkpointing, hooks of somebody's,
    or mask of two dimensions.
    """
    return _body(model, inputs) is not None


def document_lengths(position_BL: torch.Tensor) -> list[int]:
    """Tokens of each document, in order: one begins with every row, and wherever a position does not follow the last.

    >>> document_lengths(torch.tensor([[0, 1, 0, 1], [0, 1, 2, 3]]))
    [2, 2, 4]
    """
    begins_BL = torch.ones_like(position_BL, dtype=torch.bool)
    begins_BL[:, 1:] = position_BL[:, 1:] != position_BL[:, :-1] + 1
    starts = begins_BL.flatten().nonzero()[:, 0].tolist()
    return [end - start for start, end in zip(starts, [*starts[1:], position_BL.numel()], strict=True)]


def seen_tokens(lengths: list[int], place_N: torch.Tensor) -> tuple[list[int], torch.Tensor, torch.Tensor]:
    """What of documents of these lengths is seen from the places that are asked for: all up to the last such place of
    each, since nothing looks ahead. The lengths that remain, which tokens these are, and the places among them.

    >>> lengths, seen_T, place_N = seen_tokens([3, 2, 4], torch.tensor([1, 6]))
    >>> lengths, seen_T.tolist(), place_N.tolist()
    ([2, 2], [0, 1, 5, 6], [1, 3])
    """
    end_D = np.cumsum(lengths)
    start_D, place = end_D - lengths, place_N.numpy()
    document_N = np.searchsorted(end_D, place, side="right")
    seen_D = np.zeros_like(end_D)
    np.maximum.at(seen_D, document_N, place + 1 - start_D[document_N])
    gone_D = start_D - (np.cumsum(seen_D) - seen_D)  # tokens left out before the document
    seen_T = np.arange(seen_D.sum()) + np.repeat(gone_D, seen_D)
    lengths = seen_D[seen_D > 0].tolist()
    return lengths, torch.from_numpy(seen_T), torch.from_numpy(place - gone_D[document_N])


def _attention_added(
    layer: Any, x_TH: torch.Tensor, rows: Rows, angles: tuple[torch.Tensor, ...], place_N: torch.Tensor | None = None
) -> torch.Tensor:
    """The layer's input with its attention's output added; with `place_N` only there, shape (N, H)."""
    attention, norm = layer.self_attn, layer.input_layernorm
    normed_TH = rms_norm(x_TH, norm.weight, norm.variance_epsilon)
    query_TAD, key_TAD, value_TAD = (
        projection(normed_TH).unflatten(1, (-1, attention.head_dim))
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    query_TAD, key_TAD = rotated(query_TAD, *angles), rotated(key_TAD, *angles)
    if attention.num_key_value_groups > 1:
        key_TAD = key_TAD.repeat_interleave(attention.num_key_value_groups, dim=1)
        value_TAD = value_TAD.repeat_interleave(attention.num_key_value_groups, dim=1)
    if rows.mask is None:
        gathered_TX = attention_by_document(query_TAD, key_TAD, value_TAD, rows.lengths, attention.scaling)
    else:
        gathered_TX = attention_under_mask(query_TAD, key_TAD, value_TAD, rows.mask, attention.scaling)
    if place_N is not None:
        gathered_TX, x_TH = gathered_TX.index_select(0, place_N), x_TH.index_select(0, place_N)
    return x_TH + cast(torch.Tensor, attention.o_proj(gathered_TX))


def _mlp_added(layer: Any, x_TH: torch.Tensor) -> torch.Tensor:
    mlp, norm = layer.mlp, layer.post_attention_layernorm
    normed_TH = rms_norm(x_TH, norm.weight, norm.variance_epsilon)
    return x_TH + cast(torch.Tensor, mlp.down_proj(gated_silu(mlp.gate_proj(normed_TH), mlp.up_proj(normed_TH))))


# ---------------------------------------------------------------------- is it such a model?


def _body(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> Any | None:
    """Embedding, layers and last norm, if nothing that is passed over here would have been called."""
    outer, mask = cast(Any, model), inputs.get("attention_mask")
    if not inputs.keys() <= _INPUTS or (mask is not None and (mask.dim() != 4 or not mask.is_floating_point())):
        return None
    if hasattr(outer, "get_base_model"):  # peft: its layers stand in the model itself, but for learned prompts
        if outer.active_peft_config.is_prompt_learning:
            return None
        outer = outer.get_base_model()
    if type(outer).__name__ not in _ALIKE or not type(outer).__module__.startswith("transformers."):
        return None
    config, body = outer.config, outer.model
    passed_over = [outer, body, body.norm]
    for layer in body.layers:
        passed_over += [layer, layer.self_attn, layer.mlp, layer.input_layernorm, layer.post_attention_layernorm]
    usual = (
        config.hidden_act == "silu"
        and not getattr(config, "sliding_window", None)
        and not config.attention_dropout
        and not body.gradient_checkpointing
        and body.rotary_emb.rope_type not in ("dynamic", "longrope")
        and len(body.layers) == config.num_hidden_layers > 0
        and body.norm.weight.dtype == torch.float32
        and body.norm.weight.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and all(map(_is_untouched, passed_over))
    )
    return body if usual else None


def _is_untouched(module: nn.Module) -> bool:
    """Whether calling the module does what its class in transformers says, and nothing else."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    ours = type(module).__module__.startswith("transformers.models.") and "forward" not in vars(module)
    return ours and not any(hooks)
