"""The models as their write-ups have them, from stock `torch.nn` layers, in the sizes of the spec in config.yaml."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VOCABULARY = 13


class PixelTransformer(nn.Module):
    """`pixel_transformer`: PyTorch's transformer encoder, post-norm, all layers copies of one, on a token per pixel."""

    def __init__(self, *, width: int, depth: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Linear(1, width)
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 28 * 28 + 1, width))
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(width, heads, hidden, dropout, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 10))

    def forward(self, images: Tensor) -> Tensor:
        """`images` [B, 1, 28, 28] → logits [B, 10]."""
        x = self.embed(images.flatten(1).unsqueeze(-1))
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)
        x = self.encoder(self.dropout(x + self.positions))
        return self.head(x[:, 0])


class BlogCnn(nn.Module):
    """`blog_cnn`: the layers in the post's order."""

    def __init__(self, *, dropout_features: float, dropout_hidden: float) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        self.dropout1, self.dropout2 = nn.Dropout(dropout_features), nn.Dropout(dropout_hidden)
        self.fc1, self.fc2 = nn.Linear(9216, 128), nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        """`images` [B, 1, 28, 28] → log-probabilities [B, 10]."""
        x = F.relu(self.conv2(F.relu(self.conv1(images))))
        x = self.dropout1(F.max_pool2d(x, 2)).flatten(1)
        x = self.dropout2(F.relu(self.fc1(x)))
        return F.log_softmax(self.fc2(x), dim=1)


class BlogVit(nn.Module):
    """`blog_vit`: the encoder is given batch-first data with `batch_first=False`; all 17 positions are computed."""

    def __init__(self, *, patch: int, width: int, depth: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(patch * patch, width)
        self.register_buffer("class_token", torch.randn(1, 1, width))
        self.positions = nn.Embedding((28 // patch) ** 2 + 1, width)
        layer = nn.TransformerEncoderLayer(width, heads, hidden, dropout, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Linear(width, 250), nn.Linear(250, 100), nn.Tanh(), nn.Linear(100, 10))

    def forward(self, images: Tensor) -> Tensor:
        """`images` [B, 1, 28, 28] → log-probabilities [B, 10]."""
        x = self.embed(F.unfold(images, self.patch, stride=self.patch).transpose(1, 2))
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)
        x = F.normalize(x + self.positions(torch.arange(x.shape[1], device=x.device)))
        return F.log_softmax(self.head(self.encoder(x)[:, 0]), dim=1)


class PlainAttention(nn.Module):
    """Attention by hand, from plain Linear layers: self-attention, or cross-attention to a memory."""

    def __init__(self, *, width: int, heads: int, cross: bool = False) -> None:
        super().__init__()
        self.heads, self.cross = heads, cross
        if cross:
            self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)
        else:
            self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """`x` [B, T, D], and with `cross` a memory [B, N, D] → [B, T, D]."""
        q, k, v = (self.q(x), *self.kv(memory).chunk(2, dim=-1)) if self.cross else self.qkv(x).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out(y.transpose(1, 2).flatten(2))


class PlainBlock(nn.Module):
    """A pre-norm block without dropout; with `cross`, a decoder's."""

    def __init__(self, *, width: int, heads: int, hidden: int, cross: bool = False) -> None:
        super().__init__()
        self.attention = PlainAttention(width=width, heads=heads)
        self.cross = PlainAttention(width=width, heads=heads, cross=True) if cross else None
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width) if cross else None

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """`x` [B, T, D], and of a decoder the memory [B, N, D] → [B, T, D]."""
        x = x + self.attention(self.norm1(x), causal=self.cross is not None)
        if self.cross is None:
            return x + self.mlp(self.norm2(x))
        x = x + self.cross(self.norm2(x), memory)
        return x + self.mlp(self.norm3(x))


