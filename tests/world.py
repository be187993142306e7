"""A synthetic study, its tables and its figures: what the tests of the figures draw from."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pixelpatch.analysis.specifications import COLUMNS, SUMMARY
from pixelpatch.analysis.variance import packed
from pixelpatch.figures import FIGURES

TITLES = {"pit": "Pixel transformer", "cnn": "Blog CNN", "grid": "2×2 grid reader", "tiny": "Tiny ViT for $5 & 50 %"}
CURVE = {"pit": "2.1 1.2 0.7", "tiny": "1.7 1.6 1.5"}
NUMBERS = {  # system: claim: (metric, as printed)
    "pit": {"test-accuracy": ("test/accuracy", "95.01"), "size": ("model/parameters", "1292042")},
    "cnn": {"test-correct": ("test/correct", "9755"), "test-images": ("data/test_images", "10000"),
            "test-loss": ("test/loss", "0.0810")},
    "grid": {"digit-accuracy": ("test/digit_accuracy", "98.43"), "final-train-loss": ("train/loss", "0.0101")},
    "tiny": {"test-accuracy": ("test/accuracy", "93"), "best-epoch": ("validation/best_epoch", "2")},
}  # fmt: skip
ACCURACY = {"pit": 94.8, "cnn": 97.9, "grid": 98.5, "tiny": 92.7}
BITS = "experiment seed items right"
CLAIM = dict.fromkeys(["off", "rank", "p_value", "p_holm", "effect_size"], np.nan) | {"off_unit": "points"}


class World:
    """A synthetic study: its study.json, its tables in a folder, and shorthands to draw from it."""

    def __init__(self, folder: Path, *, seeds: int = 4, narrowed: tuple[str, ...] = (), systems: Any = TITLES) -> None:
        self.folder, self.n, self.rng = folder, seeds, np.random.default_rng(7)
        self.study = {
            "analysis": {"alpha": 0.1},
            "identify": dict.fromkeys(systems),
            "admissible": {},
            "experiments": {
                system: {
                    "title": title,
                    "spec": {
                        "data": {"augmentation": {"flip": 0.5}} if system == "tiny" else {},
                        "training": {"epochs": 3, "softmax_before_loss": False},
                    },
                    "narrowed": system in narrowed,
                    "narrowing": "1 of 3 epochs; 64 of 60,000 training images, which is less than all of them",
                    "claims": {
                        name: {"text": name, "metric": metric, "documented": printed}
                        for name, (metric, printed) in NUMBERS[system].items()
                    }
                    | (
                        {"curve": {"text": "c", "metric": "train/loss", "curve": CURVE[system]}}
                        if system in CURVE
                        else {}
                    ),
                }
                for system, title in TITLES.items()
            },
        }
        folder.mkdir(parents=True, exist_ok=True)
        runs = [run for system in systems for seed in range(seeds) for run in self.run(system, seed)]
        curves = [point for system in systems for seed in range(seeds) for point in self.curve(system, seed)]
        self.write("curves", curves, "experiment seed narrowed metric epoch value")
        counts = [cell for system in systems for seed in range(seeds) for cell in self.confusion(system, seed)]
        self.write("confusion", counts, "experiment seed label predicted count")
        right = packed(np.array([False, True, True, False]))  # of the test images
        self.write("correctness", [(system, seed, 4, right) for system in systems for seed in range(seeds)], BITS)
        self.price_oddities(systems, runs)
        self.identify(systems)
        self.specify(systems)
        self.compare_patches(systems, runs)
        self.write("runs", runs, "experiment seed narrowed metric value")
        self.claims = pd.DataFrame([row for system in systems for row in self.judged(system, runs)])
        self.claims.to_csv(folder / "claims.csv", index=False)

    def price_oddities(self, systems: Any, runs: list[tuple]) -> None:
        """oddities.csv, with one oddity that is mended, and one that is to be mended, of every system; and the runs."""
        rows = []
        for system in systems:
            metric = "test/digit_accuracy" if system == "grid" else "test/accuracy"
            own = {run[1]: run[4] for run in runs if run[0] == system and run[3] == metric}
            effects = {seed: 2 + 0.1 * seed for seed in own}
            runs += [(f"{system}_mended", seed, False, metric, own[seed] + effects[seed]) for seed in own]
            row = {"system": system, "oddity": f"{system}'s oddity of some length", "instead": "none", "metric": metric}
            row |= {"test": "paired", "n_documented": len(own), "n_mended": len(own)}
            row |= {"effect_points": np.mean([*effects.values()]), "p_value": 0.01, "p_holm": 0.02}
            row |= {"interval_low": 1.0, "interval_high": 3.5, "finding": "2.15 points more without it"}
            nothing = {key: np.nan for key, value in row.items() if isinstance(value, float)}
            for end in ("mended", "todo"):
                self.study["experiments"][f"{system}_{end}"] = {"mends": {"system": system}}
            rows += [row | {"experiment": f"{system}_mended"}]
            rows += [row | {"experiment": f"{system}_todo", "n_mended": 0, "finding": "not run"} | nothing]
        columns = "system experiment oddity instead metric test n_documented n_mended"
        columns += " effect_points interval_low interval_high p_value p_holm finding means"
        pd.DataFrame(rows, columns=columns.split()).to_csv(self.folder / "oddities.csv", index=False)

    def identify(self, systems: Any) -> None:
        """identification.csv: two rates and three epochs, of which the second at the higher rate is identified."""
        rows = []
        for system in systems:
            for rate in (0.1, 1.0):
                member = f"{system}_grid-{rate}"
                settings = {"training.learning_rate": rate}
                spec = {"training": {"learning_rate": rate, "momentum": 0.5}}
                vary = {"family": f"{system}_grid", "settings": settings}
                self.study["experiments"][member] = {"spec": spec, "vary": vary}
                for epoch in (1, 2, 3):
                    likelihood = -abs(epoch - 2) - 5 * (1 - rate)
                    best = likelihood == 0
                    row = (system, member, epoch, system, "loss", "test/loss", "0.04", 0.1 / epoch, self.n, likelihood)
                    rows.append((*row, best, best, False, False, f"rate {rate}", 0.01, 0.0, 0.2))
        columns = "question experiment epochs system claim metric documented mean n_seeds log_likelihood"
        columns += " compatible identified truth scatters settings std least most"
        self.write("identification", rows, columns)

    def specify(self, systems: Any) -> None:
        """specifications.csv: both rates at three epochs, one not run, and the author's own, each with two numbers."""
        claims = [("accuracy", "test/accuracy", "95.0", 95.0), ("loss", "test/loss", "0.04", 0.05)]
        verdicts = {"reached": "reproduced", "not excluded": "compatible", "refuted": "lower", "not run": "not run"}
        rows, summary = [], []
        for system in systems:
            numbers = [{"families": [f"{system}_grid"], "experiment": system, "claims": [name for name, *_ in claims]}]
            self.study["admissible"][system] = {"numbers": numbers}
            points = [(f"{system}_grid-{rate}", epoch, False) for rate in (0.1, 1.0) for epoch in (1, 2, 3)]
            for place, (experiment, epoch, author) in enumerate([*points, (system, 2, True)]):
                standing = [*verdicts][min(place, 3)] if not author else "not excluded"
                n = 0 if standing == "not run" else self.n
                for claim, metric, printed, value in claims:
                    mean = value * (1 - 0.01 * place) if n else np.nan
                    numbers = (mean, 0.01, 0.98 * mean, 1.02 * mean, 0.5, 1.0)
                    point = (system, experiment, f"rate {epoch}", epoch, author, standing)
                    rows.append(
                        (*point, system, claim, metric, printed, experiment, n, 0, *numbers, verdicts[standing])
                    )
            result = "reached at 1 of 6; not excluded at 1; search incomplete: 3 not run"
            summary.append((system, 6, 1, 1, 0, 1, 0, 3, self.n, self.n, result, "", "not excluded", *[np.nan] * 6))
        self.write("specifications", rows, " ".join(COLUMNS))
        self.write("specification_summary", summary, " ".join(SUMMARY))

    def compare_patches(self, systems: Any, runs: list[tuple]) -> None:
        """patch_sweep.csv: two patch sizes and a CNN, with two sizes of training set; and the runs."""
        rows = []
        for images in (1000, 4000) if systems else ():
            for model, patch, flops in (("vit", 28, 0.1), ("vit", 4, 2.0), ("cnn", np.nan, 1.0)):
                own = [80 + images / 1000 + self.rng.normal(0, 0.1) for _ in range(self.n)]
                name = f"patches-{images}-{patch}"
                self.study["experiments"][name] = {"vary": {"family": "patches", "settings": {}}}
                runs += [(name, seed, False, "test/accuracy", value) for seed, value in enumerate(own)]
                runs += [(name, seed, False, "timing/train_seconds", 10 * flops + seed) for seed in range(self.n)]
                shown = np.mean(own), np.std(own), max(own, default=0)
                rows.append((name, images, model, patch, self.n, *shown, flops, 10 * flops, patch == 4))
        columns = "experiment train_images model patch n_seeds test_mean test_std test_max tera_flops seconds best"
        self.write("patch_sweep", rows, columns)

    def write(self, name: str, rows: list[tuple], columns: str) -> None:
        pd.DataFrame(rows, columns=columns.split()).to_csv(self.folder / f"{name}.csv", index=False)

    def narrowed(self, system: str) -> bool:
        return self.study["experiments"][system]["narrowed"]

    def run(self, system: str, seed: int) -> list[tuple]:
        accuracy = 11.0 if self.narrowed(system) else ACCURACY[system]
        accuracy += self.rng.normal(0, 0.1)
        metrics = {"test/accuracy": accuracy, "test/correct": 100 * accuracy, "validation/best_epoch": 1 + seed % 3}
        if system == "grid":
            metrics = {"test/digit_accuracy": accuracy}
        metrics |= {"test/loss": self.rng.uniform(0.07, 0.09), "train/loss": self.rng.uniform(0.01, 0.02)}
        return [(system, seed, self.narrowed(system), *pair) for pair in metrics.items()]

    def curve(self, system: str, seed: int) -> list[tuple]:
        epochs = 1 if self.narrowed(system) else 3
        values = {"train/loss": [2.0, 1.0, 0.01][:epochs], "other/metric": [1.0] * epochs}
        if system in ("pit", "tiny"):
            values["validation/accuracy"] = [50.0, 80.0, 90.0][:epochs]
        return [
            (system, seed, self.narrowed(system), metric, epoch, value * self.rng.uniform(0.9, 1.1))
            for metric, curve in values.items()
            for epoch, value in enumerate(curve, start=1)
        ]

    def confusion(self, system: str, seed: int) -> list[tuple]:
        cells = [(label, str(guess), 90 if label == guess else seed + 1) for label in range(10) for guess in range(10)]
        return [(system, seed, *cell) for cell in [*cells, *[(3, "other", 5)] * (system == "grid")]]

    def judged(self, system: str, runs: list[tuple]) -> list[dict]:
        """Rows of claims.csv, the interval a plain ±3 standard deviations: figures draw it, they do not compute it."""
        rows = []
        for name, (metric, printed) in NUMBERS[system].items():
            values = [run[4] for run in runs if run[0] == system and run[3] == metric] or [float(printed)]
            mean, std = np.mean(values), np.std(values, ddof=1) if len(values) > 1 else np.nan
            tested = not self.narrowed(system)
            rows.append(
                {"system": system, "claim": name, "text": name, "kind": "number", "metric": metric,
                 "documented": printed, "replicated_mean": mean, "replicated_std": std, "n_seeds": self.n,
                 "interval_low": mean - 3 * std if tested else np.nan,
                 "interval_high": mean + 3 * std if tested else np.nan,
                 "verdict": ("higher" if name == "test-loss" else "undecided") if tested else "not tested",
                 "note": "" if tested else "reduced budget: " + self.study["experiments"][system]["narrowing"]} | CLAIM
            )  # fmt: skip
        return rows

    def values(self, system: str, metric: str) -> list[float]:
        runs = pd.read_csv(self.folder / "runs.csv")
        return runs[(runs.experiment == system) & (runs.metric == metric)].sort_values("seed")["value"].tolist()

    def draw(self, name: str) -> Figure:
        return FIGURES[name](self.study, self.folder, self.folder)
