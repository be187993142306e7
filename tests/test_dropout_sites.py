"""Where and how much each system drops, from the masks that a forward pass applies, against SYSTEMS.md."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from configurations import CONFIG
from torch import Tensor, nn
from torch.nn import functional as F

from pixelpatch.checks import image_side
from pixelpatch.models import build_model, kernels
from pixelpatch.models.dropout import Dropout
from pixelpatch.models.transformer import Attention

# By hand, in the order in which a forward pass comes to them: what is dropped, and its rate. Attention weights are
# called so; everything else by its number of features, which tells an MLP's hidden features from its output.
SITES: dict[str, list[tuple[Any, float]]] = {
    "pixel_transformer": [(128, 0.1), *[("weights", 0.1), (128, 0.1), (512, 0.1), (128, 0.1)] * 6],
    "blog_cnn": [((64, 12, 12), 0.25), (128, 0.5)],
    "blog_vit": [("weights", 0.1), (500, 0.1), (3000, 0.1), (500, 0.1)] * 4,
    "seq2seq_2x2": [],
    "vit16_tiny": [],
    "vit4_assignment": [(64, 0.1), *[("weights", 0.1), (128, 0.1), (64, 0.1)] * 3],
}
systems = pytest.mark.parametrize("system", SITES)


@contextmanager
def recorded() -> Iterator[list[tuple[Any, float, float, int]]]:
    """Of every mask applied meanwhile: what it is of, its rate as called, the share that it drops, of how many."""
    found: list[tuple[Any, float, float, int]] = []

    def elementwise(real: Callable[..., Tensor], rate_of: Callable[..., float]) -> Callable[..., Tensor]:
        def spy(x: Tensor, *given: Any, **named: Any) -> Tensor:
            out, rate = real(x, *given, **named), rate_of(*given, **named)
            if rate:
                alive = x != 0
                features = tuple(x.shape[1:]) if x.dim() == 4 else x.shape[-1]
                found.append((features, rate, float((out[alive] == 0).double().mean()), int(alive.sum())))
            return out

        return spy

    def of_weights(real: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def spy(q: Tensor, k: Tensor, v: Tensor, *given: Any, **named: Any) -> Tensor:
            named |= dict(zip(("attn_mask", "dropout_p", "is_causal"), given, strict=False))  # PyTorch's order
            if rate := named.get("dropout_p", 0.0):
                with torch.no_grad():
                    # Of equal weights and one-hot values, an output is 0 where its weight was dropped.
                    heads = named.get("heads", 1)
                    size, keys = v.shape[-1] // heads, v.shape[-2]
                    shown = torch.eye(keys, size).repeat(1, heads)
                    out = real(torch.zeros_like(q), k, shown.expand_as(v).contiguous(), **named)
                    out = out.unflatten(-1, (heads, size))[..., :keys]
                found.append(("weights", rate, float((out == 0).double().mean()), out.numel()))
            return real(q, k, v, **named)

        return spy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "dropout", elementwise(kernels.dropout, lambda p: p))
        patch.setattr(kernels, "activated_dropout", elementwise(kernels.activated_dropout, lambda activation, p: p))
        patch.setattr(kernels, "attention", of_weights(kernels.attention))
        patch.setattr(F, "dropout", elementwise(F.dropout, lambda p=0.5, training=True, inplace=False: training * p))
        patch.setattr(F, "scaled_dot_product_attention", of_weights(F.scaled_dot_product_attention))
        yield found


def sites(model: nn.Module, inputs: tuple[Tensor, ...]) -> list[tuple[Any, float]]:
    """What the model drops in a forward pass, and at which rates."""
    with recorded() as found, torch.no_grad():
        model(*inputs)
    return [(what, rate) for what, rate, *_ in found]


def documented(system: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The system's model in training mode, and a batch for it."""
    torch.manual_seed(0)
    spec = CONFIG["experiments"][system]["spec"]
    side, count = image_side(spec["data"]), 1 if system == "pixel_transformer" else 8
    images = torch.rand(count, 1, side, side)
    tokens = (torch.randint(10, (count, 5)),) if "grids" in spec["data"] else ()
    return build_model(spec["model"], image=side).train(), (images, *tokens)


@pytest.fixture(params=["compiled", "PyTorch's"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways that a model can go."""
    if request.param != "compiled":
        monkeypatch.setattr(kernels, "library", lambda: None)
    elif kernels.library() is None:
        pytest.skip("this machine has no C compiler")


@systems
def test_a_system_drops_where_and_as_much_as_documented(either: None, system: str) -> None:
    model, inputs = documented(system)
    with recorded() as found, torch.no_grad():
        model(*inputs)
    assert [(what, rate) for what, rate, *_ in found] == SITES[system]
    for what, rate, share, count in found:  # the masks are applied, at their rates
        assert abs(share - rate) < 6 * math.sqrt(rate * (1 - rate) / count) + 1e-4, what
    assert sites(model.eval(), inputs) == []


def places(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Every module that drops or could drop, and the attribute that is its rate."""
    rates = [(module, "p") for module in model.modules() if isinstance(module, Dropout)]
    return rates + [(module, "dropout") for module in model.modules() if isinstance(module, Attention)]


@systems
def test_no_site_can_go_or_change_unseen(system: str) -> None:
    """One at a time, each site is taken away, and each place that could drop is given another rate."""
    model, inputs = documented(system)
    found = places(model)
    assert sum(getattr(*place) > 0 for place in found) == len(SITES[system])
    assert len(found) >= 3 or system == "blog_cnn"
    for module, name in found:
        own = getattr(module, name)
        for other in {0.0, 0.2} - {own}:
            setattr(module, name, other)
            assert sites(model, inputs) != SITES[system], (name, other)
        setattr(module, name, own)
    assert sites(model, inputs) == SITES[system]
