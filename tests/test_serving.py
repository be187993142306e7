"""The demo begins where another program's proxies, port and folders are in the environment, or says what is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from browser import served
from checkouts import ROOT

gradio_client = pytest.importorskip("gradio_client")

WEIGHTS = ROOT / "results/full/weights"
BLANK = {"background": None, "layers": [], "composite": None}
DEMO = ("-m", "pixelpatch", "demo")


@pytest.mark.skipif(not WEIGHTS.exists(), reason="nothing is published yet")
def test_the_page_is_served_behind_proxies_and_beside_another_user_s_folder(mnist: Path, tmp_path: Path) -> None:
    (tmp_path / "gradio").write_text("another user's")  # where Gradio would keep its files: nobody can write there
    proxies = {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9", "no_proxy": "::1"}
    left = proxies | {"SSL_CERT_FILE": "/nonexistent", "TMPDIR": str(tmp_path), "GRADIO_SERVER_NAME": ""}
    command = (*DEMO, "--weights", str(WEIGHTS), "--data", str(mnist))
    with served(*command, folder=ROOT, package=ROOT / "src", **left) as url:
        page = gradio_client.Client(url, download_files=False, verbose=False)
        page.predict(api_name="/lambda")
        grid, steps, said = page.predict(*[BLANK] * 4, api_name="/show")
        assert "It reads" in said
        assert len(steps) >= 4
        taken = subprocess.run(
            [sys.executable, *command, "--port", url.rpartition(":")[2]], cwd=ROOT, capture_output=True, text=True
        )
        assert taken.stderr.startswith("error: The page cannot be served; --port names another port.")
        assert len(taken.stderr.splitlines()) == taken.returncode == 1
        assert Path(grid["path"]).is_relative_to(next(tmp_path.glob("pixelpatch-demo-*")))
    assert [path.name for path in tmp_path.iterdir()] == ["gradio"]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("GRADIO_SERVER_PORT", "abc", "write a number from 1 to 65535."),
        ("GRADIO_SERVER_PORT", "65536", "write a number from 1 to 65535."),
        ("GRADIO_SERVER_NAME", "203.0.113.1", "but this machine cannot serve a page there"),
        ("GRADIO_TEMP_DIR", "/dev/null/x", "which cannot be written (Not a directory)"),
        ("PYTHONPATH", "lacking", "The demo needs gradio; `make demo` installs it."),
    ],
)
def test_what_the_page_cannot_do_is_a_sentence(tmp_path: Path, variable: str, value: str, said: str) -> None:
    (tmp_path / "lacking").mkdir()
    (tmp_path / "lacking/gradio.py").write_text("raise ModuleNotFoundError(name='gradio')")
    command = [sys.executable, *DEMO, "--weights", str(WEIGHTS), "--data", "x"]
    environment = os.environ | {variable: value}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    named = f"{variable} is {value!r}, " if variable.startswith("GRADIO") else ""
    assert done.stderr.replace("; ", ", ").startswith(f"error: {named}{said}".replace("; ", ", "))
    assert len(done.stderr.splitlines()) == done.returncode == 1
