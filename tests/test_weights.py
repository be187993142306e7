"""Published weights: they are the run's own, and what they answer is what its record says."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from test_training import small
from torch import Tensor

from pixelpatch import weights as module
from pixelpatch.__main__ import main
from pixelpatch.data import Split, load_mnist
from pixelpatch.digits import Digits
from pixelpatch.errors import UserError
from pixelpatch.grids import Grids
from pixelpatch.record import read_record
from pixelpatch.runs import How, Run
from pixelpatch.stopping import Stop
from pixelpatch.training import TOKENS, evaluate
from pixelpatch.weights import load, pack, published, retrain

PUBLISHED = Path(__file__).parents[1] / "results/full"


def trained(name: str, folder: Path, digits: dict[str, Tensor], seed: int = 3) -> tuple[dict[str, Any], Path]:
    """A record of a small run, and the file of its weights."""
    path = folder / f"{name}-record.json"
    Run(name, seed, small(name), path).complete(digits, How(device="cpu", stop=Stop()), wait=True)
    record = read_record(path)
    content, same = retrain(record, digits, folder / "last.checkpoint", device="cpu", stop=Stop())
    assert same
    (folder / "last.checkpoint").unlink()
    weights = folder / f"{name}.safetensors"
    weights.write_bytes(content)
    return record, weights


@pytest.mark.parametrize("name", ["blog_cnn", "blog_vit", "seq2seq_2x2", "vit16_tiny", "pixel_transformer"])
def test_a_loaded_model_answers_as_its_record(name: str, digits: dict[str, Tensor], tmp_path: Path) -> None:
    record, weights = trained(name, tmp_path, digits)
    loaded = load(weights)
    assert (loaded.experiment, loaded.seed, loaded.spec) == (name, 3, record["spec"])
    task = (Grids if "grids" in loaded.spec["data"] else Digits)(loaded.spec["data"], digits, torch.device("cpu"))
    spec = loaded.spec | {"evaluation": loaded.spec["evaluation"] | {"order": "stored"}}
    _, (predictions, _) = evaluate(loaded.model, task, "test", spec, torch.Generator())
    answers = "".join(TOKENS[token] for token in predictions.flatten().tolist())
    if record["spec"]["evaluation"]["order"] == "stored":
        assert answers == record["predictions"]
    else:  # its answers depend on the order, which was random
        assert len(answers) == len(record["predictions"])
    assert not loaded.model.training


@pytest.mark.parametrize("weights", sorted(PUBLISHED.glob("weights/*.safetensors")), ids=lambda path: path.stem)
def test_published_weights_answer_as_the_published_record(weights: Path, mnist: Path) -> None:
    one = load(weights)
    record = read_record(PUBLISHED / f"runs/{one.experiment}/seed{one.seed}.json")
    assert (weights.stem, one.spec) == (record["experiment"], record["spec"])
    kind = Grids if "grids" in one.spec["data"] else Digits
    task = kind(one.spec["data"], load_mnist(mnist), torch.device("cpu"))
    if isinstance(task, Grids):
        task.test = task.test[:50]
    else:
        test = task.splits["test"]
        task.splits["test"] = Split(test.images[:200], test.labels[:200])
    spec = one.spec | {"evaluation": one.spec["evaluation"] | {"order": "stored"}}
    _, (predictions, _) = evaluate(one.model, task, "test", spec, torch.Generator())
    agree = [
        token == TOKENS.index(said) for token, said in zip(predictions.flatten(), record["predictions"], strict=False)
    ]
    # Where the images of a batch attend to each other, an answer depends on the order, which was random.
    assert sum(agree) >= len(agree) * (0.9 if one.spec["model"].get("attend_over") == "batch" else 1)


def test_a_record_that_does_not_come_out_is_said(digits: dict[str, Tensor], tmp_path: Path) -> None:
    record, _ = trained("vit16_tiny", tmp_path, digits)
    record["metrics"]["test/accuracy"] += 1
    assert retrain(record, digits, tmp_path / "last.checkpoint", device="cpu", stop=Stop())[1] is False


def test_published_weights_come_in_the_study_s_order(
    digits: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("vit16_tiny", "blog_cnn"):
        trained(name, tmp_path, digits)
    study = {"experiments": {"blog_cnn": {}, "pixel_transformer": {}, "vit16_tiny": {}}}
    full = tmp_path / "results/full/weights"
    monkeypatch.setattr(module, "PUBLISHED", full)
    assert published(study, tmp_path / "results/laptop/tables") == []
    full.mkdir(parents=True)
    for name in ("vit16_tiny", "blog_cnn"):
        (tmp_path / f"{name}.safetensors").rename(full / f"{name}.safetensors")
    for preset in ("full", "laptop"):  # a laptop's figures show the published models
        found = published(study, tmp_path / f"results/{preset}/tables")
        assert [one.experiment for one in found] == ["blog_cnn", "vit16_tiny"]
    (full / "vit16_tiny.safetensors").rename(full / "pixel_transformer.safetensors")
    with pytest.raises(UserError, match=r"pixel_transformer\.safetensors holds the weights of vit16_tiny"):
        published(study, tmp_path / "results/full/tables")


def test_a_file_that_is_no_weights_is_one_sentence(digits: dict[str, Tensor], tmp_path: Path) -> None:
    good = trained("vit16_tiny", tmp_path, digits)[1]
    torn, strange = tmp_path / "torn.safetensors", tmp_path / "strange.safetensors"
    torn.write_bytes(good.read_bytes()[:-10])
    save_file({"a": torch.zeros(1)}, strange)
    with safe_open(good, framework="pt") as file:
        about, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    about = {key: json.loads(value) for key, value in about.items() if key != "digest"}
    infinite, nameless, specless = (tmp_path / f"{name}.safetensors" for name in ("infinite", "nameless", "specless"))
    infinite.write_bytes(pack(about, {name: tensor / 0 for name, tensor in tensors.items()}))
    nameless.write_bytes(pack(about | {"experiment": None}, tensors))
    specless.write_bytes(pack(about | {"spec": {"model": [], "data": []}}, tensors))
    for path in (torn, strange, infinite, nameless, specless, tmp_path / "no"):
        with pytest.raises(UserError, match=r"does not hold a model's weights .*restore it .*snakemake") as error:
            load(path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize("change", ["a bit", "a place", "its seed", "its digest", "no digest"])
def test_changed_weights_are_noticed(digits: dict[str, Tensor], tmp_path: Path, change: str) -> None:
    path = trained("vit16_tiny", tmp_path, digits)[1]
    content = path.read_bytes()
    with safe_open(path, framework="pt") as file:
        about, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    match change:
        case "a bit":  # the last one of the last number's fraction
            path.write_bytes(content[:-4] + bytes([content[-4] ^ 1]) + content[-3:])
        case "a place":  # of equal shape
            one, other = (f"encoder.0.attention_norm.{part}" for part in ("weight", "bias"))
            save_file(tensors | {one: tensors[other], other: tensors[one]}, path, about)
        case "its seed":
            save_file(tensors, path, about | {"seed": "4"})
        case "its digest":
            save_file(tensors, path, about | {"digest": json.dumps("0" * 64)})
        case "no digest":  # as before there was one
            save_file(tensors, path, {key: value for key, value in about.items() if key != "digest"})
    said = "it has no digest" if change == "no digest" else "it was changed after it was written"
    with pytest.raises(UserError, match=said):
        load(path)


def test_the_command_writes_them(mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = small("vit16_tiny")
    Run("vit16_tiny", 0, spec, tmp_path / "seed0.json").complete(
        load_mnist(mnist), How(device="cpu", stop=Stop()), wait=True
    )
    output = tmp_path / "weights/vit16_tiny.safetensors"
    place = ["--record", str(tmp_path / "seed0.json"), "--data", str(mnist), "--device", "cpu"]
    assert main(["weights", *place, "--output", str(output)]) == 0
    assert load(output).experiment == "vit16_tiny"
    assert "note" not in capsys.readouterr().err
    assert main(["weights", *place, "--output", str(tmp_path / "seed0.json")]) == 1  # the record itself
    assert "seed0.json; it must end in .safetensors" in capsys.readouterr().err
    assert read_record(tmp_path / "seed0.json")["experiment"] == "vit16_tiny"
