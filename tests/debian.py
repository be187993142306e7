"""Debian's packages, for what is tested against the real thing; and what a test does that cannot have it."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import NoReturn

import pytest

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


class Unavailable(Exception):
    """Something cannot be had here; the message says why."""


def install(packages: Mapping[str, str]) -> None:
    """Install the packages (program → package) whose programs are not there. Raises Unavailable."""
    missing = [package for program, package in packages.items() if not shutil.which(program, path=PATH)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Unavailable(f"{', '.join(missing)} cannot be installed: that takes root, and Debian")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *missing]):
        result = subprocess.run(["apt-get", *step], env=environment, capture_output=True, text=True, check=False)
        if result.returncode:
            raise Unavailable(f"apt-get {' '.join(step)} failed: {result.stderr.strip()[-300:]}")


def skip(reason: object) -> NoReturn:
    """Skip the test; where it is to run for certain (CI is set), fail."""
    if os.environ.get("CI"):
        pytest.fail(f"CI is to run this: {reason}")
    pytest.skip(str(reason))
