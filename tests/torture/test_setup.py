"""What `make` sets up: this checkout's .venv, and nothing else, whatever pip, uv, conda and Python are told."""

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import debian
import pytest
from checkouts import ROOT

# A package of the same name, with a program that says where it and what it needs run.
SMALL = """
[build-system]
requires = ["setuptools>=68"]
build-backend = "setuptools.build_meta"
[project]
name = "pixelpatch"
version = "1"
scripts = { snakemake = "pixelpatch:main" }
optional-dependencies = { study = ["tabulate"], test = ["iniconfig"] }
[tool.setuptools.packages.find]
where = ["src"]
"""
TOLD = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "ARGS", "TORCH_BACKEND")
CODE = "def main():\n    import sys, tabulate\n    print([sys.prefix, __file__, tabulate.__file__])\n"
SURROUNDINGS: dict[str, Callable[[Path], dict[str, str]]] = {
    "an environment is active": lambda other: {"VIRTUAL_ENV": str(other), "PATH": f"{other}/bin:{os.environ['PATH']}"},
    "conda": lambda other: {"CONDA_PREFIX": str(other), "CONDA_DEFAULT_ENV": "other", "CONDA_SHLVL": "1"},
    "PIP_USER": lambda other: {"PIP_USER": "1", "PYTHONUSERBASE": str(other)},
    "PIP_TARGET": lambda other: {"PIP_TARGET": str(other / "lib")},
    "PIP_PREFIX": lambda other: {"PIP_PREFIX": str(other)},
    "PIP_PYTHON": lambda other: {"PIP_PYTHON": str(other / "bin/python")},
    "PYTHONPATH": lambda other: {"PYTHONPATH": str(other / "older")},
    "PYTHONHOME": lambda other: {"PYTHONHOME": str(other)},
    "UV_PYTHON": lambda other: {"UV_PYTHON": str(other / "bin/python"), "UV_SYSTEM_PYTHON": "1"},
    "pip.conf, user": lambda other: pip_conf(other, "[install]\nuser = true") | {"PYTHONUSERBASE": str(other)},
    "pip.conf, target": lambda other: pip_conf(
        other, f"[install]\ntarget = {other}/lib\nprefix = {other}\nroot = {other}"
    ),
    "pip.conf, python": lambda other: pip_conf(other, f"[global]\npython = {other}/bin/python"),
    "uv.toml, python": lambda other: uv_toml(other, f'[pip]\npython = "{other}/bin/python"'),
    "uv.toml, target": lambda other: uv_toml(other, f'[pip]\nsystem = true\ntarget = "{other}/lib"'),
    "uv.toml, prefix": lambda other: uv_toml(other, f'[pip]\nprefix = "{other}"'),
}
TOGETHER = [
    name
    for name in SURROUNDINGS
    if name not in ("pip.conf, user", "pip.conf, python", "uv.toml, python", "uv.toml, prefix")
]


def pip_conf(other: Path, text: str) -> dict[str, str]:
    """Settings of the user for pip."""
    file = other.with_name("pip.conf")
    file.write_text(text, encoding="utf-8")
    return {"PIP_CONFIG_FILE": str(file)}


def uv_toml(other: Path, text: str) -> dict[str, str]:
    """Settings for uv, which looks for them in the folders above, too."""
    other.with_name("uv.toml").write_text(text, encoding="utf-8")
    return {}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a small set-up needs, packed from what is installed here; the variables by which pip and uv take that."""
    folder = tmp_path_factory.mktemp("packages")
    for name in ("uv", "setuptools", "tabulate", "iniconfig"):
        found = importlib.metadata.distribution(name)
        with zipfile.ZipFile(folder / f"{name}-{found.version}-py3-none-any.whl", "w") as wheel:
            for file in found.files:
                program = file.parts[0] == ".."
                if file.suffix != ".pyc":
                    inside = f"{name}-{found.version}.data/scripts/{file.name}" if program else str(file)
                    wheel.write(found.locate_file(file), inside)
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "UV_OFFLINE": "1", "UV_FIND_LINKS": str(folder)}


def small_checkout(folder: Path) -> Path:
    """The real Makefile and lock, with a package that is set up in seconds."""
    (folder / "src/pixelpatch").mkdir(parents=True)
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    (folder / "pyproject.toml").write_text(SMALL, encoding="utf-8")
    (folder / "src/pixelpatch/__init__.py").write_text(CODE, encoding="utf-8")
    return folder


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`make`, as in a shell where no environment is active; what the `make` of the tests was told is not for it."""
    everything = {name: value for name, value in os.environ.items() if name not in TOLD}
    active = str(Path(sys.executable).parent)
    everything["PATH"] = os.pathsep.join(part for part in os.get_exec_path() if part != active)
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=everything | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def assert_ours(folder: Path, environment: dict[str, str]) -> None:
    """`make` sets up and runs what is in `folder`; then there is nothing left to do."""
    made = make(folder, "study", **environment)
    assert made.returncode == 0, made.stderr
    site = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    ours = [folder / ".venv", folder / "src/pixelpatch/__init__.py", folder / ".venv" / site / "tabulate/__init__.py"]
    assert made.stdout.endswith(f"{list(map(str, ours))}\n")
    assert make(folder, "--question", "setup", **environment).returncode == 0


