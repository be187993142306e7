"""Environment variables that other programs set, and that must not affect ours.

A notebook, a sweep, a conda environment or a cluster's module sets variables for its own sake. Those in IGNORED could
change the plotting backend, pin every training to one core, change the last bits of results, or join another program's
run.
All others are obeyed: thread counts (a training has its own), CUDA_VISIBLE_DEVICES, proxies, TMPDIR, XDG_*, CC, and of
Weights & Biases the mode, the account, the server, the project, the folders and the tags.

Libraries read them when they are imported, so the commands of this package call `keep_ours` before that. Importing the
package changes no variable.
"""

import re
from collections.abc import Mapping, MutableMapping

# What `git rev-parse --local-env-vars` names: they say which repository a git command is about, whatever its folder.
_GIT = (
    r"GIT_(ALTERNATE_OBJECT_DIRECTORIES|CONFIG|CONFIG_PARAMETERS|CONFIG_COUNT|OBJECT_DIRECTORY|DIR|WORK_TREE|"
    r"IMPLICIT_WORK_TREE|GRAFT_FILE|INDEX_FILE|NO_REPLACE_OBJECTS|REPLACE_REF_BASE|PREFIX|INTERNAL_SUPER_PREFIX|"
    r"SHALLOW_FILE|COMMON_DIR|NAMESPACE)"
)
# W&B takes each of its settings from WANDB_<setting>, and private ones from WANDB_X_… and WANDB__….
_WANDB = (
    r"WANDB_(SERVICE|SERVICE_TRANSPORT|INITED|NAME|DESCRIPTION|NOTES|RUN_\w+|JOB_\w+|RESUME\w*|FORK_FROM|REINIT|"
    r"SWEEP_\w+|AGENT_\w+|LAUNCH\w*|PROGRAM\w*|ARGS|NOTEBOOK_NAME|JUPYTER|MAGIC|GIT_\w+|DOCKER|CODE_DIR|CONFIG_PATHS|"
    r"SYNC_TENSORBOARD|(X)?_(SERVICE_TRANSPORT|LABEL|PRIMARY|UPDATE_FINISH_STATE|START_TIME|EXECUTABLE|FILES_DIR|"
    r"STATS_PID|JUPYTER_\w+|RUNQUEUE_ITEM_ID|SKIP_TRANSACTION_LOG|SYNC\w*))"
)
IGNORED = {  # by full match
    r"MATPLOTLIBRC": "figure style of another project",
    r"(?!OMP_NUM_THREADS$|KMP_DUPLICATE_LIB_OK$)(OMP|GOMP|KMP|ACC)_\w+": "where OpenMP's threads run, and how many may",
    r"MKL_(?!NUM_THREADS$)\w+": "which instructions MKL takes, and so the last bits",
    r"(OPENBLAS|GOTO)_(?!NUM_THREADS$)\w+": "as MKL, for OpenBLAS",
    r"(ONEDNN|DNNL|MKLDNN)_\w+|ATEN_CPU_CAPABILITY": "as MKL, for PyTorch on a CPU",
    r"NVIDIA_TF32_OVERRIDE|TORCH_ALLOW_TF32_\w+|CUBLAS(LT)?_\w+|CUDNN_\w+|DISABLE_ADDMM_CUDA_LT": "as MKL, on a GPU",
    r"TORCH_(LINEAR|MKLDNN|BLAS|LINALG|CUDNN|CUBLASLT|FORCE)_\w+": "which of several operations PyTorch takes",
    r"PYTORCH_(TUNABLEOP_\w+|NO_CUDA_MEMORY_CACHING|JIT\w*|TENSOREXPR\w*)": "as above",
    r"(NPY|NUMPY|PANDAS|SCIPY)_\w+": "experiments and debugging of the numeric libraries",
    _GIT: "the repository of a hook or script that we were started from",
    _WANDB: "a process, run, sweep or job of another program in Weights & Biases",
    r"GRADIO_(?!(SERVER_NAME|SERVER_PORT|ROOT_PATH|TEMP_DIR)$)\w+": "sharing and serving options of another Gradio app",
}
# MPLBACKEND overrides the backend of a `matplotlibrc` in the working directory.
SET = {"MPLBACKEND": "agg"}
# The demo needs no network. Its HTTP client would fail at the start over one of these that it cannot use.
NETWORK = r"(?i:(http|https|all|ftp|no)_proxy)|SSL_CERT_(FILE|DIR)"


def ours(environment: Mapping[str, str], *, also: str | None = None) -> dict[str, str]:
    """`environment` without the IGNORED variables and those that match the pattern `also`, and with SET."""
    patterns = [*IGNORED, *([also] if also else [])]
    kept = {name: value for name, value in environment.items() if not any(re.fullmatch(p, name) for p in patterns)}
    return kept | SET


def keep_ours(environment: MutableMapping[str, str], *, also: str | None = None) -> None:
    """Apply `ours` to `environment` (os.environ) in place."""
    kept = ours(environment, also=also)
    for name in environment.keys() - kept.keys():
        del environment[name]
    environment.update(kept)
