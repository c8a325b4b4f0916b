"""Zero-cost proxies: how good an architecture may be, from one batch and weights that were never trained.

- `synflow`: Tanaka et al., arXiv:2006.05467
- `snip`: Lee et al., arXiv:1810.02340
- `jacob_cov`: Mellor et al., arXiv:2006.04647, first version
- `naswot`: Mellor et al., arXiv:2006.04647, third version

As scores of networks they are those of Abdelfattah et al., arXiv:2101.08134 (naswot: of its authors). Otherwise than in
their code, naswot looks at every activation function that is a module and has a kink or a gate at 0, not at ReLU alone.
Legend: B rows, N the inputs of all activation functions for one row.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.errors import Problem, Refused
from regimen.nas.evaluating.batchnorm import batch_norms
from regimen.nas.space import Architecture, Space

Proxy = Callable[[nn.Module, Tensor, Tensor], float]
"""(net, inputs, targets) to a score, larger is better. Leaves the net as it was."""

_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)
_GATES = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish)
_SMALL = 1e-5
"""Added to eigenvalues before their logarithm is taken, as in the authors' code."""


def synflow(net: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """Sum over weights of |weight x gradient| of the sum of outputs, for an input of ones and absolute weights.

    Without batch norms, in float64. The rows give the shape of an input alone.
    """
    net = copy.deepcopy(net).double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_()
    for norm in batch_norms(net):
        norm.register_forward_hook(_input_alone)
    with torch.enable_grad():
        net(torch.ones_like(inputs[:1], dtype=torch.float64)).sum().backward()
    return _saliency(net)


def snip(net: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """Sum over weights of |weight x gradient| of the cross-entropy of one batch."""
    net = copy.deepcopy(net).train()
    with torch.enable_grad():
        F.cross_entropy(net(inputs), targets).backward()
    return _saliency(net)


def jacob_cov(net: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """How differently the net reacts to changes of different rows: near 0 and below; less where rows look alike.

    NaN where a row changes nothing at all.
    """
    net = copy.deepcopy(net).train()
    with torch.enable_grad():
        rows = inputs.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(net(rows).sum(), rows)
    correlation_BB = torch.corrcoef(gradient.flatten(1).double())
    if not bool(torch.isfinite(correlation_BB).all()):
        return math.nan
    eigenvalues_B = torch.linalg.eigvalsh(correlation_BB)
    return -float(((eigenvalues_B + _SMALL).log() + 1 / (eigenvalues_B + _SMALL)).sum())


@torch.no_grad()
def naswot(net: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """Logarithm of the determinant of the kernel that counts, for two rows, how many activation functions are on in
    both or off in both. Minus infinity where two rows cannot be told apart.

    Raises `Refused` for a net without activation functions as modules.
    """
    net = copy.deepcopy(net).train()
    codes: list[Tensor] = []
    for module in net.modules():
        if isinstance(module, _GATES):
            module.register_forward_pre_hook(lambda _, given: codes.append(given[0].flatten(1) > 0))
    net(inputs)
    if not codes:
        text = "has no activation function that is a module; naswot looks at what they switch off."
        raise Refused(Problem(type(net).__name__, text, "Choose another proxy, or use nn.ReLU and the like."))
    on_BN = torch.cat(codes, dim=1).double()
    kernel_BB = on_BN @ on_BN.T + (1 - on_BN) @ (1 - on_BN).T
    return float(torch.linalg.slogdet(kernel_BB).logabsdet)


PROXIES: dict[str, Proxy] = {"synflow": synflow, "snip": snip, "jacob_cov": jacob_cov, "naswot": naswot}


class ZeroCostEvaluator:
    """A proxy's score of each architecture, with weights that are the same for the same seed.

    >>> evaluator = ZeroCostEvaluator(space, make_network, "synflow", inputs, targets)          # doctest: +SKIP
    """

    def __init__(
        self,
        space: Space,
        make_network: Callable[[Architecture], nn.Module],
        proxy: str,
        inputs: Tensor,
        targets: Tensor,
        seeds: Sequence[int] = (0,),
    ) -> None:
        """`inputs` (B, ...) and `targets` (B,) are one training batch, on the device to compute on; the score is the
        mean over `seeds`, with which torch's global generator is seeded before `make_network(architecture)`.

        Raises `Refused` for an unknown proxy.
        """
        if proxy not in PROXIES:
            raise Refused(Problem("proxy", f"is {proxy!r}.", f"Give one of {', '.join(PROXIES)}."))
        self.space, self.make_network, self.proxy = space, make_network, PROXIES[proxy]
        self.inputs, self.targets, self.seeds = inputs, targets, tuple(seeds)
        self._known: dict[Architecture, float] = {}

    def evaluate(self, architectures: Sequence[Architecture]) -> list[float]:
        """One score for each, in order; NaN where it is not finite."""
        forms = [self.space.canonical(self.space.check(architecture)) for architecture in architectures]
        for form in forms:
            if form not in self._known:
                mean = math.fsum(scores) / len(scores) if _finite(scores := self._scores(form)) else math.nan
                self._known[form] = mean
        return [self._known[form] for form in forms]

    def _scores(self, architecture: Architecture) -> list[float]:
        found = []
        for seed in self.seeds:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                net = self.make_network(architecture).to(self.inputs.device)
                found.append(self.proxy(net, self.inputs, self.targets))
        return found


def _finite(scores: Sequence[float]) -> bool:
    return all(math.isfinite(score) for score in scores)


def _input_alone(_: nn.Module, given: tuple[Tensor, ...], __: Tensor) -> Tensor:
    return given[0]


def _saliency(net: nn.Module) -> float:
    """Sum of |weight x gradient| over convolutions and linear layers; a weight that was not used adds nothing."""
    weights = [module.weight for module in net.modules() if isinstance(module, _WEIGHTED)]
    parts = [(weight.detach() * weight.grad).abs().double().sum() for weight in weights if weight.grad is not None]
    return float(torch.stack(parts).sum()) if parts else math.nan
