"""A run's model, ready to be asked in words: with the template it was trained with, or as bare text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from regimen.errors import Problem, Refused
from regimen.finetune.answers.generate import Sampling, stream
from regimen.finetune.quiet import quiet_libraries
from regimen.finetune.results.asked import is_asked_as_chat
from regimen.finetune.results.trained import load_base, load_trained


class Asking:
    """Loads the trained model of a run once (and its base, to compare) and answers questions."""

    def __init__(self, run_folder: Path, *, chat: bool | None = None, with_base: bool = False) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with quiet_libraries():
            self.trained = load_trained(run_folder, device)
            self.base = load_base(run_folder, device) if with_base else None
        if chat and not self.trained.tokenizer.chat_template:
            raise Refused(Problem(str(run_folder), "was trained without a chat template.", "Ask it with --plain."))
        self.chat = is_asked_as_chat(self.trained.folder) if chat is None else chat

    def prompt(self, question: str) -> list[int]:
        """The question as the tokens of a prompt, one beginning token in front where the tokenizer has one."""
        tokenizer = self.trained.tokenizer
        if not self.chat:
            return list(tokenizer(question).input_ids)
        turn = [{"role": "user", "content": question}]
        made = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=True, return_dict=True)
        return list(made.input_ids)

    def answers(self, question: str, max_new_tokens: int, sampling: Sampling) -> Iterator[tuple[str, Iterator[str]]]:
        """Who answers, and the answer piece by piece: the base first where it is asked, too."""
        ids = self.prompt(question)
        for who, model in (("base", self.base), ("tuned", self.trained.model)):
            if model is not None:
                stops = self.trained.stop_ids
                yield (
                    who,
                    stream(
                        model,
                        self.trained.tokenizer,
                        ids,
                        max_new_tokens=max_new_tokens,
                        stop_ids=stops,
                        sampling=sampling,
                    ),
                )
