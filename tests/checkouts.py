"""A copy of the repository's workflow, and the real commands run in it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "config.yaml", "profiles", "slurm", "src", "workflow")


class Checkout:
    """A copy of the workflow, whose commands run with the copy's own package."""

    def __init__(self, folder: Path, mnist: Path | None = None) -> None:
        """In `folder`; with the data of the folder `mnist`, if one is given."""
        self.folder, self.first_output = folder, ""
        folder.mkdir(exist_ok=True)
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy(source, folder / part)
        if mnist:
            shutil.copytree(mnist, folder / "data/mnist")  # its own: a test may change them
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder / "src")}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in the copy, to its end."""
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=900, check=False
        )

    def said(self, *command: str) -> tuple[int, str]:
        """The exit status of a command in the copy, and all that it printed; no traceback, whatever happens."""
        done = self.run(*command)
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        return done.returncode, said

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A command in the copy that is not waited for; what it prints is in its stdout."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, **pipes)

    def snakemake(self, *arguments: str, preset: str = "smoke") -> subprocess.CompletedProcess[str]:
        """`snakemake --cores all` at a preset; further --config pairs may be among the `arguments`."""
        config = [argument for argument in arguments if "=" in argument]
        rest = [argument for argument in arguments if "=" not in argument]
        return self.run("snakemake", "--cores", "all", *rest, "--config", f"preset={preset}", *config)

    def plan(self, *arguments: str, preset: str = "smoke") -> dict[str, int]:
        """How many jobs of each rule a dry run plans."""
        result = self.snakemake("--dry-run", *arguments, preset=preset)
        assert result.returncode == 0, result.stdout + result.stderr
        table = re.search(r"^job +count\n[- ]+\n(.*?)\n\n", result.stdout, re.MULTILINE | re.DOTALL)
        rows = [line.split() for line in table[1].splitlines()] if table else []
        return {rule: int(count) for rule, count in rows if rule not in ("total", "all")}
