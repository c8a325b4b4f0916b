"""FBNet's search space with the smaller head."""

from __future__ import annotations

from regimen.nas.fbnet import FBNet


class FBNetS(FBNet):
    """FBNet's 22 layers of 9 inverted residuals and skips, 1,504 channels at the end (Wu et al., arXiv:1812.03443)."""

    name = "fbnet_s"
    last_channels = 1504
