"""Debian's packages, for what is tested against the real thing; and what a test does that cannot have it."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import NoReturn

import pytest

ASKED = "SLURM_TESTS"  # set to 1, the tests may change the system that they run on, and all of them are to run
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


class Unavailable(Exception):
    """Something cannot be had here; the message says why."""


def install(packages: Mapping[str, str]) -> None:
    """Install the packages (program → package) whose programs are not there, if asked to. Raises Unavailable."""
    missing = [package for program, package in packages.items() if not shutil.which(program, path=PATH)]
    if not missing:
        return
    if not asked():
        raise Unavailable(f"not installed: {', '.join(missing)}; {ASKED}=1 has the tests do that, as root on Debian")
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Unavailable(f"{', '.join(missing)} cannot be installed: that takes root, and Debian")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *missing]):
        result = subprocess.run(["apt-get", *step], env=environment, capture_output=True, text=True, check=False)
        if result.returncode:
            raise Unavailable(f"apt-get {' '.join(step)} failed: {result.stderr.strip()[-300:]}")


def asked() -> bool:
    """Whether the tests may install packages, and are all to run."""
    return os.environ.get(ASKED) == "1"


def skip(reason: object) -> NoReturn:
    """Skip the test; where it is to run for certain, fail."""
    if asked():
        pytest.fail(f"{ASKED}=1 is to run this: {reason}")
    pytest.skip(str(reason))
