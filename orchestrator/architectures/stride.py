"""Strided convolution instead of pooling: twelve plain 3 x 3 convolutions, one of them with stride 2."""

from torch import Tensor, nn


def block(inputs: int, outputs: int, dropout: float, stride: int = 1, dilation: int = 1, groups: int = 1) -> nn.Module:
    """Convolution, ReLU, dropout and normalisation, in the published order."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, dilation, groups, bias=False),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.BatchNorm2d(outputs),
    )


class Stride(nn.Module):
    """192,298 parameters with 10 classes; sees 41 pixels before global pooling and 67 after."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3, dropout: float = 0.05) -> None:
        super().__init__()
        self.c1 = nn.Sequential(block(in_channels, 8, dropout), block(8, 8, dropout), block(8, 12, dropout))
        self.c2 = nn.Sequential(block(12, 16, dropout), block(16, 32, dropout), block(32, 24, dropout, stride=2))
        self.c3 = nn.Sequential(block(24, 32, dropout), block(32, 128, dropout, groups=32), block(128, 32, dropout))
        self.c4 = nn.Sequential(block(32, 64, dropout, dilation=2), block(64, 96, dropout), block(96, 64, dropout))
        self.output = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 32), nn.Linear(32, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 3, H, W) float32, normalised. Returns logits (N, num_classes)."""
        return self.output(self.c4(self.c3(self.c2(self.c1(x)))))  # type: ignore[no-any-return]
