"""The weights of a published run, made again from its record, in a format that holds tensors and nothing to execute."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Generator, Tensor, contiguous_format, nn

from pixelpatch.checkpoint import State
from pixelpatch.checks import image_side, key_problems
from pixelpatch.errors import RESTORE, UserError
from pixelpatch.files import canonical_json
from pixelpatch.models import build_model
from pixelpatch.stopping import Stop
from pixelpatch.training import build_optimiser, fingerprint, train

PUBLISHED = Path(__file__).parents[2] / "results/full/weights"  # of this checkout, wherever commands run
AGAIN = "snakemake --cores all weights --config preset=full seeds=recorded"
KEPT = {"experiment": str, "seed": int, "spec": dict}  # of the record, beside the tensors
DIGEST = "digest"  # of these and the tensors


class Trained(NamedTuple):
    """A trained model, ready to be asked, and the experiment, seed and spec of its run."""

    model: nn.Module
    experiment: str
    seed: int
    spec: dict[str, Any]


def retrain(
    record: Mapping[str, Any], mnist: dict[str, Tensor], checkpoint: Path, *, device: str, stop: Stop
) -> tuple[bytes, bool]:
    """Train the run of `record` again: its tested weights as a safetensors file, and whether it came out the same.

    What was stopped goes on from the file `checkpoint`, which stays until whoever writes the weights removes it. Raises
    UserError where it does not hold the trained state, and as `train`.
    """
    spec, seed = record["spec"], record["seed"]
    where = {
        "device": device,
        "threads": record["provenance"]["threads"],
        "name": f"{record['experiment']} seed {seed}",
    }
    result = train(spec, seed, mnist, **where, checkpoint=checkpoint, stop=stop)
    model = build_model(spec["model"], image=image_side(spec["data"])).to(device)
    state = State(model, build_optimiser(model, spec["training"]), Generator(device))
    with redirect_stderr(StringIO()):  # to go on from it is no interruption of anything
        state.begin(checkpoint, fingerprint(spec, seed, **where))
    if state.epoch < spec["training"]["epochs"]:
        raise UserError(f"{checkpoint} does not hold the end of the training; move it away, and begin again.")
    weights = model.state_dict() if state.best is None else state.best[1]
    same = all(result[key] == record[key] for key in ("metrics", "predictions"))
    return pack({key: record[key] for key in KEPT}, weights), same


def pack(about: Mapping[str, Any], weights: Mapping[str, Tensor]) -> bytes:
    """A safetensors file of `weights`, with `about` (the keys of KEPT) and a digest of all of it in its metadata."""
    # Clones: the format knows no tensors that two modules share, as one write-up's norms are, and one memory layout.
    whole = {name: tensor.cpu().clone(memory_format=contiguous_format) for name, tensor in weights.items()}
    metadata = dict(about) | {DIGEST: _digest(about, whole)}
    return save(whole, {key: json.dumps(value) for key, value in metadata.items()})


def _digest(about: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of `about`, and of every tensor's name, type, shape and bytes."""
    content = hashlib.sha256(canonical_json(dict(about)).encode())
    for name, tensor in sorted(weights.items()):
        content.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return content.hexdigest()


def load(path: Path) -> Trained:
    """The model of a file that `pack` made, for evaluation on a CPU. Raises UserError where it is none, or changed."""
    try:
        with safe_open(path, framework="pt") as file:
            about = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        written = about.pop(DIGEST, None)
        if {key: type(value) for key, value in about.items()} != KEPT or [*key_problems(about["spec"])]:
            raise ValueError("it does not name its experiment, seed and spec")
        if written is None:
            raise ValueError("it has no digest: an earlier version wrote it")
        if written != _digest(about, weights):
            raise ValueError("it was changed after it was written: its digest does not match")
        if not all(tensor.isfinite().all() for tensor in weights.values()):
            raise ValueError("not all of its numbers are finite")
        model = build_model(about["spec"]["model"], image=image_side(about["spec"]["data"]))
        model.load_state_dict(weights)
        return Trained(model.eval(), **about)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        what = f"{path} does not hold a model's weights ({shorten(str(error), 200, placeholder='…')})"
        raise UserError(f"{what}; {RESTORE}: `{AGAIN}` makes those published.") from None


def published(study: Mapping[str, Any], tables: Path) -> list[Trained]:
    """The models whose weights lie beside the folder `tables`, or else the published ones.

    In the study's order. Raises UserError as `load`, and where a file is named after another experiment than its own.
    """
    for folder in (tables.parent / "weights", PUBLISHED):
        files = [folder / f"{name}.safetensors" for name in study["experiments"]]
        found = {file: load(file) for file in files if file.exists()}
        for file, trained in found.items():
            if trained.experiment != file.stem:
                raise UserError(
                    f"{file} holds the weights of {trained.experiment}; name it after that, or move it away."
                )
        if found:
            return [*found.values()]
    return []
