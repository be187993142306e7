"""The compiled functions against PyTorch's own operations, given the same masks; and the masks themselves."""

import ctypes
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from pixelpatch.models import kernels
from pixelpatch.models.cnn import PooledConv
from pixelpatch.models.dropout import ActivatedDropout, Dropout, dropout
from pixelpatch.models.transformer import attend

needs_compiler = pytest.mark.skipif(kernels.library() is None, reason="this machine has no C compiler")


@pytest.fixture(params=["compiled", "PyTorch's"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways that a model can go."""
    if request.param != "compiled":
        monkeypatch.setattr(kernels, "library", lambda: None)
    elif kernels.library() is None:
        pytest.skip("this machine has no C compiler")


def mask_of(p: float, *shape: int) -> Tensor:
    """The mask that the next draw from the generator's present state will give; the state is left as it is."""
    state = torch.get_rng_state()
    mask = kernels.dropout(torch.ones(shape), p)
    torch.set_rng_state(state)
    return mask


def attention_mask(p: float, rows: int, keys: int) -> Tensor:
    """Attention's: each row draws for whole chunks of 64 keys, numbered within the row."""
    drop, ones = kernels.draw(p), torch.ones(64 * math.ceil(keys / 64))
    masks = []
    for row in range(rows):
        out = torch.empty_like(ones)
        kernels.library().mask_row(
            ctypes.c_void_p(out.data_ptr()), ctypes.byref(drop), ctypes.c_long(row), ctypes.c_long(len(out) // 64)
        )
        masks.append(out[:keys])
    return torch.stack(masks)


@needs_compiler
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the known answers of the Random123 library, for 13 rounds
        ((0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0xFD36D048, 0x2D17272C)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xBA3E4725, 0xF27D669E)),
    ],
)
def test_random_words_are_threefry_s(counter: tuple[int, int], key: tuple[int, int], expected: tuple[int, int]) -> None:
    words = [(ctypes.c_uint32 * 16)(*[word] * 16) for word in counter]
    kernels.library().threefry_words(*words, (ctypes.c_uint32 * 2)(*key))
    assert [set(word) for word in words] == [{word} for word in expected]


@needs_compiler
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5])
@pytest.mark.parametrize(("queries", "keys"), [(1, 50), (5, 5), (16, 17), (70, 65), (33, 33), (8, 64), (130, 131)])
def test_attention_is_the_formula(queries: int, keys: int, p: float, causal: bool) -> None:
    """Outputs and all gradients, given the same mask, of tensors that are parts of larger ones."""
    torch.manual_seed(queries)
    heads, width = 3, 48
    q, k, v = (torch.randn(2, count, 3 * width)[..., :width].requires_grad_() for count in (queries, keys, keys))
    state = torch.get_rng_state()
    mask = attention_mask(p, 2 * heads * queries, keys).view(2, heads, queries, keys).double()
    torch.set_rng_state(state)
    ours = kernels.attention(q, k, v, heads=heads, dropout_p=p, causal=causal)

    split = [t.double().unflatten(-1, (heads, 16)).transpose(1, 2) for t in (q, k, v)]
    scores = split[0] @ split[1].transpose(-2, -1) / 4
    if causal:
        scores = scores.masked_fill(torch.ones(queries, keys, dtype=torch.bool).triu(1), -torch.inf)
    theirs = ((scores.softmax(-1) * mask) @ split[2]).transpose(1, 2).flatten(-2)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=2e-6)
    direction = torch.randn_like(ours)
    expected = torch.autograd.grad(theirs, (q, k, v), direction.double())
    for a, b in zip(torch.autograd.grad(ours, (q, k, v), direction), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=5e-6)


@needs_compiler
@pytest.mark.parametrize("size", [1e-3, 30.0, 1e4])
def test_attention_of_small_and_of_huge_scores(size: float) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 20, 32) for _ in range(3))
    theirs = F.scaled_dot_product_attention(*(t.unflatten(-1, (2, 16)).transpose(1, 2) for t in (size * q, k, v)))
    ours = kernels.attention(size * q, k, v, heads=2)
    torch.testing.assert_close(ours, theirs.transpose(1, 2).flatten(-2), rtol=1e-4, atol=max(1e-5, 1e-7 * size))


