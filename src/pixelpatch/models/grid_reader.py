"""The encoder-decoder that reads a 2×2 grid of digits as a sequence of tokens."""

import torch
from torch import Tensor, nn

from pixelpatch.checks import patch_divides_image, raise_first
from pixelpatch.models.dropout import Dropout
from pixelpatch.models.patches import patches
from pixelpatch.models.transformer import Encoder, TransformerBlock

# Ten digits and three more tokens: the write-up counts 13 and names two. The third is used here alone, to pad with.
START, FINISH, PAD = 10, 11, 12
VOCABULARY = 13


class GridReader(nn.Module):
    """Transformer encoder over image patches and a causal decoder over tokens (Vaswani et al. 2017, fig. 1).

    The encoder has `depth` blocks, the decoder `decoder_depth` (as many, unless given). `final_norm` ends both in a
    LayerNorm, as `torch.nn.Transformer` does. The modules are made in the order of the author's (repository
    Nicocro/w3-vit-mnist, `model/`), so that one seed draws the same weights. Raises ValueError where `patch` does not
    divide `image` or `heads` does not divide `width`.
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
        norm: str,
        activation: str,
        decoder_depth: int | None = None,
        attention_init: str = "multihead",
        final_norm: bool = True,
        length: int = 5,
    ) -> None:
        super().__init__()
        raise_first(patch_divides_image(patch=patch, image=image))
        self.patch = patch
        self.sequence_length = (image // patch) ** 2
        self.vocabulary = VOCABULARY
        decoder_depth = depth if decoder_depth is None else decoder_depth
        block = dict(width=width, heads=heads, hidden=hidden, dropout=dropout, norm=norm, activation=activation)
        block["attention_init"] = attention_init
        self.embed = nn.Linear(patch * patch, width)
        self.patch_positions = nn.Parameter(torch.randn(1, self.sequence_length, width))
        self.encoder = Encoder(depth=depth, **block)
        self.encoder_norm = nn.LayerNorm(width) if final_norm else nn.Identity()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.token_positions = nn.Parameter(torch.randn(1, length, width))
        self.decoder = nn.ModuleList(TransformerBlock(cross_attention=True, **block) for _ in range(decoder_depth))
        self.decoder_norm = nn.LayerNorm(width) if final_norm else nn.Identity()
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        """`images` [B, 1, H, W] and the tokens so far [B, T] → logits of each next token [B, T, vocabulary]."""
        return self.decode(self.encode(images), tokens)

    def encode(self, images: Tensor) -> Tensor:
        """`images` [B, 1, H, W] → memory [B, N, D]."""
        x = self.embed(patches(images, self.patch)) + self.patch_positions
        return self.encoder_norm(self.encoder(self.dropout(x)))

    def decode(self, memory: Tensor, tokens: Tensor) -> Tensor:
        """`memory` [B, N, D] and the tokens so far [B, T] → logits of each next token [B, T, vocabulary]."""
        x = self.dropout(self.tokens(tokens) + self.token_positions[:, : tokens.shape[1]])
        for block in self.decoder:
            x = block(x, memory, causal=True)
        return self.head(self.decoder_norm(x))

    @torch.no_grad()
    def read(self, images: Tensor, *, digits: int = 4) -> Tensor:
        """Greedy decoding from `<start>`: [B, 1, H, W] → tokens [B, digits], padded after `<finish>`."""
        memory = self.encode(images)
        tokens = torch.full((len(images), 1), START, device=images.device)
        for _ in range(digits):
            best = self.decode(memory, tokens)[:, -1].argmax(dim=-1)  # [B]
            finished = (tokens[:, -1] == FINISH) | (tokens[:, -1] == PAD)
            tokens = torch.cat([tokens, best.masked_fill(finished, PAD).unsqueeze(1)], dim=1)
        return tokens[:, 1:]


MODEL = GridReader
