"""Which settings there are, and which fit together: one sentence for each that does not.

Used by the models' constructors, over the whole configuration before anything trains, and for every spec that trains.
"""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

Spec = dict[str, Any]
# The keys of a spec, block by block; "?": may be left out. Those of `model` are the options of its constructor. The
# configuration's schema says more of each, but a spec on the command line has not met it.
KEYS = {
    "": "data model training evaluation",
    "data": "standardise sample? lost_header_rows? validation? resize? augmentation? grids? limit?",
    "data.sample": "images seed",
    "data.validation": "images seed split_by",
    "data.augmentation": "flip? crop?",
    "data.augmentation.crop": "scale ratio",
    "data.grids": "train test fresh seed seed_per_split?",
    "data.limit": "train? validation? test?",
    "training": "optimiser learning_rate momentum? weight_decay? "
    "batch microbatch? drop_last epochs softmax_before_loss precision? log_every? one_generator?",
    "evaluation": "batch order loss_mean? checkpoint test_every_epoch?",
}
# What a setting is where a spec does not have it: the specs of older records lack the newer ones.
DEFAULTS: Spec = {
    "data": {"grids": {"seed_per_split": False}},
    "model": {
        "attention_init": "multihead",
        "layer_init": "independent",
        "head_activation": "none",
        "final_norm": True,
    },
    "training": {"one_generator": False, "precision": "float32"},
    "evaluation": {"loss_mean": "images", "test_every_epoch": False},
}
CHOICES = {  # for those settings that code compares with one value and takes anything else for the other
    "model.norm": ("pre", "post"),
    "model.positions": ("learned", "sincos"),
    "model.attend_over": ("batch", "patches"),
    "model.attention_init": ("multihead", "linear"),
    "model.layer_init": ("independent", "copied"),
    "model.head_activation": ("none", "tanh"),
    "training.precision": ("float32", "tf32", "bfloat16"),
    "evaluation.order": ("stored", "shuffled", "by_class"),
    "evaluation.loss_mean": ("images", "batches"),
    "evaluation.checkpoint": ("best_validation", "last"),
    "data.validation.split_by": ("sklearn", "torch"),
}


def heads_divide_width(*, heads: int, width: int) -> list[str]:
    """Attention splits the width evenly over its heads."""
    if heads > 0 and width % heads == 0:
        return []
    return [f"heads is {heads}, which does not divide the width {width}; choose from {_divisors(width)}."]


def patch_divides_image(*, patch: int, image: int) -> list[str]:
    """Patches cover the image without remainder."""
    if patch > 0 and image % patch == 0:
        return []
    return [f"patch is {patch}, which does not divide the {image}-pixel image; choose from {_divisors(image)}."]


