"""`python -m pixelpatch <verb>`: every step of the study, by itself."""

import argparse
import io
import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixelpatch.arguments import check_ending, parsed_json, positive, seed_list, table_name, usable_device, whole
from pixelpatch.checks import image_side, instead, key_problems, spec_problems
from pixelpatch.environment import keep_ours
from pixelpatch.errors import UserError
from pixelpatch.files import read_text, readable_json, write_atomically
from pixelpatch.shortfalls import notes
from pixelpatch.stopping import Paused, Stop, Stopped
from pixelpatch.study import read_study, resolve
from pixelpatch.tables import NAMES, TIDY, make_table, read_table, seal
from pixelpatch.tracking import log_analysis, mode

if TYPE_CHECKING:
    from pixelpatch.runs import Run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0, or 1 after a sentence on stderr about what was wrong.

    Stopped by a signal, a training returns 128 and its number, as a shell says it.
    """
    options = build_parser().parse_args(arguments)
    try:
        options.verb(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print(f"{stopped}; the same command goes on from there.", file=sys.stderr)
        return 128 + stopped.number
    except KeyboardInterrupt:
        print("error: interrupted; what was finished is kept.", file=sys.stderr)
        return 130
    return 0


def fetch(options: argparse.Namespace) -> None:
    """Download MNIST, checked against its canonical digests."""
    from pixelpatch.fetch import fetch as fetch_mnist

    sources = parsed_json(options.sources, "--sources")
    if not isinstance(sources, list):
        raise UserError(f'--sources is {options.sources}; write a list, such as [{{"kind": "torchvision"}}].')
    for message in fetch_mnist(options.folder, sources):
        print(message, file=sys.stderr)


def study(options: argparse.Namespace) -> None:
    """Check a configuration and write the study that it describes."""
    from pixelpatch.yaml_files import read_yaml

    config, schema = parsed_json(options.config, "--config"), read_yaml(options.schema)
    write_atomically(options.output, readable_json(resolve(config, schema)))


def train(options: argparse.Namespace) -> None:
    """Train one experiment from one seed, or all runs of a study that have no record yet, and write the records.

    What was stopped goes on from there: Ctrl-C, SIGTERM and SIGUSR1 have the run save its state and stop.
    """
    from pixelpatch.data import load_mnist
    from pixelpatch.runs import How
    from pixelpatch.training import Diverged

    single = options.study is None
    how = How(
        device=usable_device(options.device),
        stop=Stop().listen(),
        tracking=mode(options.tracking),
        preset=options.preset if single else read_study(options.study)["preset"],
        exact=options.exact,
        until=options.until,
    )
    runs, failures = [], []
    for run in _runs(options):
        try:
            if single or not run.recorded():
                runs.append(run)
        except UserError as error:  # a damaged record; the other runs can still be had
            failures.append(str(error))
    for run in {run.experiment: run for run in runs}.values():  # of a study, all of an experiment have one spec
        _check_spec(run.experiment, run.spec)
    mnist = load_mnist(options.data) if runs else {}
    try:
        for wait in (True,) if single else (False, True):  # of a study, what other processes work on comes last
            left = []
            for run in runs:
                try:
                    if not run.complete(mnist, how, wait=wait):
                        left.append(run)
                except Diverged as error:
                    failures.append(f"{run.name}: {error}")
                except Paused as paused:
                    print(f"{paused}; the same command without --until goes on from there.", file=sys.stderr)
            runs = left
    except (Stopped, UserError):
        for failure in failures:
            print(f"error: {failure}", file=sys.stderr)
        raise
    if failures:
        raise UserError("\n".join(failures))


def weights(options: argparse.Namespace) -> None:
    """Train the run of a record again, and write its weights."""
    from pixelpatch.data import load_mnist
    from pixelpatch.record import read_record
    from pixelpatch.weights import retrain

    check_ending("--output", options.output, ".safetensors")
    record = read_record(options.record)
    _check_spec(record["experiment"], record["spec"])
    where = {"device": usable_device(options.device), "stop": Stop().listen()}
    checkpoint = options.output.with_suffix(".checkpoint")
    trained, same = retrain(record, load_mnist(options.data), checkpoint, **where)
    if not same:
        print(f"note: this machine does not repeat {options.record} bit for bit; its weights differ.", file=sys.stderr)
    write_atomically(options.output, trained)
    checkpoint.unlink()


def collect(options: argparse.Namespace) -> None:
    """Gather the records into tidy tables."""
    from pixelpatch.analysis.collect import collect as collect_records
    from pixelpatch.analysis.facts import facts
    from pixelpatch.data import load_mnist

    study = read_study(options.study)
    tidy = collect_records(study, options.study.parent)._asdict() | {"facts": facts(study, load_mnist(options.data))}
    for name in TIDY:
        write_atomically(options.tables / f"{name}.csv", tidy[name].to_csv(index=False))
    seal(options.tables, TIDY)


def tables(options: argparse.Namespace) -> None:
    """Make the tables as CSV, Markdown and LaTeX."""
    study = read_study(options.study)
    for name in options.names or NAMES:
        make_table(name, study, options.tables)
    seal(options.tables, options.names or NAMES)


def figure(options: argparse.Namespace) -> None:
    """Draw one figure as PDF, PNG and SVG."""
    from pixelpatch.figures import FIGURES, save

    if options.name not in FIGURES:
        raise UserError(f"{options.name} is no figure{instead(options.name, FIGURES)}")
    check_ending("--output", options.output, ".pdf", ".svg", ".png")
    drawn = FIGURES[options.name](read_study(options.study), options.tables, options.data)
    save(drawn, options.output.with_suffix(""))


def findings(options: argparse.Namespace) -> None:
    """Write the page that says what the study found."""
    from pixelpatch.findings import findings as found

    write_atomically(options.output, found(read_study(options.study), options.tables))


def report(options: argparse.Namespace) -> None:
    """Make the page that shows the study in a browser."""
    from pixelpatch.report import report as page

    study = read_study(options.study)
    if options.output.parent.resolve() != options.study.parent.resolve():
        raise UserError(f"--output is {options.output}; the page leads to what lies beside the study: write it there.")
    write_atomically(options.output, page(study, options.study.parent, published=options.published))


def track(options: argparse.Namespace) -> None:
    """Show Weights & Biases the tables and figures of a finished study."""
    study, results = read_study(options.study), options.study.parent
    log_analysis(
        mode(options.tracking),
        preset=study["preset"],
        tables=results / "tables",
        figures=results / "figures",
        study=study,
    )


def show(options: argparse.Namespace) -> None:
    """Print the verdict table of a finished study, and where its report, tables and figures lie."""
    from pixelpatch.tables.claims import terminal_claims

    tables = options.results / "tables"
    _print(terminal_claims(read_table(tables, "claims")))
    places = {"Report": "report.html", "Tables": "tables", "Figures": "figures"}
    _print("".join(f"\n{what + ':':<8} {options.results / place}" for what, place in places.items()))
    for note in notes(read_table(tables, "provenance")):
        _print(f"Note: {note}")


def demo(options: argparse.Namespace) -> None:
    """Serve a page on which the trained models read digits, shuffled or drawn."""
    from pixelpatch.serving import serve

    serve(options.weights, options.data, port=options.port)


def verify(options: argparse.Namespace) -> None:
    """Train one published seed of every cheap system again, and say whether it lands on its record."""
    from pixelpatch.data import load_mnist
    from pixelpatch.runs import How
    from pixelpatch.verify import verify as compare

    how = How(device=usable_device(options.device), stop=Stop().listen())
    study = read_study(options.study)
    compared, strays = 0, []
    for outcome in compare(study, options.study.parent, load_mnist(options.data), how, minutes=options.minutes):
        _print(f"{outcome.system}: {outcome.text}")
        compared += outcome.agrees is not None
        if outcome.agrees is False:
            strays.append(outcome.system)
    if not compared:
        raise UserError(f"{options.study} has no record to compare with; --minutes {options.minutes:g} may be too few.")
    if strays:
        raise UserError(f"{', '.join(strays)} did not come out as published.")


def replay(options: argparse.Namespace) -> None:
    """Train some recorded runs again, to show that changed training code still makes the same bits."""
    from pixelpatch.data import load_mnist
    from pixelpatch.ledger import Ledger
    from pixelpatch.record import provenance
    from pixelpatch.replay import entries, refuse_unequal
    from pixelpatch.replay import replay as train_again
    from pixelpatch.runs import How, device_name

    study = read_study(options.study)
    how = How(device=usable_device(options.device), stop=Stop().listen())
    replayed = []
    try:
        for each in train_again(study, options.study.parent, load_mnist(options.data), how, minutes=options.minutes):
            _print(f"{each.run['experiment']} seed {each.run['seed']}: {each.text}")
            replayed.append(each)
    finally:  # what was shown before a stop, too
        machine = device_name(how.device)
        versions = provenance(study["experiments"][study["runs"][0]["experiment"]]["spec"], device=machine, threads=1)
        Ledger.read().add(entries(replayed, machine=machine, versions=versions["versions"]))
    refuse_unequal(replayed)


def readme(options: argparse.Namespace) -> None:
    """Put generated tables between their marks in README.md."""
    text = read_text(options.readme)
    for block in options.blocks:
        name, _, file = block.partition("=")
        marks = rf"(<!-- {re.escape(name)}: [^\n]* -->\n).*?(<!-- end of {re.escape(name)} -->)"
        table = read_text(Path(file)) if file else ""
        text, count = re.subn(marks, lambda found, table=table: f"{found[1]}\n{table}\n{found[2]}", text, flags=re.S)
        if not name or not file or count != 1:
            raise UserError(
                f"{block} should be name=file, and {options.readme} have the lines <!-- {name}: … --> and "
                f"<!-- end of {name} -->, once each."
            )
    write_atomically(options.readme, text)


def build_parser() -> argparse.ArgumentParser:
    """The command line; a verb is a function of this module, and its help that function's docstring."""
    parser = argparse.ArgumentParser(prog="python -m pixelpatch", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="verb")

    tracking = "of Weights & Biases: offline, online or disabled (WANDB_MODE goes first; disabled, by default)"

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
    command.add_argument("--seeds", type=seed_list, help="of the study, these seeds, separated by commas")
    command.add_argument("--experiment", help="instead of a study: the name of one experiment")
    command.add_argument("--spec", help="its spec, as JSON")
    command.add_argument("--seed", type=partial(whole, least=0))
    command.add_argument("--record", type=Path, help="the record to write")
    command.add_argument("--data", type=Path, required=True, help="folder of the MNIST files")
    command.add_argument(
        "--threads",
        type=partial(whole, least=1),
        help="CPU threads, as the study has it or 1 by default; bits repeat at the same number",
    )
    command.add_argument("--device", help="cpu or cuda; the GPU if there is one, by default")
    command.add_argument(
        "--exact",
        action="store_true",
        help="set aside a saved state that another machine trained; else the run goes on, but not to the same bits",
    )
    command.add_argument(
        "--until",
        type=partial(whole, least=1),
        help="pause each run after this epoch; the same command without it goes on",
    )
    command.add_argument(
        "--may-diverge", action="store_true", help="of a single run: that it diverges is a result, and is recorded"
    )
    command.add_argument("--preset", default="", help="of a single run: the preset's name, for Weights & Biases")
    command.add_argument("--tracking", help=tracking)

    command = verb(weights)
    command.add_argument("--record", type=Path, required=True, help="of the run to train again")
    command.add_argument("--data", type=Path, required=True, help="folder of the MNIST files")
    command.add_argument("--device", help="cpu or cuda; the GPU if there is one, by default")
    command.add_argument("--output", type=Path, required=True, help="the .safetensors file to write")

    command = verb(track)
    command.add_argument("--study", type=Path, required=True)
    command.add_argument("--tracking", help=tracking)

    command = verb(collect)
    command.add_argument("--study", type=Path, required=True)
    command.add_argument("--data", type=Path, required=True, help="folder of the MNIST files")
    command.add_argument("--tables", type=Path, required=True, help="folder of the tables to write")

    command = verb(tables)
    command.add_argument("names", nargs="*", type=table_name, metavar="table", help="all by default")
    command.add_argument("--study", type=Path, required=True)
    command.add_argument("--tables", type=Path, required=True, help="folder of the tables, read and written")

    command = verb(figure)
    command.add_argument("name")
    command.add_argument("--study", type=Path, required=True)
    command.add_argument("--tables", type=Path, required=True, help="folder of the tables")
    command.add_argument("--data", type=Path, required=True, help="folder of the MNIST files")
    command.add_argument("--output", type=Path, required=True, help="one of the files to write, .pdf, .svg or .png")

    command = verb(findings)
    command.add_argument("--study", type=Path, required=True)
    command.add_argument("--tables", type=Path, required=True, help="folder of the tables")
    command.add_argument("--output", type=Path, required=True, help="the Markdown file to write")

    command = verb(report)
    command.add_argument("--study", type=Path, required=True, help="results/<preset>/study.json, beside all the rest")
    command.add_argument("--published", type=Path, help="results to show beside these: their folder")
    command.add_argument("--output", type=Path, required=True, help="the HTML file to write, beside the study")

    command = verb(show)
    command.add_argument("results", type=Path, help="results/<preset>")

    command = verb(demo)
    command.add_argument("--weights", type=Path, required=True, help="folder of the .safetensors files")
    command.add_argument("--data", type=Path, required=True, help="folder of the MNIST files")
    free = "of the page; the first that is free from 7860, by default"
    command.add_argument("--port", type=partial(whole, least=1, most=65535), help=free)

    command = verb(verify)
    command.add_argument("study", type=Path, help="results/<preset>/study.json of recorded runs")
    command.add_argument("--data", type=Path, required=True, help="folder of the MNIST files")
    command.add_argument("--minutes", type=positive, default=3.0, help="systems whose runs take longer are left out")
    command.add_argument("--device", help="cpu or cuda; the GPU if there is one, by default")

    command = verb(replay)
    command.add_argument("study", type=Path, help="results/<preset>/study.json of recorded runs")
    command.add_argument("--data", type=Path, required=True, help="folder of the MNIST files")
    command.add_argument("--minutes", type=positive, default=2.0, help="longer runs are replayed in part")
    command.add_argument("--device", help="cpu or cuda; the GPU if there is one, by default")

    command = verb(readme)
    command.add_argument("readme", type=Path, help="the README.md to rewrite")
    command.add_argument("blocks", nargs="+", metavar="name=file", help="what goes between the marks of that name")
    return parser


