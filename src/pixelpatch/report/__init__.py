"""The report: one page for a browser, of the findings' text, interactive charts, the tables and the records' addresses.

It says nothing that FINDINGS.md, the tables and the figures do not say: it is those, to be looked at. All of it is in
the file, Vega with it, so that it opens without a network and can be sent. Its look is in templates/report.*.
"""

import base64
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from pixelpatch import figures, formatting
from pixelpatch.errors import RESTORE, UserError
from pixelpatch.files import read_text
from pixelpatch.report.charts import charts
from pixelpatch.study import systems
from pixelpatch.tables import NAMES, read_table
from pixelpatch.tables.accuracy import ACCURACY_METRICS

SEEN = ("sample_inputs", "attention_maps", "position_similarity", "grid_reading", "always_wrong", "confusion")
SHOWN = (
    "documented_vs_replicated",
    "specification_curve",
    "budget_map",
    "amount_of_descent",
    *SEEN,
)  # figures that are no chart here
BEHIND = {  # of a chart, by the first part of its name, or of a figure: the table that it is drawn from
    "accuracy": "tables/runs.csv",
    "curve": "tables/curves.csv",
    "oddities": "#table-oddities",
    "patches": "#table-patch_sweep",
    "comparisons": "#table-comparisons",
    "documented_vs_replicated": "#table-claims",
    "specification_curve": "#table-specifications",
    "budget_map": "#table-identification",
    "amount_of_descent": "#table-identification",
    "confusion": "tables/confusion.csv",
    "always_wrong": "tables/correctness.csv",
}