@needs_compiler
def test_threads_share_the_work_without_changing_it() -> None:
    q = torch.randn(5, 20, 32, requires_grad=True)

    def result() -> list[Tensor]:
        torch.manual_seed(3)
        y = kernels.attention(q, q, q, heads=2, dropout_p=0.2)
        y = kernels.activated_dropout(kernels.dropout(y, 0.1), "gelu", 0.1)
        return [y, *torch.autograd.grad(y.square().sum(), q)]

    alone = result()
    torch.set_num_threads(2)
    try:
        together = result()
    finally:
        torch.set_num_threads(1)
    for a, b in zip(alone, together, strict=True):
        assert torch.equal(a, b)


@needs_compiler
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("shape", [(1,), (63,), (7, 64), (3, 5, 129), (0, 4)])
def test_activations_are_pytorch_s(activation: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = (4 * torch.randn(shape)).requires_grad_()
    mask = mask_of(0.2, *shape)
    ours = kernels.activated_dropout(x, activation, 0.2)
    theirs = getattr(F, activation)(x.double()) * mask
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-6)
    direction = torch.randn_like(x)
    (a,), (b,) = torch.autograd.grad(ours, x, direction), torch.autograd.grad(theirs, x, direction.double())
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_gelu_far_from_zero(either: None) -> None:
    x = torch.tensor([-100.0, -12.0, -6.0, 0.0, 6.0, 12.0, 100.0])
    torch.testing.assert_close(
        ActivatedDropout("gelu", 0.1).eval()(x), F.gelu(x.double()).float(), atol=1e-6, rtol=1e-6
    )


@needs_compiler
def test_a_pooled_convolution_is_pytorch_s() -> None:
    torch.manual_seed(0)
    layer = PooledConv(32, 64).to(memory_format=torch.channels_last)
    x = torch.randn(3, 32, 26, 26, requires_grad=True)
    direction = torch.randn(3, 64, 12, 12) * (torch.rand(3, 64, 12, 12) > 0.25)
    ours = layer(x)
    theirs = F.relu(F.max_pool2d(layer.conv.double()(x.double().relu()), 2))
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)
    expected = torch.autograd.grad(theirs, (x, *layer.parameters()), direction.double())
    layer.float()
    gradients = torch.autograd.grad(layer(x), (x, *layer.parameters()), direction)
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a.double(), b.double(), rtol=1e-4, atol=1e-4)


def test_of_equal_numbers_the_first_takes_the_gradient(either: None) -> None:
    """As in PyTorch's max-pool; and where ReLU leaves nothing, none does."""
    layer = PooledConv(32, 16)
    torch.nn.init.zeros_(layer.conv.weight)
    torch.nn.init.constant_(layer.conv.bias, 1.0)
    x = torch.ones(1, 32, 6, 6)
    layer(x).sum().backward()
    assert layer.conv.bias.grad.tolist() == [4.0] * 16
    assert layer.conv.weight.grad.unique().tolist() == [4.0]
    torch.nn.init.constant_(layer.conv.bias, -1.0)
    layer.zero_grad()
    layer(x).sum().backward()
    assert not layer.conv.bias.grad.any()
    assert not layer.conv.weight.grad.any()


def test_dropout_in_attention_has_the_mean_of_attention_without(either: None) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 4, 16) for _ in range(3))

    def draw(p: float) -> Tensor:
        return attend(q, k, v, heads=1, dropout_p=p, causal=False)

    many = torch.stack([draw(0.3) for _ in range(4000)])
    error = many.std(dim=0) / math.sqrt(len(many))
    assert ((many.mean(dim=0) - draw(0.0)).abs() < 5 * error).all()


