"""Chooses the next token from a model's logits: the likeliest, or a draw that its seed repeats.

V vocabulary. Probabilities are told from the model's own logits, before anything here changes them.
"""

from __future__ import annotations

import torch

from regimen.randomness import derived_seed
from regimen.web.modelserver.asked import Sampling


class Choosing:
    """Of one answer: counts what it has chosen, and draws from a generator of its own.

    Without penalties and limits the draws are those of `regimen generate` with the same seed.
    """

    def __init__(self, sampling: Sampling, vocabulary: int) -> None:
        self.sampling = sampling
        self._generator = torch.Generator().manual_seed(derived_seed(sampling.seed, "answer", 0))
        self._counts_V = torch.zeros(vocabulary)
        self._bias_V = torch.zeros(vocabulary)
        for token, bias in sampling.logit_bias.items():
            self._bias_V[int(token)] = bias

    def choose(self, logits_V: torch.Tensor) -> int:
        """The next token's id."""
        scores_V = self._changed(logits_V.double().cpu())
        if self.sampling.temperature > 0:
            scores_V = self._limited(scores_V / self.sampling.temperature)
            draw_V = torch.rand(scores_V.shape, generator=self._generator, dtype=torch.float64)
            scores_V = scores_V - torch.log(-torch.log(draw_V.clamp(min=1e-300)))  # Gumbel: the argmax is a draw
        chosen = int(scores_V.argmax())
        self._counts_V[chosen] += 1
        return chosen

    def _changed(self, scores_V: torch.Tensor) -> torch.Tensor:
        of = self.sampling
        if of.logit_bias:
            scores_V = scores_V + self._bias_V
        if of.frequency_penalty or of.presence_penalty:
            held_V = (self._counts_V > 0).double()
            scores_V = scores_V - of.frequency_penalty * self._counts_V - of.presence_penalty * held_V
        return scores_V

    def _limited(self, scores_V: torch.Tensor) -> torch.Tensor:
        of = self.sampling
        if 0 < of.top_k < len(scores_V):
            scores_V = scores_V.masked_fill(scores_V < scores_V.topk(of.top_k).values[-1], -torch.inf)
        if of.top_p < 1:
            sorted_V, order_V = scores_V.softmax(-1).sort(descending=True)
            before_V = sorted_V.cumsum(-1) - sorted_V
            scores_V = scores_V.index_fill(0, order_V[(before_V >= of.top_p) & (before_V > 0)], -torch.inf)
        return scores_V
