"""`python -m pixelpatch <verb>`: every step of the study, by itself."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pixelpatch.errors import UserError
from pixelpatch.files import read_json, readable_json, write_atomically

TABLES = ("claims", "comparisons", "accuracy")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0, or 1 after a sentence on stderr about what was wrong."""
    options = build_parser().parse_args(arguments)
    try:
        options.verb(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; what was finished is kept.", file=sys.stderr)
        return 130
    return 0


def fetch(options: argparse.Namespace) -> None:
    """Download MNIST, checked against its canonical digests."""
    from pixelpatch.fetch import fetch as fetch_mnist

    for message in fetch_mnist(options.folder, _json(options.sources, "--sources")):
        print(message, file=sys.stderr)


def study(options: argparse.Namespace) -> None:
    """Check a configuration and write the study that it describes."""
    import yaml

    from pixelpatch.study import resolve

    schema = yaml.safe_load(options.schema.read_text(encoding="utf-8"))
    write_atomically(options.output, readable_json(resolve(_json(options.config, "--config"), schema)))


def train(options: argparse.Namespace) -> None:
    """Train one experiment from one seed, or all runs of a study that have no record yet, and write the records."""
    from pixelpatch.data import load_mnist
    from pixelpatch.record import FORMAT, provenance, read_record, write_record
    from pixelpatch.training import train as train_model

    runs = _runs(options)
    mnist = load_mnist(options.data)
    device = options.device or _best_device()
    for run in runs:
        name = f"{run['experiment']} seed {run['seed']}"
        path = run["record"]
        if options.study and path.exists() and read_record(path)["spec"] == run["spec"]:
            print(f"{name}: {path} is there already", file=sys.stderr)
            continue
        result = train_model(run["spec"], run["seed"], mnist, device=device, threads=options.threads, name=name)
        record = {
            "format": FORMAT,
            "experiment": run["experiment"],
            "seed": run["seed"],
            "spec": run["spec"],
            "provenance": provenance(device=_device_name(device), threads=options.threads),
            **result,
        }
        write_record(path, record)
        scores = ", ".join(f"{k} {v:.4g}" for k, v in result["metrics"].items() if k.startswith("test/"))
        print(f"{name}: {scores}, {result['timing']['seconds']:.0f} s → {path}", file=sys.stderr)


def collect(options: argparse.Namespace) -> None:
    """Gather the records into tidy tables."""
    from pixelpatch.analysis.collect import collect as collect_records

    tidy = collect_records(read_json(options.study), options.study.parent)
    for note in tidy.notes:
        print(f"note: {note}", file=sys.stderr)
    for name in ("runs", "curves", "confusion"):
        write_atomically(options.tables / f"{name}.csv", getattr(tidy, name).to_csv(index=False))


def tables(options: argparse.Namespace) -> None:
    """Judge the claims, compare the systems, sum up accuracies: one table each, as CSV, Markdown and LaTeX."""
    from functools import partial

    import numpy as np

    from pixelpatch import tables as write
    from pixelpatch.analysis.claims import judge
    from pixelpatch.analysis.comparisons import compare

    study = read_json(options.study)
    runs = write.read_table(options.tables, "runs")
    alpha = study["analysis"]["alpha"]
    match options.table:
        case "claims":
            frame = judge(study, runs, write.read_table(options.tables, "curves"))
            columns = partial(write.claims_view, alpha=alpha)
            caption = "What the write-ups document, and what our runs show."
        case "comparisons":
            frame = compare(study, runs, np.random.default_rng(study["analysis"]["rng_seed"]))
            columns = partial(write.comparisons_view, alpha=alpha)
            caption = "Every pair of systems on the metrics they share."
        case _:
            frame = write.summary(runs, study)
            columns = write.accuracy_view
            caption = "Accuracy, size and cost of every system."
    caption = f"{caption} Preset {study['preset']}."
    write.write_table(frame, options.tables / options.table, caption=caption, columns=columns)


def figure(options: argparse.Namespace) -> None:
    """Draw one figure as PDF and PNG."""
    from pixelpatch.figures import FIGURES, save

    drawn = FIGURES[options.name](read_json(options.study), options.tables, options.data)
    save(drawn, options.output.with_suffix(""))


def show(options: argparse.Namespace) -> None:
    """Print the verdict table of a finished study, and where its figures lie."""
    from pixelpatch.tables import read_table, terminal_claims

    print(terminal_claims(read_table(options.results / "tables", "claims")))
    print(f"\nTables:  {options.results / 'tables'}\nFigures: {options.results / 'figures'}")


def readme(options: argparse.Namespace) -> None:
    """Put the verdict table of a finished study between the marks in README.md."""
    start, end = "<!-- verdicts: made by `make readme` -->", "<!-- end of verdicts -->"
    text = options.readme.read_text(encoding="utf-8")
    if text.count(start) != 1 or text.count(end) != 1:
        raise UserError(f"{options.readme} must have the lines {start} and {end}, once each.")
    before, rest = text.split(start)
    table = (options.results / "tables/claims.md").read_text(encoding="utf-8")
    write_atomically(options.readme, f"{before}{start}\n\n{table}\n{end}{rest.split(end)[1]}")


def build_parser() -> argparse.ArgumentParser:
    """The command line; a verb is a function of this module, and its help that function's docstring."""
    parser = argparse.ArgumentParser(prog="python -m pixelpatch", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="verb")

    def verb(function: Any) -> argparse.ArgumentParser:
        added = verbs.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        added.set_defaults(verb=function)
        return added

    command = verb(fetch)
    command.add_argument("--folder", type=Path, required=True, help="where the four files go")
    command.add_argument("--sources", required=True, help="data.sources of the configuration, as JSON")

    command = verb(study)
    command.add_argument("--config", required=True, help="the configuration, as JSON")
    command.add_argument("--schema", type=Path, required=True, help="its JSON schema")
    command.add_argument("--output", type=Path, required=True, help="the study.json to write")

    command = verb(train)
    command.add_argument("study", type=Path, nargs="?", help="a study.json: train all of its runs that have no record")
    command.add_argument("--only", help="of the study, these experiments, separated by commas")
    command.add_argument("--experiment", help="instead of a study: the name of one experiment")
    command.add_argument("--spec", help="its spec, as JSON")
    command.add_argument("--seed", type=int)
    command.add_argument("--record", type=Path, help="the record to write")
    command.add_argument("--data", type=Path, required=True, help="folder of the MNIST files")
    command.add_argument("--threads", type=int, default=1, help="CPU threads; bits repeat at the same count")
    command.add_argument("--device", help="cpu or cuda; the GPU if there is one, by default")

    command = verb(collect)
    command.add_argument("--study", type=Path, required=True)
    command.add_argument("--tables", type=Path, required=True, help="folder of the tables to write")

    command = verb(tables)
    command.add_argument("table", choices=TABLES)
    command.add_argument("--study", type=Path, required=True)
    command.add_argument("--tables", type=Path, required=True, help="folder of the tables, read and written")

    command = verb(figure)
    command.add_argument("name")
    command.add_argument("--study", type=Path, required=True)
    command.add_argument("--tables", type=Path, required=True, help="folder of the tables")
    command.add_argument("--data", type=Path, required=True, help="folder of the MNIST files")
    command.add_argument("--output", type=Path, required=True, help="the file to write, .pdf or .png: both are written")

    command = verb(show)
    command.add_argument("results", type=Path, help="results/<preset>")

    command = verb(readme)
    command.add_argument("results", type=Path, help="results/<preset>")
    command.add_argument("readme", type=Path, help="the README.md to rewrite")
    return parser


def _runs(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The runs that `train` was asked for, each with its spec and the path of its record."""
    if options.study is None:
        wanted = ("experiment", "spec", "seed", "record")
        if missing := [f"--{name}" for name in wanted if getattr(options, name) is None]:
            raise UserError(f"train needs a study.json, or {', '.join(missing)} for a single run.")
        run = {name: getattr(options, name) for name in wanted}
        return [run | {"spec": _json(options.spec, "--spec")}]
    study = read_json(options.study)
    names = options.only.split(",") if options.only else list(study["experiments"])
    if unknown := [name for name in names if name not in study["experiments"]]:
        raise UserError(f"--only names {', '.join(unknown)}; {options.study} has {', '.join(study['experiments'])}.")
    return [
        run | {"spec": study["experiments"][run["experiment"]]["spec"], "record": options.study.parent / run["record"]}
        for run in study["runs"]
        if run["experiment"] in names
    ]


def _json(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{option} is not JSON: {error}.") from None


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _device_name(device: str) -> str:
    import platform

    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"cpu ({platform.machine()})"


if __name__ == "__main__":
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats bit for bit only with this
    sys.exit(main())
