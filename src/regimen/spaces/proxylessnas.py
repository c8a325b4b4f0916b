"""ProxylessNAS' search space."""

from __future__ import annotations

from regimen.nas.chainspace import SKIP, inverted
from regimen.nas.proxyless import ProxylessChain


class ProxylessNAS(ProxylessChain):
    """21 layers, each an inverted residual of kernel 3, 5 or 7 and expansion 3 or 6, or a skip (Cai et al.,
    arXiv:1812.00332).
    """

    name = "proxylessnas"
    blocks = (*(inverted(kernel, expansion) for kernel in (3, 5, 7) for expansion in (3, 6)), SKIP)
