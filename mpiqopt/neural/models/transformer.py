"""A small decoder-only transformer, for texts of characters or other tokens."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mpiqopt.neural.layers import Chain, ShapeError, fill_uniform
from mpiqopt.neural.options import OptionError, Size

# of a uniform distribution that has the standard deviation .02 of GPT-2's normal one
BOUND = 0.02 * math.sqrt(3)


class Embedding(nn.Module):
    """Vectors of tokens plus vectors of positions."""

    def __init__(self, vocabulary: int, length: int, width: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(length, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return (batch, T, width) for tokens (batch, T), integers or floats that are whole, T at most ``length``."""
        return self.tokens(tokens.long()) + self.positions.weight[: tokens.shape[1]]


class Attention(nn.Module):
    """Causal self-attention: softmax(Q K^T/sqrt(width/heads)) V with tokens after one's own left out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inward, self.outward = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return (batch, T, width) for vectors (batch, T, width)."""
        parts = self.inward(vectors).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.outward(mixed.transpose(1, 2).flatten(2))


class DecoderLayer(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)): norms before, as in GPT-2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), Attention(width, heads))
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return (batch, T, width) for vectors (batch, T, width)."""
        vectors = vectors + self.attention(vectors)
        return vectors + self.feed_forward(vectors)


def build(shape: tuple[int, ...], outputs: int, *, layers: Size = 2, heads: Size = 4, width: Size = 128) -> nn.Module:
    """Return a decoder: tokens (batch, T) to logits (batch, T, outputs) of the token after each.

    The layout of GPT-2 (Radford et al., 2019) with dropout left out and an output that is not tied to the embedding, so
    that every parameter belongs to one block. A layer has 12 width^2 + 13 width parameters.

    Parameters
    ----------
    shape : (T,), the most tokens of an input; positions are learned. outputs : the vocabulary.
    layers : blocks between embedding and output. heads : of attention. width : of the vectors, a multiple of heads.

    Raises ShapeError if samples are no rows of tokens, OptionError if heads do not divide the width.
    """
    if len(shape) != 1:
        raise ShapeError("want (T,), tokens of a text")
    if width % heads:
        raise OptionError(f"width = {width}: want a multiple of heads = {heads}")
    blocks: dict[str, nn.Module] = {"embedding": Embedding(outputs, shape[0], width)}
    blocks |= {f"layer{k}": DecoderLayer(width, heads) for k in range(1, layers + 1)}
    blocks["output"] = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs, bias=False))
    return Chain(blocks, _draw)


def _draw(model: nn.Module, stream: np.random.Generator) -> None:
    """Draw weights with standard deviation .02, over sqrt(2 layers) where they add to the residual; biases are 0."""
    layers = [module for module in model.modules() if isinstance(module, DecoderLayer)]
    residual = {id(last) for layer in layers for last in (layer.attention[1].outward, layer.feed_forward[3])}
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            added = id(module) in residual
            fill_uniform(module.weight, stream, BOUND / math.sqrt(2 * len(layers)) if added else BOUND)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
