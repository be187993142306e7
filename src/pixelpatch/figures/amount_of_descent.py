"""Why numbers alone could name an amount of training and not its settings: a documented loss against learning rate ×
epochs / (1 − momentum), the amount of descent. Points are the settings that were searched blind, the mean of n seeds
each; the dashed line is the documented loss, the circle the settings that the rule names by it, and the star what the
author ran.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from pixelpatch.figures import style
from pixelpatch.questions import at, has
from pixelpatch.tables import read_table

RATE, MOMENTUM = "training.learning_rate", "training.momentum"


@style.styled
def draw(study: Mapping[str, Any], tables: Path, data: Path) -> Figure:
    """The losses of `identification.csv` in `tables` whose question varies rate and momentum; `data` is not used."""
    explained = read_table(tables, "identification", study)
    explained = explained[explained["metric"].str.endswith("loss") & explained["mean"].gt(0)]
    explained = explained[explained["experiment"].map(lambda name: _varies(study, name)).astype(bool)]
    panels = [own for _, own in explained.groupby(["question", "claim"], sort=False) if not own["truth"].all()]
    if not panels:
        return style.empty("No amount of descent was searched")
    figure, axes = style.panels(len(panels), columns=2, height=3.0)
    for axis, own in zip(axes, panels, strict=True):
        descent = pd.Series([_descent(study, row) for row in own.to_dict("records")], index=own.index)
        truth = own["truth"].astype(bool)
        for momentum, part in own[~truth].groupby(own["experiment"].map(lambda name: _setting(study, name, MOMENTUM))):
            axis.plot(descent[part.index], part["mean"], "o", ms=4, alpha=0.8, label=f"searched, momentum {momentum:g}")
        named = own[own["identified"]]
        axis.plot(descent[named.index], named["mean"], "o", ms=11, mfc="none", mec="#D55E00", mew=1.5, label="named")
        axis.plot(descent[truth], own["mean"][truth], "*", ms=13, mfc="#009E73", mec="white", label="the author's")
        axis.axhline(float(own["documented"].iloc[0]), ls="--", lw=1, color="0.3", label="documented")
        axis.set_xscale("log")
        axis.set_yscale("log")
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_formatter("{x:g}")
            scale.set_minor_formatter("")
        axis.set_xlabel("learning rate × epochs / (1 − momentum)")
        axis.set_ylabel("test loss (nats)")
        n = style.seeds(int(own["n_seeds"].max()), least=int(own["n_seeds"].min()))
        axis.set_title(f"{style.name(study, own['system'].iloc[0])}\n{n}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _varies(study: Mapping[str, Any], experiment: str) -> bool:
    return has(study["experiments"][experiment]["spec"], MOMENTUM)


def _setting(study: Mapping[str, Any], experiment: str, key: str) -> float:
    return at(study["experiments"][experiment]["spec"], key)


def _descent(study: Mapping[str, Any], row: Mapping[str, Any]) -> float:
    """Learning rate × epochs / (1 − momentum) of a row's experiment, at the row's number of epochs."""
    rate, momentum = (_setting(study, row["experiment"], key) for key in (RATE, MOMENTUM))
    return rate * row["epochs"] / (1 - momentum)
