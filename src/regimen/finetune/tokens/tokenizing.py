"""Calls the tokenizer on plain texts and on rendered chats, with one beginning token and one end token at most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from transformers import BatchEncoding, PreTrainedTokenizerBase

from regimen.errors import Problem, Refused
from regimen.finetune.tokens.template import adds_beginning

_ENDS = ("<|endoftext|>", "</s>", "<|im_end|>", "<|eot_id|>", "<eos>", "<end_of_turn>", "<|end|>", "[EOS]")


class Tokenizing:
    """A tokenizer with what has to be known of it. Raises `Refused` when it has no end token."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.eos_token_id is None:
            message = "the tokenizer has no end token, so the model could not learn to stop."
            raise Refused(Problem("task.model", message, "Set eos_token in its tokenizer_config.json."))
        self.tokenizer = tokenizer
        self.end, self._end_text = int(tokenizer.eos_token_id), str(tokenizer.eos_token)
        self._begin: int | None = tokenizer.bos_token_id
        plain = ids_of(tokenizer(["a"]))[0]
        self.adds_beginning = adds_beginning(tokenizer)
        self._adds_end = len(plain) > 1 and plain[-1] == self.end
        vocabulary = tokenizer.get_vocab()
        self._foreign = tuple(end for end in _ENDS if end not in vocabulary)
        self.special = {text: int(number) for text, number in tokenizer.get_added_vocab().items() if text.strip()}
        """The added tokens and their ids."""

    def plain(self, texts: list[str]) -> list[list[int]]:
        """Ids of plain texts as the tokenizer makes them, less a second beginning or end token."""
        ids = ids_of(self.tokenizer(texts, return_attention_mask=False, verbose=False)) if texts else []
        return [self._single_ends(row) for row in ids]

    def _single_ends(self, ids: list[int]) -> list[int]:
        while self.adds_beginning and ids[:2] == [self._begin, self._begin]:
            ids = ids[1:]
        while self._adds_end and ids[-2:] == [self.end, self.end]:
            ids = ids[:-1]
        return ids

    def rendered(self, texts: list[str]) -> BatchEncoding:
        """Rendered chats with the characters of each token; the template wrote the special tokens, so none is added."""
        if not self.tokenizer.is_fast:
            message = "chats need a fast tokenizer (tokenizer.json), which tells the characters of each token."
            raise Refused(Problem("task.model", message, "Convert it with save_pretrained of a fast tokenizer."))
        return self.tokenizer(texts or [""], add_special_tokens=False, verbose=False)

    def two_beginnings(self, ids: Sequence[int]) -> bool:
        return self._begin is not None and list(ids[:2]) == [self._begin, self._begin]

    def ended(self, text: str) -> str:
        """The text with the end token after it, unless it is there."""
        return text if text.endswith(self._end_text) else text + self._end_text

    def foreign_end(self, text: object) -> bool:
        """Whether a text ends with another tokenizer's end token, which would be trained as letters."""
        return isinstance(text, str) and bool(self._foreign) and text.rstrip().endswith(self._foreign)


def ids_of(encoding: BatchEncoding) -> list[list[int]]:
    return cast(list[list[int]], encoding["input_ids"])
