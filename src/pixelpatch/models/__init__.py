"""The models by the name that a spec calls them."""

from typing import Any

from torch import nn

from pixelpatch.models.blog_vit import BlogVit
from pixelpatch.models.cnn import Cnn
from pixelpatch.models.grid_reader import GridReader
from pixelpatch.models.vit import VisionTransformer

MODELS: dict[str, type[nn.Module]] = {
    "vit": VisionTransformer,
    "blog_vit": BlogVit,
    "cnn": Cnn,
    "grid_reader": GridReader,
}


def build_model(spec: dict[str, Any], *, image: int) -> nn.Module:
    """The model of a spec's `model` block for `image`-pixel images. Raises ValueError where its settings do not fit."""
    options = {key: value for key, value in spec.items() if key != "name"}
    if "patch" in options:
        options["image"] = image
    return MODELS[spec["name"]](**options)
