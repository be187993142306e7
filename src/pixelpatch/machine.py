"""What a machine has, memory and GPUs, found without PyTorch, whose import takes seconds."""

import ctypes
import importlib.util
import os
import re
import runpy
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def memory_mb(root: Path = Path("/")) -> int:
    """How much memory processes like this one may take, in 10⁶ bytes: the machine's, or less where a cgroup limits it.

    `root` is where /proc and /sys lie.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(root)]) // 10**6


def _limits(root: Path) -> Iterator[int]:
    """Memory limits, in bytes, of this process's cgroups (v1 or v2) and of their parents."""
    with suppress(OSError):
        for _, controllers, path in re.findall(r"^(\d+):(.*?):/(.*)$", (root / "proc/self/cgroup").read_text(), re.M):
            top, file = root / "sys/fs/cgroup", "memory.max"
            if controllers:
                top, file = top / "memory", "memory.limit_in_bytes"
            if not controllers or "memory" in controllers.split(","):
                group = top / path  # in a container often the host's path; the group itself is at the top
                for folder in (group, *group.parents[: len(Path(path).parts)]):
                    with suppress(OSError, ValueError):  # no such file, or "max"
                        yield int((folder / file).read_text())


def gpus() -> int:
    """How many GPUs PyTorch would find: those that the driver shows (CUDA_VISIBLE_DEVICES), if it is built for them."""
    torch = importlib.util.find_spec("torch")
    if torch is None or not torch.origin:
        return 0
    count = ctypes.c_int()
    try:
        if not runpy.run_path(str(Path(torch.origin).with_name("version.py"))).get("cuda"):
            return 0
        driver = ctypes.CDLL("libcuda.so.1")
        failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):  # no driver, or another thing of that name
        return 0
    return 0 if failed else count.value