class GridReader(nn.Module):
    """`seq2seq_2x2`: an encoder of patches and a decoder of tokens, both by hand, without a norm at their ends."""

    def __init__(self, *, patch: int, width: int, depth: int, decoder_depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        sizes = {"width": width, "heads": heads, "hidden": hidden}
        self.patch = patch
        self.patch_positions = nn.Parameter(torch.randn(1, (56 // patch) ** 2, width))
        self.token_positions = nn.Parameter(torch.randn(1, 5, width))
        self.embed = nn.Linear(patch * patch, width)
        self.encoder = nn.Sequential(*(PlainBlock(**sizes) for _ in range(depth)))
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.decoder = nn.ModuleList(PlainBlock(**sizes, cross=True) for _ in range(decoder_depth))
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        """`images` [B, 1, 56, 56] and tokens so far [B, T] → logits of each next token [B, T, 13]."""
        memory = self.embed(F.unfold(images, self.patch, stride=self.patch).transpose(1, 2)) + self.patch_positions
        memory = self.encoder(memory)
        x = self.tokens(tokens) + self.token_positions[:, : tokens.shape[1]]
        for block in self.decoder:
            x = block(x, memory)
        return self.head(x)


class TinyVit(nn.Module):
    """`vit16_tiny`: a convolution cuts the patches, sine/cosine positions, plain blocks, one Linear."""

    def __init__(self, *, image: int, patch: int, width: int, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        tokens = (image // patch) ** 2 + 1
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.embed = nn.Conv2d(1, width, kernel_size=patch, stride=patch)
        angles = torch.arange(tokens).unsqueeze(1) * torch.exp(torch.arange(0, width, 2) * -math.log(1e4) / width)
        self.register_buffer("positions", torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width])
        blocks = (PlainBlock(width=width, heads=heads, hidden=hidden) for _ in range(depth))
        self.encoder = nn.Sequential(*blocks)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """`images` [B, 1, 32, 32] → logits [B, 10]."""
        x = self.embed(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1) + self.positions
        return self.head(self.encoder(x)[:, 0])


class SharedNormBlock(nn.Module):
    """One pre-norm block of `vit4_assignment`: one LayerNorm for both halves; attention's output is not dropped."""

    def __init__(self, *, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width), nn.Dropout(dropout)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """`x` [B, T, D] → [B, T, D]."""
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm(x))


class AssignmentVit(nn.Module):
    """`vit4_assignment`: patches of 4×4, more positions than tokens."""

    def __init__(
        self, *, patch: int, width: int, depth: int, heads: int, hidden: int, dropout: float, position_slots: int
    ) -> None:
        super().__init__()
        self.patch = patch
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, position_slots, width))
        self.embed = nn.Linear(patch * patch, width)
        self.dropout = nn.Dropout(dropout)
        blocks = (SharedNormBlock(width=width, heads=heads, hidden=hidden, dropout=dropout) for _ in range(depth))
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 10))

    def forward(self, images: Tensor) -> Tensor:
        """`images` [B, 1, 28, 28] → logits [B, 10]."""
        x = self.embed(F.unfold(images, self.patch, stride=self.patch).transpose(1, 2))
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)
        x = self.dropout(x + self.positions[:, : x.shape[1]])
        return self.head(self.blocks(x)[:, 0])


def build_model(system: str, spec: dict[str, Any]) -> nn.Module:
    """The stock model of `system`, in the sizes of its spec."""

    def sizes(*names: str) -> dict[str, Any]:
        return {name: spec["model"][name] for name in names}

    usual = ("width", "depth", "heads", "hidden")
    match system:
        case "pixel_transformer":
            return PixelTransformer(**sizes(*usual, "dropout"))
        case "blog_cnn":
            return BlogCnn(**sizes("dropout_features", "dropout_hidden"))
        case "blog_vit":
            return BlogVit(**sizes("patch", *usual, "dropout"))
        case "seq2seq_2x2":
            return GridReader(**sizes("patch", *usual, "decoder_depth"))
        case "vit16_tiny":
            return TinyVit(image=spec["data"]["resize"], **sizes("patch", *usual))
        case "vit4_assignment":
            return AssignmentVit(**sizes("patch", *usual, "dropout", "position_slots"))
    raise ValueError(f"{system} has no baseline")
