"""Models and tokenizers by name: a folder, `org/name` of the Hub, or `tiny`, which is made here. Never remote code
unasked.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from regimen.errors import DataError, MissingExtra, Problem, SpecError
from regimen.finetune.tiny import TINY, tiny_config, tiny_tokenizer
from regimen.spec import Frozen


class Quantization(Frozen):
    """How the frozen base is stored while adapters are trained on it (bitsandbytes)."""

    bits: Annotated[Literal[4, 8], Field(description="4 (NF4 or FP4) or 8 (LLM.int8)")] = 4
    type: Annotated[
        Literal["nf4", "fp4"],
        Field(description="of 4-bit numbers; nf4 suits normally distributed weights (arXiv:2305.14314)"),
    ] = "nf4"
    double: Annotated[bool, Field(description="quantize the scales of 4-bit blocks, too: 0.4 bits a weight less")] = (
        True
    )
    compute: Annotated[
        Literal["bfloat16", "float16", "float32"], Field(description="what 4-bit weights are multiplied in")
    ] = "bfloat16"

    def for_transformers(self) -> Any:
        """As a `BitsAndBytesConfig`. Raises `MissingExtra` without bitsandbytes."""
        from transformers import BitsAndBytesConfig
        from transformers.utils import is_bitsandbytes_available

        if not is_bitsandbytes_available():
            raise MissingExtra(Problem("strategy.quantize", "needs bitsandbytes.", "pip install 'regimen-ml[llm]'"))
        if self.bits == 8:
            return BitsAndBytesConfig(load_in_8bit=True)
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.type,
            bnb_4bit_use_double_quant=self.double,
            bnb_4bit_compute_dtype=getattr(torch, self.compute),
        )


class ModelSource:
    """A causal language model by name; light until `load`.

    Raises `SpecError` for a name that is neither a folder, nor on the Hub (or in its cache), nor `tiny`.
    """

    def __init__(self, name: str, *, revision: str | None = None, remote_code: bool = False) -> None:
        self.name, self.revision = name, revision
        self._more: dict[str, Any] = (
            {"revision": revision or "main", "trust_remote_code": remote_code} if not self.is_folder else {}
        )
        if self.is_folder and not (self.path / "config.json").exists():
            raise SpecError(
                Problem(
                    "task.model", f"{name!r} is a folder without config.json.", "Give a model saved by transformers."
                )
            )

    @property
    def path(self) -> Path:
        return Path(self.name).expanduser()

    @property
    def is_folder(self) -> bool:
        return self.path.is_dir()

    def config(self) -> Any:
        """The model's configuration, transformers' own class."""
        if self.name == TINY:
            return tiny_config()
        return self._asked(AutoConfig.from_pretrained, str(self.path) if self.is_folder else self.name)

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """A fresh tokenizer. One without a padding token pads with its end token: padding is never trained here."""
        if self.name == TINY:
            return tiny_tokenizer()
        tokenizer = self._asked(AutoTokenizer.from_pretrained, str(self.path) if self.is_folder else self.name)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        return tokenizer

    def load(
        self,
        device: torch.device,
        *,
        quantize: Quantization | None = None,
        dtype: torch.dtype = torch.float32,
        init_seed: int = 0,
    ) -> nn.Module:
        """The weights, on `device`. `init_seed` matters for `tiny` alone, which starts untrained."""
        if self.name == TINY:
            from transformers import LlamaForCausalLM

            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(init_seed)
                tiny = LlamaForCausalLM(tiny_config())
            if quantize is None:
                moved: nn.Module = tiny.to(device=device, dtype=dtype)
                return moved
            with tempfile.TemporaryDirectory(prefix="regimen-tiny-") as folder:  # quantizing is a part of loading
                tiny.save_pretrained(folder)
                return ModelSource(folder).load(device, quantize=quantize, dtype=dtype)
        more: dict[str, Any] = (
            {"quantization_config": quantize.for_transformers(), "device_map": {"": device}} if quantize else {}
        )
        name = str(self.path) if self.is_folder else self.name
        model: nn.Module = self._asked(
            AutoModelForCausalLM.from_pretrained, name, dtype=dtype, use_safetensors=True, **more
        )
        return _steady(model) if quantize else model.to(device)

    def fingerprint(self) -> str:
        """Changes when the weights or the tokenizer do: names, sizes and ends of a folder's files, or the Hub's
        commit.
        """
        if not self.is_folder:
            return f"{self.name}@{getattr(self.config(), '_commit_hash', None) or self.revision}"
        digest = hashlib.sha256()
        for path in sorted(self.path.iterdir()):
            if path.is_file() and path.suffix in (".json", ".safetensors", ".jinja", ".model"):
                digest.update(f"{path.name}:{path.stat().st_size}:".encode())
                with path.open("rb") as file:
                    digest.update(file.read(1 << 20))
                    file.seek(-min(1 << 20, path.stat().st_size), 2)
                    digest.update(file.read())
        return digest.hexdigest()

    def _asked(self, load: Any, name: str, **more: Any) -> Any:
        try:
            return load(name, **self._more, **more)
        except (OSError, ValueError, KeyError) as error:
            first = str(error).strip().partition("\n")[0][:300]
            if self.is_folder:
                raise DataError(
                    Problem("task.model", f"{name!r} cannot be loaded: {first}", "Save it again with save_pretrained.")
                ) from error
            fix = "Give a folder, `tiny`, or a name on the Hub; without a network, first `hf download NAME`."
            raise SpecError(
                Problem("task.model", f"{name!r} is no folder here and cannot be had from the Hub: {first}", fix)
            ) from error


def _steady(model: nn.Module) -> nn.Module:
    """A quantized model whose weights stay as they are.

    On some CPUs bitsandbytes repacks 4-bit weights at the first evaluation and multiplies the repacked ones ever after,
    with other rounding: evaluating would change training, and a resume would differ.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            cast(Any, module).support_avx512bf16_for_cpu = False
    return model
