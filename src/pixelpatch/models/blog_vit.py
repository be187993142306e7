"""The patch-7 ViT of the blog post *Training a Vision Transformer on MNIST*, quirks included."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pixelpatch.checks import patch_divides_image, raise_first
from pixelpatch.models.patches import patches
from pixelpatch.models.transformer import Encoder


class BlogVit(nn.Module):
    """A ViT whose attention mixes the images of a batch instead of the patches of an image.

    The post's quirks are options; as documented they are `attend_over="batch"` (PyTorch's encoder layer was given
    batch-first data with `batch_first=False`), `trainable_class_token=False`, `normalise_tokens=True` (`F.normalize`
    along the token axis), `layer_init="copied"` (see `Encoder`) and `head_activation="none"` (nothing between the
    head's first two layers; `"tanh"` puts there what stands between the last two). Dropout is at the encoder's four
    sites, and nowhere else. Raises ValueError where `patch` does not divide `image`.
    """

    def __init__(
        self,
        *,
        image: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        dropout: float,
        attend_over: str,
        trainable_class_token: bool,
        normalise_tokens: bool,
        layer_init: str = "independent",
        head_activation: str = "none",
        classes: int = 10,
    ) -> None:
        super().__init__()
        raise_first(patch_divides_image(patch=patch, image=image))
        self.patch = patch
        self.attend_over, self.normalise_tokens = attend_over, normalise_tokens
        self.sequence_length = (image // patch) ** 2
        self.embed = nn.Linear(patch * patch, width)
        self.class_token = nn.Parameter(torch.randn(1, 1, width), requires_grad=trainable_class_token)
        self.positions = nn.Embedding(self.sequence_length + 1, width)
        self.encoder = Encoder(
            depth=depth, width=width, heads=heads, hidden=hidden, dropout=dropout, norm="post", layer_init=layer_init
        )
        between = [nn.Tanh()] if head_activation == "tanh" else []
        self.head = nn.Sequential(
            nn.Linear(width, 250), *between, nn.Linear(250, 100), nn.Tanh(), nn.Linear(100, classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        """`images` [B, 1, H, W] → logits [B, classes]; over the batch, each image's logits depend on all the others."""
        x = self.embed(patches(images, self.patch))  # [B, N, D]
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1) + self.positions.weight  # [B, 1 + N, D]
        if self.normalise_tokens:
            x = F.normalize(x, dim=1)
        if self.attend_over == "patches":
            return self.head(self.encoder(x, rows=1)[:, 0])
        # Attention runs along the batch, at each token position by itself, and the head reads position 0 alone: the
        # encoder's output at the other 16 positions is never used, so they are not computed.
        batch = x[:, :1].transpose(0, 1)  # [1, B, D]: the batch is the sequence
        return self.head(self.encoder(batch)[0])


MODEL = BlogVit