def report(study: Mapping[str, Any], results: Path, published: Path | None = None) -> str:
    """The page as HTML, of the findings, tables and figures in the folder `results`.

    `published` is the folder of other results, to be shown beside these. Raises UserError where a file cannot be read.
    """
    environment = Environment(
        loader=PackageLoader("pixelpatch"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        autoescape=True,
    )  # fmt: skip
    environment.filters |= {name: getattr(formatting, name) for name in ("counted", "fixed", "number")}
    environment.globals |= {"mean_sd": formatting.mean_sd, "raw": _raw}
    tables = results / "tables"
    experiments = list(_experiments(study, tables))
    reader = _Reader(study, {experiment["name"] for experiment in experiments})
    drawn = charts(study, tables)
    return environment.get_template("report.html").render(
        study=study,
        systems={name: block["title"] for name, block in systems(study).items()},
        sections=reader.sections(read_text(results / "FINDINGS.md")),
        charts=drawn,
        curves=[chart for chart in drawn if chart.section == "learning-curves"],
        figures={name: _image(results / "figures" / f"{name}.svg") for name in SHOWN},
        seen=SEEN,
        behind=BEHIND,
        captions={name: figures.caption(name) for name in SHOWN},
        tables={name: reader.html(read_text(tables / f"{name}.md")) for name in NAMES},
        experiments=experiments,
        beside=_beside(tables, published / "tables") if published else [],
        published=published and Path(os.path.relpath(published, results), "report.html").as_posix(),
        library=vl_convert.javascript_bundle(),
    )


class _Reader:
    """Markdown into HTML whose links stay on the page, and whose rows name their systems and lead to their records."""

    def __init__(self, study: Mapping[str, Any], recorded: set[str]) -> None:
        self.markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
        self.systems, self.recorded = list(systems(study)), recorded
        names = {name: name for name in study["experiments"]}
        names |= {study["experiments"][name]["title"]: name for name in self.systems}
        self.names = names

    def html(self, text: str) -> Markup:
        """`text` as HTML."""
        return self._render(self.markdown.parse(text))

    def sections(self, text: str) -> list[tuple[str, str, Markup]]:
        """The sections of a page, whatever their level: the anchor, the heading and the HTML below it.

        Raises UserError where there is none.
        """
        tokens = self.markdown.parse(text)
        starts = [place for place, token in enumerate(tokens) if token.type == "heading_open"]
        if not starts:
            raise UserError(f"FINDINGS.md has no heading; {RESTORE}.")
        found = []
        for start, end in itertools.pairwise([*starts, len(tokens)]):
            heading = tokens[start + 1].content
            anchor = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
            found.append((anchor, heading, self._render(tokens[start + 3 : end])))
        return found

    def _render(self, tokens: list[Token]) -> Markup:
        row: Token | None = None
        for token in tokens:
            if token.type in ("tr_open", "tr_close"):
                row = token if token.type == "tr_open" else None
            elif token.type == "inline":
                for link in token.children:
                    if link.type == "link_open":
                        link.attrSet("href", _on_page(str(link.attrGet("href"))))
                if row is not None:
                    self._mark(row, token)
        html = self.markdown.renderer.render(tokens, self.markdown.options, {})
        return Markup(
            html.replace("<table>", '<div class="scroll" tabindex="0"><table>').replace("</table>", "</table></div>")
        )

    def _mark(self, row: Token, cell: Token) -> None:
        """If a cell names an experiment, have it lead to its records, and its row say which system that is."""
        said = "".join(child.content for child in cell.children)
        experiment = self.names.get(said.removesuffix(" ¹"))  # the mark of settings that are ours
        if experiment is None:
            return
        if experiment in self.systems:
            named = str(row.attrGet("data-systems") or "").split()
            row.attrSet("data-systems", " ".join(dict.fromkeys([*named, experiment])))
        if experiment in self.recorded and not any(child.type == "link_open" for child in cell.children):
            address = {"href": f"#records-{experiment}"}
            cell.children = [Token("link_open", "a", 1, attrs=address), *cell.children, Token("link_close", "a", -1)]


def _on_page(address: str) -> str:
    """Where on the page is what a link of the findings leads to: its records, tables and most figures are there."""
    for pattern, anchor in (
        (r"runs/([\w.-]+)", r"#records-\1"),
        (r"tables/(\w+)\.md", r"#table-\1"),
        (rf"figures/({'|'.join(SHOWN)})\.png", r"#figure-\1"),
        (r"(runs|tables)", r"#\1"),
    ):
        if re.fullmatch(pattern, address):
            return re.sub(pattern, anchor, address)
    return address


def _experiments(study: Mapping[str, Any], tables: Path) -> Iterator[dict[str, Any]]:
    """Every experiment with records: its name, title and source, the seconds of its runs, and a row per record."""
    runs = read_table(tables, "runs", study)
    runs = runs.replace({"metric": dict.fromkeys(ACCURACY_METRICS, "accuracy")})
    values = runs.pivot(index=["experiment", "seed"], columns="metric", values="value")
    values = values.reindex(columns=["accuracy", "timing/seconds"]).reset_index()
    joined = read_table(tables, "provenance", study).merge(values, on=["experiment", "seed"], how="left")
    for experiment, own in joined.groupby("experiment", sort=False):
        yield {
            "name": experiment,
            "title": study["experiments"][experiment]["title"],
            "source": study["experiments"][experiment]["source"],
            "seconds": own["timing/seconds"].sum(),
            "records": own.astype(object).where(own.notna(), "").to_dict("records"),
        }


def _beside(tables: Path, published: Path) -> list[dict[str, Any]]:
    """The systems that both have: accuracies here and published."""
    here, there = (read_table(folder, "accuracy") for folder in (tables, published))
    both: pd.DataFrame = here.merge(there, on=["system", "title", "test_metric"], suffixes=("", "_published"))
    return both.to_dict("records")


def _image(file: Path) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(read_text(file).encode()).decode()


def _raw(name: str) -> Markup:
    """A file of the templates as it is: what stands in it is ours."""
    return Markup(Path(__file__).parents[1].joinpath("templates", name).read_text(encoding="utf-8"))
