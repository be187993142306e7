"""The vision transformer of any patch size; with patch 1 it is the pixel transformer."""

import math

import torch
from torch import Tensor, nn

from pixelpatch.checks import patch_divides_image, raise_first
from pixelpatch.models.dropout import Dropout
from pixelpatch.models.patches import patches
from pixelpatch.models.transformer import Encoder


class VisionTransformer(nn.Module):
    """ViT (Dosovitskiy et al. 2021); patch 1 gives one token per pixel (Nguyen et al. 2024, arXiv:2406.09415).

    `position_slots` allocates more position embeddings than are used (a documented oddity of `vit4_assignment`).
    `embedding_std` is the standard deviation of the class token and the learned positions at the start.
    `head_norm` puts a LayerNorm before the classifier. `dropout` is on embeddings too; the other options are those of
    `Encoder` and `TransformerBlock`. Raises ValueError where `patch` does not divide `image` or `heads` does not divide
    `width`.
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
        norm: str,
        dropout: float,
        attention_dropout: float,
        positions: str,
        head_norm: bool,
        attention_output_dropout: float | None = None,
        attention_init: str = "multihead",
        layer_init: str = "independent",
        shared_norm: bool = False,
        embedding_std: float = 1.0,
        position_slots: int | None = None,
        classes: int = 10,
    ) -> None:
        super().__init__()
        raise_first(patch_divides_image(patch=patch, image=image))
        self.patch = patch
        self.sequence_length = (image // patch) ** 2
        tokens = self.sequence_length + 1
        self.embed = nn.Linear(patch * patch, width)
        self.class_token = nn.Parameter(torch.randn(1, 1, width) * embedding_std)
        if positions == "learned":
            self.positions = nn.Parameter(torch.randn(1, position_slots or tokens, width) * embedding_std)
        else:
            self.register_buffer("positions", sincos_positions(tokens, width), persistent=False)
        self.dropout = Dropout(dropout)
        self.encoder = Encoder(
            depth=depth,
            width=width,
            heads=heads,
            hidden=hidden,
            dropout=dropout,
            attention_dropout=attention_dropout,
            attention_output_dropout=attention_output_dropout,
            attention_init=attention_init,
            layer_init=layer_init,
            norm=norm,
            shared_norm=shared_norm,
        )
        self.head = nn.Sequential(nn.LayerNorm(width) if head_norm else nn.Identity(), nn.Linear(width, classes))

    def forward(self, images: Tensor) -> Tensor:
        """`images` [B, 1, H, W] → logits [B, classes]."""
        x = self.embed(patches(images, self.patch))  # [B, N, D]
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)  # [B, 1 + N, D]
        x = self.dropout(x + self.positions[:, : x.shape[1]])
        return self.head(self.encoder(x, rows=1)[:, 0])


def sincos_positions(tokens: int, width: int) -> Tensor:
    """Fixed sine/cosine position embeddings [1, tokens, width] (Vaswani et al. 2017, §3.5)."""
    position = torch.arange(tokens).unsqueeze(1)  # [T, 1]
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))  # [⌈D/2⌉]
    angles = position * rate
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[None, :, :width]


MODEL = VisionTransformer