def model_problems(model: Spec, image: int) -> list[str]:
    """Every sentence about the `model` block of a spec whose input images are `image` pixels wide."""
    problems = []
    if "heads" in model and "width" in model:
        problems += heads_divide_width(heads=model["heads"], width=model["width"])
    if model.get("positions") == "sincos" and model["width"] < 2:
        problems += [f"width is {model['width']}; sine/cosine positions need at least 2."]
    if "patch" in model:
        if uneven := patch_divides_image(patch=model["patch"], image=image):
            return problems + uneven
        patches = (image // model["patch"]) ** 2
        if (slots := model.get("position_slots", patches + 1)) < patches + 1:
            problems += [f"position_slots is {slots}, but {patches} patches and a class token need {patches + 1}."]
    return problems


def key_problems(spec: Any, path: str = "") -> Iterator[str]:
    """Every sentence about a block, or a key in it, that a spec lacks, or has and should not have."""
    if not isinstance(spec, dict):
        yield f"{path or 'the spec'} is {spec!r}; it must have the keys {KEYS[path].replace('?', ' (optional)')}."
        return
    keys = KEYS[path].split()
    names = [key.rstrip("?") for key in keys]
    yield from (f"{join(path, key)} is not a known key{instead(key, names)}" for key in spec if key not in names)
    yield from (f"{join(path, key)} is missing." for key in keys if not key.endswith("?") and key not in spec)
    for key in names:
        if key in spec and join(path, key) in KEYS:
            yield from key_problems(spec[key], join(path, key))


def image_side(data: Spec) -> int:
    """The side in pixels of what the model sees, by the `data` block of a spec."""
    return data.get("resize", 28) * (2 if "grids" in data else 1)


def split_sizes(data: Spec) -> dict[str, int]:
    """How many images (or grids) each split has by the `data` block of a spec, its `limit` aside."""
    if "grids" in data:
        return {"train": data["grids"]["train"], "test": data["grids"]["test"]}
    lost = bool(data.get("lost_header_rows"))
    sizes = {"train": data.get("sample", {"images": 60000})["images"] - lost, "test": 10000 - lost}
    if "validation" in data:
        sizes["validation"] = data["validation"]["images"]
        sizes["train"] -= sizes["validation"]
    return sizes


def spec_problems(spec: Spec) -> Iterator[str]:
    """Every sentence about settings of a spec that do not fit together; its keys are in order (`key_problems`)."""
    data, model, training = spec["data"], spec["model"], spec["training"]
    for path, known in CHOICES.items():
        *blocks, key = path.split(".")
        block = spec
        for name in blocks:
            block = block.get(name, {})
        if (chosen := block.get(key, known[0])) not in known:
            yield f"{path} is {chosen!r}{instead(chosen, known)}"
    for problem in model_problems(model, image_side(data)):
        yield f"model.{problem}"
    if ("grids" in data) != (model["name"] == "grid_reader"):
        yield f"data.grids and model.name {model['name']} do not fit; the model grid_reader, and no other, reads grids."
    if "grids" in data:
        for key in ("validation", "augmentation"):
            if key in data:
                yield f"data.{key} is not supported with data.grids; leave it out."
    if training.get("one_generator"):
        if "grids" not in data or data["grids"]["fresh"]:
            yield "training.one_generator goes on from fixed training grids; it needs data.grids, with fresh false."
        if model.get("dropout"):
            yield f"model.dropout is {model['dropout']}; with training.one_generator it must be 0."
    if model["name"] == "cnn" and data.get("resize", 28) != 28:
        yield f"data.resize is {data['resize']}; the model cnn takes 28-pixel images, so leave it out."
    sizes = split_sizes(data)
    if sizes["train"] < 1:
        held_out = sizes.get("validation", 0)
        of = sizes["train"] + held_out
        yield f"data.validation.images is {held_out}; it must leave some of the {of} to train on."
    for key, (low, high) in data.get("augmentation", {}).get("crop", {}).items():
        if low > high:
            yield f"data.augmentation.crop.{key} is [{low}, {high}]; write the smaller number first."
    if spec["evaluation"]["checkpoint"] == "best_validation" and "validation" not in data:
        yield "evaluation.checkpoint is best_validation, but data.validation is missing; add it, or choose last."
    if spec["evaluation"]["checkpoint"] == "best_validation" and spec["evaluation"].get("test_every_epoch"):
        yield "evaluation.test_every_epoch tests the weights of each epoch; with it, evaluation.checkpoint is last."
    if "momentum" in training and training["optimiser"] != "sgd":
        yield f"training.momentum is for sgd; leave it out with {training['optimiser']}."
    if "microbatch" in training and model.get("attend_over") == "batch":
        yield "training.microbatch would change what attend_over batch computes; leave it out."
    trained = min(sizes["train"], data.get("limit", {}).get("train", sizes["train"]))
    if training["drop_last"] and training["batch"] > trained >= 1:
        yield f"training.batch is {training['batch']}, more than the {trained} there are; drop_last would leave none."


def complete(spec: Any) -> Any:
    """`spec` with the DEFAULTS of those settings that it leaves out, for two specs to be compared."""
    if not isinstance(spec, dict):
        return spec
    return {key: _completed(block, DEFAULTS.get(key, {})) for key, block in spec.items()}


def _completed(block: Any, defaults: Spec) -> Any:
    if not isinstance(block, dict):
        return block
    plain = {key: value for key, value in defaults.items() if not isinstance(value, dict)}
    nested = {key: _completed(value, defaults[key]) if isinstance(defaults.get(key), dict) else value
              for key, value in block.items()}  # fmt: skip
    return plain | nested


def raise_first(problems: list[str]) -> None:
    """Raises ValueError with the first of `problems`, if there are any."""
    if problems:
        raise ValueError(problems[0])


def instead(wrong: Any, known: Iterable[Any]) -> str:
    """The end of a sentence that says what would be right: "; did you mean width? Known: …"."""
    known = [str(item) for item in known]
    close = difflib.get_close_matches(str(wrong), known, n=1)
    return (f"; did you mean {close[0]}?" if close else ";") + f" Known: {', '.join(known)}."


def join(path: str, key: Any) -> str:
    """The dotted path of a key: "training.batch"."""
    return f"{path}.{key}" if path else str(key)


def differing(a: Any, b: Any, path: str = "") -> Iterator[str]:
    """The dotted keys at which two specs differ, those that only one of them has included."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            if key in a and key in b:
                yield from differing(a[key], b[key], join(path, key))
            else:
                yield join(path, key)
    elif a != b:
        yield path


def _divisors(number: int) -> str:
    return ", ".join(str(n) for n in range(1, number + 1) if number % n == 0)
