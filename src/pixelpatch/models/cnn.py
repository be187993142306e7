"""The convolutional network of the blog post *Training a Vision Transformer on MNIST*."""

import torch
from torch import Tensor, nn

from pixelpatch.models.dropout import Dropout


class Cnn(nn.Module):
    """Two 3×3 convolutions, max-pool, two fully connected layers: PyTorch's basic MNIST example, as the post has it.

    The post's final log-softmax is left to the loss: cross-entropy of logits is the negative log likelihood of their
    log-softmax.
    """

    def __init__(self, *, dropout_features: float, dropout_hidden: float, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),
            nn.MaxPool2d(2),  # the post has ReLU first; max-pool and ReLU commute, and this way round costs a quarter
            nn.ReLU(),
            Dropout(dropout_features),
        ).to(memory_format=torch.channels_last)  # a sixth faster on a CPU; the function is the same
        self.classifier = nn.Sequential(
            nn.Linear(9216, 128), nn.ReLU(), Dropout(dropout_hidden), nn.Linear(128, classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        """`images` [B, 1, 28, 28] → logits [B, classes]."""
        images = images.to(memory_format=torch.channels_last)
        return self.classifier(self.features(images).flatten(1))  # [B, 64·12·12 = 9216] before the classifier
