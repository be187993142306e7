"""The environment: what other programs leave in it reaches no run, figure or mirror; what is meant for ours does."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from test_main import SPEC
from wandb_offline import read_run
from world import World

from pixelpatch.environment import NETWORK, keep_ours, ours
from pixelpatch.record import read_record
from pixelpatch.study import STUDY_FORMAT

# Runs a command of the package as `python -m` does, and says at its end how many cores it had.
COMMAND = """
import atexit, os, runpy, sys
sys.argv[0] = "pixelpatch"
atexit.register(lambda: print(len(os.sched_getaffinity(0))))
runpy.run_module("pixelpatch", run_name="__main__", alter_sys=True)
"""
LEFT = {  # by other programs: each of the first four makes other bits, is in the way of figures or pins to a core
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "OMP_PROC_BIND": "close",
    "GOMP_CPU_AFFINITY": "0",
    "OMP_THREAD_LIMIT": "1",
    "OMP_DYNAMIC": "true",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "NVIDIA_TF32_OVERRIDE": "1",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":0:0",
    "WANDB_SERVICE": "3-1-unix-/nonexistent/socket",
    "WANDB_RUN_ID": "another",
    "WANDB_NAME": "another",
    "WANDB_RUN_GROUP": "another",
    "WANDB_JOB_TYPE": "another",
    "WANDB_RESUME": "must",
    "WANDB_SWEEP_ID": "another",
    "WANDB_NOTES": "another's",
    "WANDB_X_LABEL": "another",
    "WANDB_GIT_COMMIT": "0" * 40,
    "GRADIO_ALLOWED_PATHS": "/",
}
MEANT = {
    "CUDA_VISIBLE_DEVICES": "1",
    "CC": "clang",
    "XDG_CACHE_HOME": "/cache",
    "TMPDIR": "/scratch",
    "MPLCONFIGDIR": "/scratch/mpl",
    "OMP_NUM_THREADS": "2",
    "MKL_NUM_THREADS": "2",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    "https_proxy": "http://proxy:3128",
    "SSL_CERT_FILE": "/etc/ssl/ours.pem",
    "GIT_SSH_COMMAND": "ssh -4",
    "GRADIO_SERVER_PORT": "7000",
    "GRADIO_TEMP_DIR": "/scratch/page",
}
MEANT |= dict.fromkeys(["WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_API_KEY", "WANDB_BASE_URL"], "theirs")
MEANT |= dict.fromkeys(["WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_TAGS", "WANDB_HTTPS_PROXY"], "theirs")


def run(folder: Path, *arguments: str, **variables: str) -> tuple[str, int]:
    """What a command of the package in `folder` says, and how many cores it had at its end."""
    clean = {name: value for name, value in ours(os.environ).items() if not name.startswith(("WANDB_", "MPL"))}
    command = [sys.executable, "-c", COMMAND, *arguments]
    done = subprocess.run(command, cwd=folder, env=clean | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr, int(done.stdout.splitlines()[-1])


def test_what_others_left_is_ignored_and_what_is_meant_is_obeyed() -> None:
    environment = LEFT | MEANT
    keep_ours(environment)
    assert environment == MEANT | {"MPLBACKEND": "agg"}
    assert ours(MEANT, also=NETWORK).keys() == (MEANT.keys() | {"MPLBACKEND"}) - {"https_proxy", "SSL_CERT_FILE"}


def test_git_says_which_of_its_variables_are_of_one_repository() -> None:
    named = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True)
    assert ours(dict.fromkeys(named.stdout.split(), "x")).keys() == {"MPLBACKEND"}


def test_a_training_and_its_mirror_are_the_same_in_another_program_s_environment(mnist: Path, tmp_path: Path) -> None:
    spec = SPEC | {"data": SPEC["data"] | {"limit": {"train": 300, "validation": 100, "test": 300}}}
    given = [
        "--experiment",
        "small",
        "--spec",
        json.dumps(spec),
        "--seed",
        "0",
        "--data",
        str(mnist),
        "--device",
        "cpu",
    ]
    said, cores = run(tmp_path, "train", *given, "--record", "clean.json")
    left = LEFT | {"WANDB_MODE": "offline", "WANDB_PROJECT": "theirs", "WANDB_TAGS": "night"}
    said, cores_left = run(tmp_path, "train", *given, "--record", "left.json", **left)
    assert cores == cores_left == len(os.sched_getaffinity(0))
    assert "Weights & Biases" not in said
    clean, left = (read_record(tmp_path / f"{name}.json") for name in ("clean", "left"))
    for part in ("metrics", "curve", "batch_losses", "predictions"):
        assert left[part] == clean[part]
    (mirrored,) = (tmp_path / "wandb").glob("offline-run-*")
    about = read_run(mirrored).run
    assert re.fullmatch("[0-9a-f]{16}", about.run_id)
    assert (about.display_name, about.run_group, about.job_type) == ("small-seed0", "small", "train")
    assert (about.project, about.notes, [*filter(None, about.tags)]) == ("theirs", "", ["cpu", "night"])
    assert about.git.commit != LEFT["WANDB_GIT_COMMIT"]


def test_a_figure_is_the_same_bytes_in_another_program_s_environment(mnist: Path, tmp_path: Path) -> None:
    world = World(tmp_path / "tables", systems=("pit", "grid"))
    study = {"format": STUDY_FORMAT, "preset": "small", "runs": []} | world.study
    (tmp_path / "study.json").write_text(json.dumps(study), encoding="utf-8")
    (tmp_path / "matplotlibrc").write_text("backend: module://nowhere\nfont.size: 20\nsvg.fonttype: none\n")
    place = ["--study", "../study.json", "--tables", "../tables", "--data", str(mnist)]
    for folder, left in (("clean", {}), ("left", LEFT | {"MATPLOTLIBRC": str(tmp_path)})):
        (tmp_path / folder).mkdir()
        if left:
            (tmp_path / "matplotlibrc").rename(tmp_path / folder / "matplotlibrc")
        run(tmp_path / folder, "figure", "accuracy_by_system", *place, "--output", "drawn.pdf", **left)
    for kind in ("pdf", "svg", "png"):
        assert (tmp_path / f"left/drawn.{kind}").read_bytes() == (tmp_path / f"clean/drawn.{kind}").read_bytes()


def test_without_docstrings_tables_and_figures_say_what_they_show() -> None:
    """PYTHONOPTIMIZE=2, which is -OO, leaves them out."""
    say = "from pixelpatch import tables, figures; "
    say += "print([*map(figures.caption, figures.NAMES), *map(tables.footnote, tables.NAMES)])"
    said = [
        subprocess.run(
            [sys.executable, "-c", say], env=ours(os.environ) | left, capture_output=True, text=True, check=True
        )
        for left in ({}, {"PYTHONOPTIMIZE": "2"})
    ]
    assert said[0].stdout == said[1].stdout
    assert "''" not in said[0].stdout