@needs_compiler
@given(p=st.floats(0.01, 0.95), seed=st.integers(0, 2**31))
@settings(max_examples=25)
def test_dropout_drops_at_its_rate_and_keeps_the_mean(p: float, seed: int) -> None:
    torch.manual_seed(seed)
    count = 200_001  # no multiple of 64
    y = dropout(torch.ones(count), p)
    dropped = int((y == 0).sum())
    assert abs(dropped - count * p) < 6 * math.sqrt(count * p * (1 - p)) + count * 2**-17
    kept = y[y != 0]
    assert (kept == kept[0]).all()
    assert float(kept[0]) == pytest.approx(1 / (1 - p), rel=2**-16 / (1 - p))


def test_dropout_masks_are_independent_along_and_between_draws(either: None) -> None:
    torch.manual_seed(1)
    p, n = 0.25, 400_000
    masks = torch.stack([(dropout(torch.ones(n), p) == 0).double() for _ in range(2)])
    bound = 5 / math.sqrt(n)
    for lag in (1, 2, 3, 15, 16, 17, 32, 48, 64):  # elements 16 apart share a random word
        pair = torch.stack([masks[0, :-lag], masks[0, lag:]])
        assert abs(float(torch.corrcoef(pair)[0, 1])) < bound, lag
    assert abs(float(torch.corrcoef(masks)[0, 1])) < bound


