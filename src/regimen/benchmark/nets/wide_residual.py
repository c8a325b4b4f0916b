"""Wide residual nets with batch normalisation before each convolution (Zagoruyko and Komodakis, arXiv:1605.07146)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from regimen.benchmark.nets.initial import filled

RUNNING = 0.9
"""Share of the newest batch in the running statistics. TensorFlow's momentum of 0.9 is a share of 0.1; DeepOBS' PyTorch
hands 0.9 to a class that counts the other way round, and its published numbers were made so."""


class WideResidual(nn.Module):
    """WRN-(6 n + 4)-k for (B, 3, 32, 32), n = `num_blocks` in each of three groups, k = `widening`.

    Glorot's uniform initialisation; no convolution has a bias; no dropout. As in DeepOBS, the first block of a group
    has a convolution of width 1 on its shortcut, which starts after the normalisation.
    """

    def __init__(self, num_blocks: int, widening: int, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.groups = nn.Sequential()
        channels = 16
        for filters, stride in ((16 * widening, 1), (32 * widening, 2), (64 * widening, 2)):
            blocks = [_Block(channels, filters, stride), *(_Block(filters, filters) for _ in range(num_blocks - 1))]
            self.groups.append(nn.Sequential(*blocks))
            channels = filters
        self.norm = nn.BatchNorm2d(channels, momentum=RUNNING)
        self.dense = nn.Linear(channels, num_classes)
        filled(self, conv=nn.init.xavier_uniform_, dense=nn.init.xavier_uniform_)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.norm(self.groups(self.conv(images))))
        logits: Tensor = self.dense(maps.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    def __init__(self, channels: int, filters: int, stride: int | None = None) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels, momentum=RUNNING)
        self.shortcut = nn.Conv2d(channels, filters, 1, stride=stride, bias=False) if stride else None
        self.conv1 = _halving(channels, filters) if stride == 2 else _conv(channels, filters)
        self.norm2 = nn.BatchNorm2d(filters, momentum=RUNNING)
        self.conv2 = _conv(filters, filters)

    def forward(self, maps: Tensor) -> Tensor:
        active = F.relu(self.norm1(maps))
        shortcut = self.shortcut(active) if self.shortcut else maps
        changed: Tensor = self.conv2(F.relu(self.norm2(self.conv1(active))))
        return changed + shortcut


def _conv(channels: int, filters: int) -> nn.Module:
    return nn.Conv2d(channels, filters, 3, padding=1, bias=False)


def _halving(channels: int, filters: int) -> nn.Module:
    # An even width is padded on the far side alone, as by TensorFlow's "same".
    return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, filters, 3, stride=2, bias=False))
