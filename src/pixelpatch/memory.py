"""How much memory a run takes at most, and that it is not given back only to be asked for again."""

import ctypes
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # Linux has them


def keep_freed_memory() -> None:
    """Have the C library keep the memory of freed tensors (with glibc; elsewhere nothing is done).

    By default it goes back to the kernel, which fills it with zeros before every new use: a twentieth of a run.
    """
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # of malloc.h
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(trim_threshold, 2**31 - 1)
        library.mallopt(top_pad, 2**26)
        library.mallopt(mmap_threshold, 2**25)  # its largest: 32 MB


def reset_peak(device: str) -> None:
    """Forget the peak so far, so that runs in one process do not inherit each other's (on a CPU, Linux only)."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what was kept, too
    with suppress(OSError):
        CLEAR.write_text("5")


def peak_memory_mb(device: str) -> float:
    """The peak since `reset_peak`, in 10⁶ bytes: of the GPU's memory that tensors took, or of the process's."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 1e6
    with suppress(OSError):
        if found := re.search(r"^VmHWM:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE):
            return int(found[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
