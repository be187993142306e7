"""What PyTorch has no fast CPU operation for, in C: attention, activations and dropout, a pooled convolution.

On a CPU, PyTorch draws dropout masks one number at a time, and writes attention out in full where its weights are
dropped: the pixel transformer trains at 1.5 images per second on two cores. The functions of `kernels.c` compute the
same, in one pass, several times faster. They are compiled on first use by the machine's C compiler (`CC`, or `cc`).
Where there is none, `usable` is false and the models take PyTorch's operations: the same functions and distributions,
slower.

A dropout mask is a function of a key, drawn from PyTorch's generator, and of the element's place (Threefry, a
counter-based generator: Salmon et al. 2011), so the gradient draws it again instead of storing it. 16 bits decide an
element: the rate is `p` to within 1/131072, and what is kept is scaled by the rate applied, so the mean is exact.
"""

import ctypes
import hashlib
import math
import os
import shlex
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pixelpatch.errors import UserError
from pixelpatch.files import write_atomically

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
NHWC = torch.channels_last
FEATURES = 16  # of an attention head, the only number that the kernel is written for
CHANNELS = 32  # into a pooled convolution, likewise


class _Dropout(ctypes.Structure):
    _fields_ = (("key", ctypes.c_uint32 * 2), ("dropped", ctypes.c_uint32), ("scale", ctypes.c_float))


class _Attention(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_long) for name in ("heads", "queries", "keys")),
        *((f"{name}_{step}", ctypes.c_long) for step in ("row", "batch") for name in "qkv"),
        ("causal", ctypes.c_int),
        ("dropout", _Dropout),
    )


def library() -> ctypes.CDLL | None:
    """The compiled functions; None where they cannot be had."""
    return _library()[0]


def missing() -> str | None:
    """Why there is no `library`, in words; None where there is one."""
    return _library()[1]


@cache
def _library() -> tuple[ctypes.CDLL | None, str | None]:
    why = []
    for compiler in filter(None, (os.environ.get("CC"), "cc")):
        try:
            return _compiled(shlex.split(compiler)), None
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip() or str(error)
            why.append(said.splitlines()[0])
    return None, why[0]


def _compiled(compiler: list[str]) -> ctypes.CDLL:
    """Load the functions from the user's cache, or compile them into it.

    Where the cache cannot be used (a file system mounted with `noexec`), they load from a temporary folder.
    """
    # What the compiler is, and what this machine's processor can do: a shared home serves other machines too.
    target = _run([*compiler, "-march=native", "-dM", "-E", "-x", "c", os.devnull])
    name = hashlib.sha256(repr((target, FLAGS)).encode() + SOURCE.read_bytes()).hexdigest() + ".so"
    cached = _cache(name)
    if cached:
        with suppress(OSError):  # not there yet, or damaged
            return ctypes.CDLL(str(cached))
    with tempfile.TemporaryDirectory(prefix="pixelpatch-") as folder:
        made = Path(folder) / name
        _run([*compiler, *FLAGS, "-o", str(made), str(SOURCE), "-lm"])
        if cached:
            with suppress(OSError, UserError):
                write_atomically(cached, made.read_bytes())
                return ctypes.CDLL(str(cached))
        return ctypes.CDLL(str(made))  # stays loaded after its file is deleted


def _run(command: list[str]) -> bytes:
    return subprocess.run(command, capture_output=True, check=True, timeout=600).stdout


def _cache(name: str) -> Path | None:
    """Where the user's cache has a file of that name; None where there is no home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pixelpatch" / name
    except RuntimeError:
        return None


def usable(*tensors: Tensor) -> bool:
    """Whether the functions of this module take these tensors: float32 on a CPU, with a compiler there."""
    plain = all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)
    return plain and not torch.is_autocast_enabled("cpu") and library() is not None


def attention(q: Tensor, k: Tensor, v: Tensor, *, heads: int, dropout_p: float = 0.0, causal: bool = False) -> Tensor:
    """dropout(softmax(q·kᵀ/√16))·v: `q` [B, Q, heads·16], `k` and `v` [B, K, heads·16] → [B, Q, heads·16].

    Equal to PyTorch's `scaled_dot_product_attention` over heads. The weights are made a few rows at a time and again
    for the gradient, never stored (Dao et al. 2022).
    """
    return _AttentionFunction.apply(q, k, v, heads, causal, draw(dropout_p))


def dropout(x: Tensor, p: float) -> Tensor:
    """Inverted dropout (Srivastava et al. 2014) of `x`, any shape, as in training mode."""
    return _Elementwise.apply(x, draw(p), "dropout_each")


def activated_dropout(x: Tensor, activation: str, p: float) -> Tensor:
    """`dropout(activation(x), p)`, any shape; `activation` is relu or gelu (the exact one: Hendrycks & Gimpel 2016)."""
    return _Elementwise.apply(x, draw(p), f"{activation}_each")


def pooled_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`relu(max_pool2d(conv2d(relu(x), weight, bias), 2))`: `x` [B, 32, H, W] → [B, C, H/2 − 1, W/2 − 1].

    `weight` is [C, 32, 3, 3]; H and W are even. Of four outputs of the convolution at most one has a gradient, none
    where the ReLU or a dropout behind it gave zero: the gradients are made from those few alone.
    """
    return _PooledConv.apply(x, weight, bias)


