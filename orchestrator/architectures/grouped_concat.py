"""Two parallel dilated branches joined by concatenation, a depthwise-separable block and a residual."""

import torch
from torch import Tensor, nn


def block(inputs: int, outputs: int, dropout: float, stride: int = 1, dilation: int = 1) -> nn.Module:
    """Convolution, ReLU, normalisation and dropout, in the published order."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, dilation, bias=False),
        nn.ReLU(),
        nn.BatchNorm2d(outputs),
        nn.Dropout(dropout),
    )


def branch(dropout: float) -> nn.Module:
    """Half of C2: two dilated convolutions and a plain one."""
    return nn.Sequential(block(16, 32, dropout, dilation=2), block(32, 64, dropout, dilation=2), block(64, 64, dropout))


class GroupedConcat(nn.Module):
    """145,114 parameters with 10 classes; sees 39 pixels before global pooling and 55 after."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3, dropout: float = 0.01) -> None:
        super().__init__()
        self.c1 = block(in_channels, 16, dropout, stride=2)
        self.c2_left = branch(dropout)
        self.c2_right = branch(dropout)
        self.c3 = nn.Sequential(
            nn.Conv2d(128, 128, 3, groups=128, bias=False),
            nn.Conv2d(128, 32, 1, bias=False),
            nn.ReLU(),
            nn.BatchNorm2d(32),
            nn.Dropout(dropout),
        )
        self.c4 = block(32, 32, dropout, stride=2)
        self.c4_residual = block(32, 32, dropout)
        self.pool = nn.AvgPool2d(5)  # at 32 pixels the map is 5 x 5, so this leaves one position
        self.output = nn.Linear(32, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 3, H, W) float32, normalised. Returns logits (N, num_classes)."""
        x = self.c1(x)
        x = self.c3(torch.cat([self.c2_left(x), self.c2_right(x)], dim=1))
        x = self.c4(x)
        x = self.pool(x + self.c4_residual(x))
        return self.output(x.mean(dim=(2, 3)))  # type: ignore[no-any-return]
