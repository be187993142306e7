"""What git does on the way to a user: every file arrives as it was committed."""

import os
import subprocess
from pathlib import Path

import pytest
from checkouts import ROOT

SETTINGS = {"user.name": "t", "user.email": "t", "core.excludesFile": os.devnull}


def git(*arguments: str | Path) -> str:
    """What a git command prints, without the settings of user and machine."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return subprocess.run(["git", *arguments], env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of its own, with the files as they are here now."""
    folder = tmp_path_factory.mktemp("repository")
    git("init", "--quiet", folder)
    settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
    here = (f"--git-dir={folder}/.git", f"--work-tree={ROOT}", *settings)
    git(*here, "add", "--all", ROOT)
    git(*here, "commit", "--quiet", "--message=all")
    return folder


@pytest.mark.parametrize("setting", ["core.autocrlf=true", "core.symlinks=false"])
def test_a_clone_has_every_byte(repository: Path, tmp_path: Path, setting: str) -> None:
    """No line ends differently, and no link is a file with a path in it."""
    git("clone", "--quiet", "-c", setting, repository, tmp_path / "clone")
    names = git("-C", tmp_path / "clone", "ls-files", "-z").rstrip("\0").split("\0")
    assert {"Makefile", "slurm/profile.yaml", "results/full/FINDINGS.md"} <= set(names)
    changed = [name for name in names if (tmp_path / "clone" / name).read_bytes() != (ROOT / name).read_bytes()]
    assert changed == []
