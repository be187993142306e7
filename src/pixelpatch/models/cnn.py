"""The convolutional network of the blog post *Training a Vision Transformer on MNIST*."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pixelpatch.models import kernels
from pixelpatch.models.dropout import Dropout


class PooledConv(nn.Module):
    """ReLU, a 3×3 convolution, 2×2 max-pool, ReLU. (The post has the last two the other way round; they commute.)"""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """`x` [B, in, H, W] → [B, out, (H − 2)/2, (W − 2)/2], rounded down."""
        fits = x.shape[1] == kernels.CHANNELS and self.conv.out_channels % 16 == x.shape[2] % 2 == x.shape[3] % 2 == 0
        if fits and kernels.usable(x):
            return kernels.pooled_conv(x, self.conv.weight, self.conv.bias)
        return F.max_pool2d(self.conv(x.relu()), 2).relu()


class Cnn(nn.Module):
    """Two 3×3 convolutions, max-pool, two fully connected layers: PyTorch's basic MNIST example, as the post has it.

    `channels` are those of the two convolutions, `hidden` the features between the last two layers; the defaults are
    the post's. Its final log-softmax is left to the loss: cross-entropy of logits is the negative log likelihood of
    their log-softmax.
    """

    def __init__(
        self,
        *,
        dropout_features: float,
        dropout_hidden: float,
        channels: Sequence[int] = (32, 64),
        hidden: int = 128,
        classes: int = 10,
    ) -> None:
        super().__init__()
        first, second = channels
        self.features = nn.Sequential(
            nn.Conv2d(1, first, 3),
            PooledConv(first, second),
            Dropout(dropout_features),
        ).to(memory_format=torch.channels_last)  # faster on a CPU; the function is the same
        self.classifier = nn.Sequential(
            nn.Linear(second * 12 * 12, hidden), nn.ReLU(), Dropout(dropout_hidden), nn.Linear(hidden, classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        """`images` [B, 1, 28, 28] → logits [B, classes]."""
        images = images.to(memory_format=torch.channels_last)
        return self.classifier(self.features(images).flatten(1))  # [B, 64·12·12 = 9216] into the classifier


MODEL = Cnn