def draw(p: float) -> _Dropout:
    """A mask of rate `p`: what decides it, drawn from PyTorch's generator."""
    dropped = min(round(p * 2**16), 2**16 - 1)  # of all 16-bit numbers
    key = int(torch.randint(2**62, ())) if dropped else 0
    return _Dropout((key & 0xFFFFFFFF, key >> 32), dropped, 2**16 / (2**16 - dropped))


class _AttentionFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool, mask: _Dropout) -> Tensor:
        # Rows may lie anywhere, but each somewhere of its own: their gradients are laid out the same.
        q, k, v = (t if t.stride(2) == 1 and 0 not in t.stride() else t.contiguous() for t in (q, k, v))
        ctx.shape = _Attention(
            heads, q.shape[1], k.shape[1], *(t.stride(i) for i in (1, 0) for t in (q, k, v)), causal, mask
        )
        out, logs = torch.empty(q.shape), torch.empty(len(q), heads, q.shape[1])
        _call("attention_forward", len(q), out, logs, q, k, v, ctx.shape)
        ctx.save_for_backward(q, k, v, out, logs)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, logs = ctx.saved_tensors
        gradients = [torch.empty_strided(t.shape, t.stride()) for t in (q, k, v)]
        _call("attention_gradient", len(q), *gradients, d_out.contiguous(), out, logs, q, k, v, ctx.shape)
        return *gradients, None, None, None


class _Elementwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: _Dropout, function: str) -> Tensor:
        if not (x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))):
            x = x.contiguous()
        ctx.mask, ctx.function, ctx.stride = mask, function, x.stride()
        if function != "dropout_each":  # dropout's gradient is dropout of the gradient
            ctx.save_for_backward(x)
        return _each(function, x, mask=mask)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if gradient.stride() != ctx.stride:
            gradient = torch.empty_strided(gradient.shape, ctx.stride).copy_(gradient)
        if ctx.saved_tensors:
            return _each(f"{ctx.function}_gradient", *ctx.saved_tensors, gradient, mask=ctx.mask), None, None
        return _each(ctx.function, gradient, mask=ctx.mask), None, None


class _PooledConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x, weight = x.relu().contiguous(memory_format=NHWC), weight.contiguous(memory_format=NHWC)
        count, channels, height, width = len(x), len(weight), x.shape[2] // 2 - 1, x.shape[3] // 2 - 1
        out = torch.empty(count, channels, height, width, memory_format=NHWC)
        which = torch.empty(count, height, width, channels, dtype=torch.uint8)
        ctx.shape = [ctypes.c_long(size) for size in (height, width, channels)]
        y = F.conv2d(x, weight, bias).contiguous(memory_format=NHWC)
        _call("pool", count, out, which, y, after=ctx.shape)
        ctx.save_for_backward(x, weight, which)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, ...]:
        x, weight, which = ctx.saved_tensors
        dx, dw, db = torch.empty_like(x), torch.zeros_like(weight), torch.zeros(len(weight))
        # One part only: all images add to the same dw and db.
        d = d.contiguous(memory_format=NHWC)
        _call("pool_gradient", len(x), dx, dw, db, d, which, x, weight, after=ctx.shape, parts=1)
        return dx, dw, db


def _each(function: str, *tensors: Tensor, mask: _Dropout) -> Tensor:
    """A new tensor, made number by number from tensors of one shape and dense layout."""
    out = torch.empty_like(tensors[0])
    _call(function, math.ceil(out.numel() / 64), out, *tensors, mask, after=[ctypes.c_long(out.numel())])
    return out


def _call(
    function: str, count: int, *arguments: Tensor | ctypes.Structure, after: Any = (), parts: int | None = None
) -> None:
    """Call a function of the library for items 0 to `count`, shared out over PyTorch's number of threads."""
    called = getattr(library(), function)
    before = [ctypes.c_void_p(a.data_ptr()) if isinstance(a, Tensor) else ctypes.byref(a) for a in arguments]

    def part(first: int, last: int) -> None:
        if called(*before, ctypes.c_long(first), ctypes.c_long(last), *after):
            raise MemoryError(f"{function} found no memory to work in")

    parts = min(parts or torch.get_num_threads(), count)
    if parts <= 1:
        return part(0, count)
    size = math.ceil(count / parts)
    starts = range(0, count, size)
    list(_threads(parts).map(part, starts, (min(start + size, count) for start in starts)))
    return None


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count)
