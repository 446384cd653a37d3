"""A network of your own: strided convolutions and global average pooling, about 24,000 parameters."""

from torch import Tensor, nn


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    """Convolution, normalisation and ReLU; a stride of 2 halves height and width."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Network(nn.Module):
    """The number of classes and of image channels are those of the dataset; ``width`` is an argument of your own."""

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            block(in_channels, width), block(width, 2 * width, stride=2), block(2 * width, 4 * width, stride=2)
        )
        self.output = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in_channels, H, W) float32, normalised. Returns logits (N, num_classes)."""
        logits: Tensor = self.output(self.features(x))
        return logits