def digests(folder: Path) -> dict[Path, str]:
    """Every file below the folder, and what is in it."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def set_up_beside_another(folder: Path, packages: dict[str, str], *names: str) -> Path:
    """A checkout that is set up in these surroundings; the environment that they speak of stays as it was."""
    other = folder / "other"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", other], check=True)
    (other / "older/tabulate").mkdir(parents=True)
    (other / "older/tabulate/__init__.py").write_text("raise ImportError('older')", encoding="utf-8")
    environment = dict(packages)
    for name in names:
        environment |= SURROUNDINGS[name](other)
    before = digests(other)
    made = small_checkout(folder / "it's a $tudy")
    assert_ours(made, environment)
    assert digests(other) == before
    return made


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_another_environment_stays_as_it_is(
    tmp_path: Path, packages: dict[str, str], thorough: bool, name: str
) -> None:
    if not thorough:
        pytest.skip("most of them at once, without --thorough")
    set_up_beside_another(tmp_path, packages, name)


def test_a_copy_of_a_checkout_is_set_up_anew(tmp_path: Path, packages: dict[str, str]) -> None:
    """Also with the original's environment active, which stays as it is."""
    original = set_up_beside_another(tmp_path, packages, *TOGETHER)
    copy = tmp_path / "elsewhere/the copy"
    shutil.copytree(original, copy, symlinks=True)
    before = digests(original)
    active = {"VIRTUAL_ENV": str(original / ".venv"), "PATH": f"{original}/.venv/bin:{os.environ['PATH']}"}
    assert_ours(copy, packages | active)
    assert digests(original) == before
    (copy / ".venv/bin/snakemake").unlink()
    assert make(copy, "--question", "setup").returncode == 1


# Makes an environment whose uv installs nothing.
IDLE = """#!/bin/sh
case "$*" in *venv*) ;; *) exit ;; esac
rm -rf .venv/bin
mkdir -p .venv/bin
for program in python uv; do printf '#!/bin/sh\n' >.venv/bin/$program; chmod +x .venv/bin/$program; done
"""


def test_a_set_up_that_lacks_something_is_one_sentence(tmp_path: Path) -> None:
    """It is not `ready`, even where it was so before."""
    checkout = small_checkout(tmp_path / "checkout")
    (checkout / ".venv").mkdir()
    (checkout / ".venv/ready").write_text(f"{checkout}\n", encoding="utf-8")
    python = tmp_path / "python3"
    python.write_text(IDLE, encoding="utf-8")
    python.chmod(0o755)
    made = make(checkout, "setup", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert made.returncode != 0
    assert made.stderr.startswith("uv did not install snakemake or pixelpatch into .venv.")
    assert not (checkout / ".venv/ready").exists()


def test_a_small_pytorch_is_asked_for_once(tmp_path: Path) -> None:
    """PyTorch's own index is not asked: the option is handed on, uv knows it, and a later set-up keeps to it."""
    checkout = small_checkout(tmp_path / "checkout")
    assert "--torch-backend" not in make(checkout, "--dry-run", "setup").stdout
    assert "--torch-backend cpu" in make(checkout, "--dry-run", "setup", "TORCH_BACKEND=cpu").stdout
    (checkout / ".venv").mkdir()
    (checkout / ".venv/torch-backend").write_text("cpu\n", encoding="utf-8")
    assert "--torch-backend cpu" in make(checkout, "--dry-run", "setup").stdout
    uv = [Path(sys.executable).with_name("uv"), "pip", "install", "--python", sys.executable, "--dry-run", "--offline"]
    lock = ["--constraints", ROOT / "requirements.lock"]
    subprocess.run([*uv, *lock, "--torch-backend", "cpu", "torch", "torchvision"], check=True, capture_output=True)


@pytest.mark.parametrize(("asked", "installs"), [("", False), ("1", True)])
def test_system_packages_are_installed_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, installs: bool
) -> None:
    log = tmp_path / "log"
    (tmp_path / "apt-get").write_text(f'#!/bin/sh\necho "$@" >>"{log}"\n', encoding="utf-8")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(debian.ASKED, asked)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    if installs:
        debian.install({"no-such-program": "some-package"})
        assert "some-package" in log.read_text(encoding="utf-8")
    else:
        with pytest.raises(debian.Unavailable, match="not installed: some-package; SLURM_TESTS=1 has"):
            debian.install({"no-such-program": "some-package"})
        assert not log.exists()
