"""The models, one file each: a spec calls a model by its file's name."""

from importlib import import_module
from typing import Any

from torch import nn


def build_model(spec: dict[str, Any], *, image: int) -> nn.Module:
    """The model of a spec's `model` block for `image`-pixel images: MODEL of the file `<name>.py` beside this one.

    Raises ValueError where there is no such model, or where its settings do not fit.
    """
    options = {key: value for key, value in spec.items() if key != "name"}
    if "patch" in options:
        options["image"] = image
    try:
        model = import_module(f"{__name__}.{spec['name']}").MODEL
    except (ModuleNotFoundError, AttributeError):
        raise ValueError(f"model.name is {spec['name']!r}, which is no model.") from None
    return model(**options)
