"""The pixel transformer's claims: its own table contradicts it once, and runs like the documented one agree."""

import numpy as np
import pytest
from test_claims import ACCURACY, ALPHA, judged, study_of

pytestmark = pytest.mark.usefixtures("nothing_to_sweep")

# The write-up of the pixel transformer, as it prints itself.
TRAIN_LOSS = (
    "2.2063 1.9907 1.5767 1.0441 0.7299 0.5935 0.5311 0.4682 0.4264 0.4038 0.3641 0.3447 0.3181 0.3023 0.2800 0.2677 "
    "0.2535 0.2395 0.2276 0.2189 0.2113 0.2004 0.1927 0.1836 0.1804"
)
VALIDATION_ACCURACY = (
    "22.75 32.00 58.35 77.10 82.95 84.60 86.95 88.05 89.20 89.95 90.80 91.45 92.05 91.90 92.30 92.65 93.80 94.05 93.75 "
    "94.40 94.35 94.50 94.15 94.75 94.75"
)
PIT = {
    "train-loss-falls-at-every-epoch": {"metric": "train/loss", "falls_every_epoch": True},
    "accuracy-dips-three-times": {"metric": "validation/accuracy", "dips_at": [[13, 14], [18, 19], [23, 24]]},
    "accuracy-at-epoch-15": {"metric": "validation/accuracy", "epoch": 15, "documented": "92.30"},
    "best-epoch": {"metric": "validation/best_epoch", "documented": "24"},
    "train-loss-curve": {"metric": "train/loss", "curve": TRAIN_LOSS},
    "validation-accuracy-curve": {"metric": "validation/accuracy", "curve": VALIDATION_ACCURACY},
    "test-accuracy": ACCURACY,
}


def test_the_pixel_transformer_contradicts_its_own_table_once() -> None:
    table = judged(study_of({"pit": PIT}), {})
    checks = table[table.kind == "self-check"]
    assert checks.verdict.to_dict() == {
        "train-loss-falls-at-every-epoch-in-its-own-table": "consistent",
        "accuracy-dips-three-times-in-its-own-table": "contradicted",
        "accuracy-at-epoch-15-in-its-own-table": "consistent",
        "best-epoch-in-its-own-table": "consistent",
    }
    assert checks.note.to_list() == [
        "its table falls at every epoch",
        "its table falls at 13–14, 18–19, 20–21, 22–23",
        "its table shows 92.30 at epoch 15",
        "its table is first highest at epoch 24 (94.75)",
    ]
    assert set(checks.n_seeds) == {0}
    assert [*table.index[:8:2]] == [*PIT][:4]
    assert [*table.index[1:8:2]] == [*checks.index]


def test_runs_like_the_documented_one_reproduce_all_that_it_says_of_itself() -> None:
    rng = np.random.default_rng(0)
    losses, accuracies = (
        np.array(text.split(), dtype=float) + rng.normal(0, 1e-3, (5, 25)) for text in (TRAIN_LOSS, VALIDATION_ACCURACY)
    )
    runs = {
        "train/loss": losses.tolist(),
        "validation/accuracy": accuracies.tolist(),
        "validation/best_epoch": [24, 25, 24, 25, 24],
        "test/accuracy": [95.1, 94.9, 95.0, 95.2, 94.8],
    }
    table = judged(study_of({"pit": PIT}), {"pit": runs})
    verdicts = table[table.kind != "self-check"].verdict.to_dict()
    assert verdicts.pop("accuracy-dips-three-times") == "undecided"  # the runs dip where its table does
    assert verdicts.pop("best-epoch") == "compatible"  # down to epoch 22.5, even with plentiful seeds
    assert set(verdicts.values()) == {"reproduced"}


def test_a_run_of_the_same_system_is_seldom_called_different() -> None:
    """Five claims, all true: the chance that the study refutes any of them stays below alpha."""
    rng, trials, refuted = np.random.default_rng(6), 400, 0
    claims = {f"claim-{k}": {"metric": f"test/k{k}_accuracy"} for k in range(5)}
    for _ in range(trials):
        documented = rng.normal(95, 0.3, 5)
        said = {name: claim | {"documented": f"{documented[k]:.2f}"} for k, (name, claim) in enumerate(claims.items())}
        runs = {f"test/k{k}_accuracy": rng.normal(95, 0.3, 4).tolist() for k in range(5)}
        refuted += bool(judged(study_of({"pit": said}), {"pit": runs}).verdict.isin(["higher", "lower"]).any())
    assert refuted / trials < ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / trials)
