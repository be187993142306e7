"""A real browser: the Chromium that `make test` puts beside the environment, or the machine's own."""

import os
import shutil
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
