"""What is known of an experiment without any training: sizes of its data and its model, and its first labels."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from pixelpatch.checks import image_side, split_sizes
from pixelpatch.data import make_splits
from pixelpatch.metrics import FIRST_LABELS
from pixelpatch.models import build_model
from pixelpatch.study import systems

FACTS = ["experiment", "metric", "value"]


def facts(study: Mapping[str, Any], mnist: dict[str, Tensor]) -> pd.DataFrame:
    """The facts of every system of `study`, by the metrics that a run of it records too: the columns FACTS.

    They are those of the documented budget, whatever the preset narrows. Besides numbers there are
    `data/<split>_first_labels`, of the first FIRST_LABELS images of a split as the spec draws
    it, in words such as "1 4 7 4".
    """
    rows = []
    for name, experiment in systems(study).items():
        spec = experiment["spec"]
        data = {key: value for key, value in spec["data"].items() if key != "limit"}
        rows += [(name, f"data/{split}_images", str(size)) for split, size in split_sizes(data).items()]
        with torch.device("meta"):  # shapes alone: nothing is drawn
            model = build_model(spec["model"], image=image_side(spec["data"]))
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        rows.append((name, "model/parameters", str(trained)))
        known = ("sequence_length", "vocabulary")
        rows += [(name, f"model/{fact}", str(getattr(model, fact))) for fact in known if hasattr(model, fact)]
        if "grids" not in data:
            for split, images in make_splits(data, mnist).items():
                labels = " ".join(map(str, images.labels[:FIRST_LABELS].tolist()))
                rows.append((name, f"data/{split}_first_labels", labels))
    return pd.DataFrame(rows, columns=FACTS)
