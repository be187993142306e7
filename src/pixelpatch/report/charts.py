"""The report's interactive charts, as Vega by Altair: a point for every seed, which names its record and leads to it.

A chart of several systems has the parameter `shown`, those that the reader wants to see. Axes and text take the page's
colour.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import pandas as pd
import vl_convert

from pixelpatch.analysis.oddities import effects
from pixelpatch.figures import style
from pixelpatch.figures.learning_curves import LOG_FROM, METRICS
from pixelpatch.formatting import patch_size
from pixelpatch.metrics import ACCURACY, TRAIN_SECONDS
from pixelpatch.study import systems
from pixelpatch.tables import read_table
from pixelpatch.tables.accuracy import ACCURACY_METRICS

LEAST_ERROR = 0.005  # percent: where an accuracy of 100 % is put, on an axis that has no such end
SHOWN = "!datum.system || indexof(shown, datum.system) >= 0 && (!datum.other || indexof(shown, datum.other) >= 0)"
STEP = 66  # pixels: a row of a chart, its title above its means and these above its seeds
_X = "M-1-.5-.5-1 0-.5.5-1 1-.5.5 0 1 .5.5 1 0 .5-.5 1-1 .5-.5 0Z"
SHAPES = {  # Vega's names of the figures' markers
    "o": "circle", "s": "square", "^": "triangle-up", "v": "triangle-down", "P": "cross", "X": _X,
    "<": "triangle-left", ">": "triangle-right", "p": "arrow",
}  # fmt: skip
CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "domainColor": "currentColor", "gridColor": "currentColor", "gridOpacity": 0.15, "labelColor": "currentColor",
        "labelFontSize": 12, "tickColor": "currentColor", "titleColor": "currentColor", "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "legend": {
        "labelColor": "currentColor", "labelFontSize": 12, "orient": "top", "titleColor": "currentColor",
        "titleFontSize": 12,
    },
}  # fmt: skip


class Chart(NamedTuple):
    """One chart of the page: where it stands, what it says to those who do not see it, and its Vega."""

    name: str
    section: str
    title: str
    description: str
    systems: list[str]  # those it is about: it is hidden where none of them is shown
    spec: dict[str, Any]


def charts(study: Mapping[str, Any], tables: Path) -> list[Chart]:
    """All charts that the tables in the folder `tables` have something to draw for."""
    draw = _Drawing(study, tables)
    return [*draw.accuracy(), *draw.curves(), *draw.oddities(), *draw.patches(), *draw.comparisons()]


class _Drawing:
    """The study, its seeds, and what all charts have in common."""

    def __init__(self, study: Mapping[str, Any], tables: Path) -> None:
        self.study, self.tables = study, tables
        self.titles = {name: block["title"] for name, block in study["experiments"].items()}
        records = read_table(tables, "provenance", study)[["experiment", "seed", "record"]]
        self.runs = read_table(tables, "runs", study).merge(records, on=["experiment", "seed"])
        self.curve_runs = read_table(tables, "curves", study).merge(records, on=["experiment", "seed"])
        looks = style.looks(study)
        self.colour = alt.Scale(domain=list(looks), range=[look.colour for look in looks.values()])
        self.shape = alt.Scale(domain=list(looks), range=[SHAPES[look.marker] for look in looks.values()])

    def accuracy(self) -> Iterator[Chart]:
        runs = self.runs[self.runs["metric"].isin(ACCURACY_METRICS)]
        present = style.present(self.study, runs)
        if not present:
            return
        runs = runs[runs["experiment"].isin(present)].rename(columns={"experiment": "system"})
        runs = runs.assign(
            title=runs["system"].map(self._row_title), error=(100 - runs["value"]).clip(lower=LEAST_ERROR)
        )
        metric = {row["system"]: row["metric"] for row in runs.to_dict("records")}
        printed = pd.DataFrame(
            [
                {
                    "system": system,
                    "title": self._row_title(system),
                    "value": value,
                    "error": max(100 - value, LEAST_ERROR),
                }
                for system in present
                if (value := style.printed_accuracy(self.study, system, metric[system])) is not None
            ],
            columns=["system", "title", "value", "error"],
        )
        x = alt.X("error:Q").title("test accuracy (%), log scale of the error rate")
        x = x.scale(type="log", reverse=True, nice=False, padding=12)
        x = x.axis(labelExpr="format(100 - datum.value, '.4~g')", tickCount=5, values=[50, 20, 10, 5, 2, 1, 0.5, 0.2])
        means = runs.groupby(["system", "title"], sort=False)["value"].agg(["mean", "count"]).reset_index()
        means = means.assign(error=(100 - means["mean"]).clip(lower=LEAST_ERROR))
        layers = (
            self._titles(runs, "system"),
            self._seeds(runs, "error:Q", "system").encode(x=x),
            alt.Chart(means)
            .mark_tick(thickness=3, size=22)
            .encode(
                x=x, y=self._row("system"), color=self._of_system(), tooltip=[
                    "system", alt.Tooltip("mean:Q", format=".2f"), alt.Tooltip("count:Q", title="seeds"),
                ],
            ),
            alt.Chart(printed)
            .mark_point(shape="diamond", size=120, filled=False, strokeWidth=2, color="currentColor")
            .encode(x=x, y=self._row("system"), tooltip=["system:N", alt.Tooltip("value:Q", title="documented")]),
        )  # fmt: skip
        yield self._chart(
            "accuracy",
            "does-it-reproduce",
            "Documented accuracy and ours",
            "Test accuracy of every system: a point per seed, a bar at their mean, and a hollow diamond at the "
            "documented number.",
            present,
            *layers,
            height=alt.Step(STEP),
        )

    def curves(self) -> Iterator[Chart]:
        for metric, words in METRICS.items():
            of_metric = self.curve_runs[self.curve_runs["metric"] == metric]
            for system in style.present(self.study, of_metric):
                own = of_metric[of_metric["experiment"] == system]
                printed = style.printed_curve(self.study, system, metric)
                drawn = [*own["value"], *printed]
                log = metric.endswith("/loss") and min(drawn) > 0 and max(drawn) / min(drawn) > LOG_FROM
                y = alt.Y("value:Q").title(words + (" (log)" if log else ""))
                y = y.scale(type="log" if log else "linear", zero=False)
                epochs = max(own["epoch"].max(), len(printed))
                every = math.ceil(epochs / 10)
                x = alt.X("epoch:Q").title("epoch").axis(values=list(range(every, epochs + 1, every)), format="d")
                x = x.scale(domain=[1, max(epochs, 2)], nice=False, padding=6)
                colour = dict(zip(self.colour.domain, self.colour.range, strict=True))[system]
                lines = alt.Chart(own).mark_line(
                    color=colour, opacity=0.7, strokeWidth=1, point={"size": 18, "color": colour, "opacity": 0.7}
                )
                lines = lines.encode(x=x, y=y, detail="seed:N", tooltip=[*_SEED, "epoch"], href="record:N")
                documented = pd.DataFrame({"epoch": range(1, len(printed) + 1), "value": printed})
                dashed = alt.Chart(documented).mark_line(color="currentColor", strokeDash=[5, 3], point=_HOLLOW)
                dashed = dashed.encode(x=x, y=y, tooltip=["epoch", alt.Tooltip("value", title="documented")])
                yield self._chart(
                    f"curve-{system}-{metric.replace('/', '-')}",
                    "learning-curves",
                    f"{self.titles[system]}: {words}",
                    f"{words} of {self.titles[system]} after every epoch: a line per seed"
                    + (", and dashed the documented curve." if printed else "."),
                    [system],
                    lines,
                    *([dashed] if printed else []),
                    height=170,
                )

    def oddities(self) -> Iterator[Chart]:
        table = read_table(self.tables, "oddities", self.study)
        table = table[(table["n_documented"] > 0) & (table["n_mended"] > 0)]
        if table.empty:
            return
        table = table.assign(
            title=[f"{self.titles[row.system]}: {row.oddity}\n→ {row.instead}" for row in table.itertuples()]
        )
        found = {row["experiment"]: effects(row, self.runs) for row in table.to_dict("records")}
        points = self.runs.merge(table, on=["experiment", "metric"])
        effect = [found[row.experiment].get(row.seed, math.nan) for row in points.itertuples()]
        points = points.assign(effect=effect).dropna(subset="effect")
        points = points[["system", "experiment", "title", "seed", "value", "record", "effect"]]
        x = alt.X("effect:Q").title("points of accuracy without the oddity, log beyond ±1")
        x = x.scale(type="symlog", constant=1, padding=12).axis(
            labelExpr="datum.value ? format(datum.value, '+') : '0'", values=_BOTH_SIDES
        )
        tested = ["test", "n_documented", "n_mended", "effect_points", "interval_low", "interval_high", "p_holm"]
        bars = table[["system", "experiment", "title", *tested]].dropna(subset="interval_low")
        tooltip = [
            "experiment", "test:N", "n_documented:Q", "n_mended:Q", alt.Tooltip("effect_points", format="+.2f"),
            alt.Tooltip("interval_low", format="+.2f"), alt.Tooltip("interval_high", format="+.2f"),
            alt.Tooltip("p_holm", format=".2~g"),
        ]  # fmt: skip
        interval = alt.Chart(bars).encode(y=self._row("experiment"), color=self._of_system(), tooltip=tooltip)
        layers = (
            self._titles(table, "experiment"),
            alt.Chart(pd.DataFrame({"zero": [0]})).mark_rule(color="currentColor").encode(x="zero:Q"),
            self._seeds(points, "effect:Q", "experiment", more=[alt.Tooltip("effect:Q", format="+.2f")]).encode(x=x),
            interval.mark_rule(strokeWidth=2).encode(x="interval_low:Q", x2="interval_high:Q"),
            interval.mark_tick(thickness=3, size=18).encode(x="effect_points:Q"),
        )
        yield self._chart(
            "oddities",
            "what-each-oddity-costs",
            "Accuracy without each oddity, minus accuracy with it",
            "Points of accuracy that each oddity costs: a point per seed, a bar at the mean and its interval. Where "
            "the same weights are tested otherwise, a seed is held against itself, else against the mean of all seeds "
            "with the oddity. To the right of zero the system is better without it.",
            list(dict.fromkeys(table["system"])),
            *layers,
            height=alt.Step(STEP),
        )

    def patches(self) -> Iterator[Chart]:
        sweep = read_table(self.tables, "patch_sweep", self.study)
        if sweep.empty:
            return
        columns = ["experiment", "train_images", "model", "patch", "test_mean", "tera_flops", "seconds"]
        sweep = sweep[columns]
        order = [patch_size(size) for size in sweep["patch"].drop_duplicates().sort_values(ascending=False)]  # NaN last
        sweep = sweep.assign(name=sweep["patch"].map(patch_size), images=sweep["train_images"].map("{:,}".format))
        seconds = self.runs[self.runs["metric"] == TRAIN_SECONDS].set_index(["experiment", "seed"])["value"]
        seeds = self.runs[self.runs["metric"] == ACCURACY].merge(sweep.drop(columns="seconds"), on="experiment")
        seeds = seeds.join(seconds.rename("seconds"), on=["experiment", "seed"])
        images = [f"{count:,}" for count in sorted(set(sweep["train_images"]))]
        colour = alt.Color("images:N").title("training images")
        colour = colour.scale(domain=images, range=list(style.COLOURS[: len(images)]))
        y = alt.Y("value:Q").title("test accuracy (%)").scale(zero=False, padding=6)
        places = {
            "patch": (
                "patch size",
                alt.X("name:N").sort(order).title("patch (pixels along a side)").axis(labelAngle=0),
            ),
            "tera_flops": (
                "operations",
                alt.X("tera_flops:Q").title("operations of training (10¹²)").scale(type="log"),
            ),
            "seconds": ("seconds", alt.X("seconds:Q").title("seconds of training").scale(type="log")),
        }
        means = sweep.rename(columns={"test_mean": "value"})
        for key, (words, x) in places.items():
            shape = alt.Shape("model:N").legend(None).scale(domain=["vit", "cnn"], range=["circle", "square"])
            points = alt.Chart(seeds).mark_point(size=22, filled=True, opacity=0.6)
            points = points.encode(
                x=x, y=y, color=colour, shape=shape, tooltip=[*_SEED, "name", "images"], href="record:N"
            )
            line = alt.Chart(means).transform_filter("datum.model == 'vit'").mark_line(strokeWidth=2)
            line = line.encode(x=x, y=y, color=colour)
            yield self._chart(
                f"patches-{key.replace('_', '-')}",
                "pixels-or-patches",
                f"Accuracy against {words}",
                f"Test accuracy against {words} for each size of the training set: a point per seed, a line through "
                f"the transformers' means{' at their median' if key == 'seconds' else ''}; squares are the CNN.",
                [],
                line,
                points,
                height=260,
            )

    def comparisons(self) -> Iterator[Chart]:
        table = read_table(self.tables, "comparisons", self.study).dropna(subset="interval_low")
        table = table[table["metric"] == "test/accuracy"]
        if table.empty:
            return
        table = table.assign(
            system=table["system_a"],
            other=table["system_b"],
            pair=table["system_a"] + " − " + table["system_b"],
            title=[f"{self.titles[row.system_a]} − {self.titles[row.system_b]}" for row in table.itertuples()],
        )
        tooltip = [
            "pair", alt.Tooltip("difference", format="+.2f"), alt.Tooltip("interval_low", format="+.2f"),
            alt.Tooltip("interval_high", format="+.2f"), alt.Tooltip("p_holm", format=".2~g"), "n_a", "n_b",
        ]  # fmt: skip
        both = alt.Chart(table).encode(y=self._row("pair"), color=self._of_system(), tooltip=tooltip)
        layers = (
            self._titles(table, "pair"),
            alt.Chart(pd.DataFrame({"zero": [0]})).mark_rule(color="currentColor").encode(x="zero:Q"),
            both.mark_rule(strokeWidth=3).encode(
                x=alt.X("interval_low:Q").title("difference of mean test accuracies (points)"), x2="interval_high:Q"
            ),
            both.mark_point(filled=True, size=70).encode(x="difference:Q"),
        )
        yield self._chart(
            "comparisons",
            "comparisons",
            "Differences of mean accuracy",
            "The difference of the mean test accuracies of every pair of systems, with its interval.",
            list(dict.fromkeys(table["system"])),
            *layers,
            height=alt.Step(STEP),
        )

    def _row_title(self, system: str) -> str:
        reduced = " (reduced budget)" if self.study["experiments"][system]["narrowed"] else ""
        return self.titles[system] + reduced

    def _row(self, field: str) -> alt.Y:
        return alt.Y(f"{field}:N").sort(None).axis(None)

    def _of_system(self) -> alt.Color:
        return alt.Color("system:N").scale(self.colour).legend(None)

    def _titles(self, table: pd.DataFrame, field: str) -> alt.Chart:
        """The title of each row above its points, where also a narrow screen has room for it."""
        rows = table[["system", field, "title"]].loc[:, lambda frame: ~frame.columns.duplicated()].drop_duplicates()
        text = alt.Chart(rows).mark_text(
            align="left", baseline="line-top", dy=2 - STEP / 2, color="currentColor", fontSize=12, lineBreak="\n"
        )
        return text.encode(x=alt.value(0), y=self._row(field), text="title:N")

    def _seeds(self, runs: pd.DataFrame, x: str, field: str, more: list[alt.Tooltip] | None = None) -> alt.Chart:
        points = alt.Chart(runs).transform_calculate(jitter="datum.seed % 3")  # three lines of points, below the mean
        return points.mark_point(filled=True, size=30, opacity=0.65).encode(
            x=x,
            y=self._row(field),
            yOffset=alt.YOffset("jitter:Q").scale(domain=[-5, 3], nice=False),
            color=self._of_system(),
            shape=alt.Shape("system:N").scale(self.shape).legend(None),
            tooltip=[*(more or []), *(_OF_SYSTEM if field == "system" else _SEED)],
            href="record:N",
        )

    def _chart(
        self, name: str, section: str, title: str, description: str, about: list[str], *layers: alt.Chart, height: Any
    ) -> Chart:
        """A chart of `layers`; of several systems, it shows the rows of those that are in its parameter `shown`."""
        if len(about) > 1:
            layers = tuple(layer.transform_filter(SHOWN) for layer in layers)
        chart = alt.layer(*layers).properties(width="container", height=height, description=description)
        if len(about) > 1:
            chart = chart.add_params(alt.param(name="shown", value=list(systems(self.study))))
        with alt.data_transformers.enable("default", max_rows=None):
            spec = vl_convert.vegalite_to_vega(chart.configure(**CONFIG).to_dict())  # which a browser draws at once
        return Chart(name, section, title, description, about, spec)


_HOLLOW = {"shape": "diamond", "filled": False, "color": "currentColor", "size": 45}
_BOTH_SIDES = [-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100]
_VALUE = alt.Tooltip("value:Q", format=".5~g")
_SEED = [alt.Tooltip("experiment:N"), alt.Tooltip("seed:Q"), _VALUE, alt.Tooltip("record:N")]
_OF_SYSTEM = [alt.Tooltip("system:N", title="experiment"), *_SEED[1:]]
