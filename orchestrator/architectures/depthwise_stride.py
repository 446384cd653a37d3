"""Three strided blocks built of depthwise-separable, dilated and strided convolutions, straight to the classes."""

from torch import Tensor, nn


def block(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> list[nn.Module]:
    """A 3 x 3 convolution that keeps the map's size (but for the stride), normalisation and ReLU."""
    return [
        nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def separable(inputs: int, outputs: int) -> list[nn.Module]:
    """A depthwise 3 x 3 convolution and a pointwise one, normalisation and ReLU."""
    return [
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


class DepthwiseStride(nn.Module):
    """The published description leaves the widths open; these keep 3 x 3 kernels wide where the map is small.

    ``width`` scales every width, for searches; 1.0 stays under 200,000 parameters with 10 classes.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, dropout: float = 0.03, width: float = 1.0) -> None:
        super().__init__()
        first, second, third, wide = (max(8, round(width * w / 8) * 8) for w in (32, 48, 64, 96))
        self.c1 = nn.Sequential(
            *block(in_channels, first), *block(first, first), *block(first, second, stride=2), nn.Dropout(dropout)
        )
        self.c2 = self._stage(second, third, second, third, dropout)
        self.c3 = self._stage(third, wide, second, wide, dropout)
        self.c4 = nn.Conv2d(wide, num_classes, 3, padding=1)
        self.output = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    @staticmethod
    def _stage(inputs: int, mixed: int, dilated: int, outputs: int, dropout: float) -> nn.Module:
        return nn.Sequential(
            *separable(inputs, mixed),
            nn.Dropout(dropout),
            *block(mixed, dilated, dilation=2),
            nn.Dropout(dropout),
            *block(dilated, outputs, stride=2),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 3, H, W) float32, normalised. Returns logits (N, num_classes)."""
        return self.output(self.c4(self.c3(self.c2(self.c1(x)))))  # type: ignore[no-any-return]