def _runs(options: argparse.Namespace) -> list["Run"]:
    """The runs that `train` was asked for."""
    from pixelpatch.runs import Run

    single = ("experiment", "spec", "seed", "record")
    given = [name for name in single if getattr(options, name) is not None]
    if options.study is None:
        if missing := [f"--{name}" for name in single if name not in given]:
            raise UserError(f"train needs a study.json, or {', '.join(missing)} for a single run.")
        if options.record.suffix in (".checkpoint", ".lock"):
            raise UserError(
                f"--record is {options.record}; a run's own files end so, choose a name such as seed0.json."
            )
        spec = parsed_json(options.spec, "--spec")
        return [Run(options.experiment, options.seed, spec, options.record, options.threads or 1, options.may_diverge)]
    if given:
        raise UserError(
            f"--{given[0]} is for a single run, without a study.json; choose from a study with --only and --seeds."
        )
    study = read_study(options.study)
    known = list(dict.fromkeys(run["experiment"] for run in study["runs"]))
    names = options.only.split(",") if options.only else known
    if unknown := [name for name in names if name not in known]:
        raise UserError(
            f"--only names {', '.join(unknown)}, of which {options.study} has no runs{instead(unknown[0], known)}"
        )
    seeds = {run["seed"] for run in study["runs"]}
    chosen = seeds if options.seeds is None else set(options.seeds)
    if unknown := sorted(chosen - seeds):
        raise UserError(f"--seeds names {unknown[0]}, of which {options.study} has no runs; it has {sorted(seeds)}.")
    return [
        Run(
            experiment=run["experiment"],
            seed=run["seed"],
            spec=study["experiments"][run["experiment"]]["spec"],
            record=options.study.parent / run["record"],
            threads=options.threads or study["experiments"][run["experiment"]]["resources"].get("threads", 1),
            may_diverge=study["experiments"][run["experiment"]].get("may_diverge", False),
        )
        for run in study["runs"]
        if run["experiment"] in names and run["seed"] in chosen
    ]


def _check_spec(experiment: str, spec: Any) -> None:
    """Raises UserError where a run's spec is none, so that nothing trains for hours before that shows."""
    from pixelpatch.models import build_model
    from pixelpatch.training import build_optimiser

    problems = list(key_problems(spec))
    if not problems:
        try:
            build_optimiser(build_model(spec["model"], image=image_side(spec["data"])), spec["training"])
            problems = list(spec_problems(spec))
        except KeyError as error:
            problems = [f"{error} is missing or unknown"]
        except (TypeError, ValueError, RuntimeError) as error:
            problems = [str(error)]
    if problems:
        raise UserError(f"The spec of {experiment} cannot be trained: {' '.join(problems)}")


def _print(text: str) -> None:
    """To stdout, in the characters that it has. Raises UserError where it takes no more: a full disk, a closed pipe."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries once more when it ends
        raise UserError(f"standard output cannot be written: {error.strerror}.") from None


if __name__ == "__main__":
    keep_ours(os.environ)  # nothing that reads them is imported yet: each verb imports what it needs
    sys.exit(main())
