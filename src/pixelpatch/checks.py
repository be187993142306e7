"""Which model settings fit together: one sentence for each that do not.

Used twice: by the models' constructors, and over the whole configuration before anything trains.
"""

from typing import Any


def heads_divide_width(*, heads: int, width: int) -> list[str]:
    """Attention splits the width evenly over its heads."""
    if width % heads == 0:
        return []
    return [f"heads is {heads}, which does not divide the width {width}; choose from {_divisors(width)}."]


def patch_divides_image(*, patch: int, image: int) -> list[str]:
    """Patches cover the image without remainder."""
    if image % patch == 0:
        return []
    return [f"patch is {patch}, which does not divide the {image}-pixel image; choose from {_divisors(image)}."]


def model_problems(model: dict[str, Any], image: int) -> list[str]:
    """Every sentence about the `model` block of a spec whose input images are `image` pixels wide."""
    problems = []
    if "heads" in model and "width" in model:
        problems += heads_divide_width(heads=model["heads"], width=model["width"])
    if "patch" in model:
        problems += patch_divides_image(patch=model["patch"], image=image)
    if model.get("positions") == "sincos" and model["width"] < 2:
        problems += [f"width is {model['width']}; sine/cosine positions need at least 2."]
    patches = (image // model["patch"]) ** 2 if "patch" in model else 0
    if (slots := model.get("position_slots", patches + 1)) < patches + 1:
        problems += [f"position_slots is {slots}, but {patches} patches and a class token need {patches + 1}."]
    return problems


def raise_first(problems: list[str]) -> None:
    """Raises ValueError with the first of `problems`, if there are any."""
    if problems:
        raise ValueError(problems[0])


def _divisors(number: int) -> str:
    return ", ".join(str(n) for n in range(1, number + 1) if number % n == 0)