def test_dropout_is_the_identity_in_evaluation_and_passes_gradients_through_its_mask(either: None) -> None:
    layer, x = Dropout(0.5), torch.randn(1000, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert torch.equal(x.grad != 0, y != 0)
    torch.testing.assert_close(x.grad[x.grad != 0], torch.full_like(x.grad[x.grad != 0], 2.0))
    assert torch.equal(layer.eval()(x), x)
    with pytest.raises(ValueError, match=r"dropout is 1.0"):
        Dropout(1.0)


@needs_compiler
def test_attention_s_masks_are_independent_along_rows_and_between_them() -> None:
    torch.manual_seed(2)
    dropped = (attention_mask(0.25, 1000, 640) == 0).double()
    assert abs(float(dropped.mean()) - 0.25) < 5 * math.sqrt(0.25 * 0.75 / dropped.numel())
    for a, b in ((dropped[:-1], dropped[1:]), (dropped[:, :-16], dropped[:, 16:]), (dropped[:, :-64], dropped[:, 64:])):
        pair = torch.stack([a.flatten(), b.flatten()])
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 5 / math.sqrt(pair.shape[1])


@needs_compiler
@pytest.mark.parametrize("of", [lambda x: x[::2], lambda x: x.t(), lambda x: x.expand(3, *x.shape)])
def test_any_layout_of_memory_will_do(of: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(6, 5, requires_grad=True)
    y = dropout(of(x), 0.5)
    y.sum().backward()
    torch.testing.assert_close(y[y != 0], 2 * of(x)[y != 0])
    assert float(x.grad.sum()) == pytest.approx(2 * int((y != 0).sum()))


@needs_compiler
def test_channels_last_stays_channels_last() -> None:
    x = torch.randn(2, 8, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    y = dropout(x, 0.5)
    assert y.is_contiguous(memory_format=torch.channels_last)
    y.backward(torch.ones(2, 8, 3, 3))  # a gradient in another layout
    torch.testing.assert_close(x.grad, torch.where(y != 0, 2.0, 0.0))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_none_is_not_lost(either: None, bad: float) -> None:
    """A diverged run is known by its loss: no operation may turn what is no number into one."""
    for activation in ("relu", "gelu"):
        x = torch.randn(70)
        x[[3, 66]] = bad
        y = ActivatedDropout(activation, 0.0)(x)
        assert y.isfinite().logical_not().nonzero().flatten().tolist() == [3, 66]
    layer = PooledConv(32, 16)
    for row, column in ((0, 0), (0, 5), (5, 0), (5, 5)):  # each reaches one output of the convolution
        x = torch.rand(1, 32, 6, 6)
        x[0, 5, row, column] = math.nan
        assert layer(x).isnan().all(dim=1).flatten().nonzero().item() == 2 * (row > 0) + (column > 0)
    for where in range(3):
        qkv = [torch.randn(1, 20, 16) for _ in range(3)]
        qkv[where][0, 7, 2] = bad
        y = attend(*qkv, heads=1, dropout_p=0.0, causal=False)
        assert not y[0, 7].isfinite().all()


@pytest.mark.parametrize(
    ("compiler", "why"),
    [("no-compiler -x", "No such file or directory"), ("false", "returned non-zero exit status 1"), ("'", "quotation")],
)
def test_without_a_compiler_the_reason_is_known(
    compiler: str, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "false").symlink_to(shutil.which("false"))
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setenv("PATH", str(tmp_path))  # which has no cc either
    found, said = kernels._library.__wrapped__()
    assert found is None
    assert why in said
    assert "\n" not in said


@needs_compiler
def test_where_cc_names_no_compiler_the_machine_s_own_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-compiler")
    assert kernels._library.__wrapped__()[1] is None


@needs_compiler
def test_where_the_cache_may_hold_no_program_the_library_loads_from_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on a home that is mounted with noexec."""
    load = ctypes.CDLL

    def refuse(path: str) -> ctypes.CDLL:
        if Path(path).is_relative_to(tmp_path):
            raise OSError(f"{path}: failed to map segment from shared object")
        return load(path)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    found, why = kernels._library.__wrapped__()
    assert why is None
    assert Path(found._name).name == Path(kernels.library()._name).name  # of which a saved state tells machines apart


@needs_compiler
def test_a_damaged_library_is_compiled_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    damaged = tmp_path / "pixelpatch" / Path(kernels.library()._name).name
    damaged.parent.mkdir()
    damaged.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kernels._library.__wrapped__()[1] is None
    assert damaged.stat().st_size > 0
    assert list(damaged.parent.iterdir()) == [damaged]


@needs_compiler
@pytest.mark.parametrize("home", ["missing", "read-only"])
def test_without_a_home_the_library_is_compiled_all_the_same(
    home: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "read-only").touch()  # a file where a folder should be: no one, root neither, can write into it
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / home / "of" / "none") if home == "missing" else str(tmp_path / home))
    assert kernels._library.__wrapped__()[1] is None


@needs_compiler
def test_tensors_of_autocast_take_pytorch_s_operations() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert not kernels.usable(torch.zeros(1))
    assert kernels.usable(torch.zeros(1))


@needs_compiler
def test_rows_that_share_their_memory_have_gradients_of_their_own() -> None:
    torch.manual_seed(0)
    row = torch.randn(1, 1, 16, requires_grad=True)
    x = row.expand(2, 20, 16)
    q = torch.randn(2, 20, 16)
    ours, theirs = kernels.attention(q, x, x, heads=1), F.scaled_dot_product_attention(q, x, x)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(y.square().sum(), row)[0] for y in (ours, theirs)))


@pytest.mark.parametrize(
    ("channels", "out", "height", "width"), [(16, 16, 6, 6), (32, 8, 6, 6), (32, 16, 7, 6), (32, 16, 6, 7)]
)
def test_other_convolutions_take_pytorch_s_operations(channels: int, out: int, height: int, width: int) -> None:
    layer, x = PooledConv(channels, out), torch.randn(1, channels, height, width)
    torch.testing.assert_close(layer(x), F.relu(F.max_pool2d(layer.conv(x.relu()), 2)))


def test_double_precision_and_other_heads_take_pytorch_s_operations() -> None:
    x = torch.randn(2, 3, 12, dtype=torch.float64)
    assert not kernels.usable(x)
    torch.manual_seed(0)
    y = attend(x, x, x, heads=4, dropout_p=0.0, causal=False)
    split = x.unflatten(-1, (4, 3)).transpose(1, 2)
    torch.testing.assert_close(y, F.scaled_dot_product_attention(split, split, split).transpose(1, 2).flatten(-2))
