"""FBNet's search space with the larger head."""

from __future__ import annotations

from regimen.nas.fbnet import FBNet


class FBNetL(FBNet):
    """FBNet's 22 layers of 9 inverted residuals and skips, 1,984 channels at the end (Wu et al., arXiv:1812.03443)."""

    name = "fbnet_l"
    last_channels = 1984
