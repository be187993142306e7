"""A real browser: the Chromium that `make test` puts beside the environment, or the machine's own."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

INSTALLED = Path(__file__).parents[1] / ".venv/browser"
# No sandbox, for it needs rights that containers lack; and no calls home, which would count as the page's.
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def launch_options() -> dict[str, object]:
    """What Playwright's `launch` takes; skips the test where there is no browser."""
    own = INSTALLED / "chromium"
    found = next(filter(None, map(shutil.which, (str(own), "chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium: `make test` installs one")
    libraries = os.pathsep.join(filter(None, [str(INSTALLED / "al2023/lib"), os.environ.get("LD_LIBRARY_PATH")]))
    return {"executable_path": found, "args": OPTIONS, "env": os.environ | {"LD_LIBRARY_PATH": libraries}}


@contextmanager
def served(*command: str, folder: Path, package: Path, **variables: str) -> Iterator[str]:
    """The address of the demo that `command` of Python serves in `folder`, by the package in the folder `package`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = os.environ | {"PYTHONPATH": str(package), "GRADIO_SERVER_PORT": port} | variables
    process = subprocess.Popen([sys.executable, *command], cwd=folder, env=environment)
    url = f"http://127.0.0.1:{port}"
    started = time.monotonic()
    try:
        while True:
            try:
                urllib.request.urlopen(url).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() - started < 300
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()
