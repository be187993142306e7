"""The study on a real Slurm, by the command its users type, and under all that befalls jobs on a cluster."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import yaml
from cluster import Cluster
from study import SLURM, SOON, Study
from test_runs import CONFIG, comparable

from pixelpatch.figures import FIGURES
from pixelpatch.record import read_record

# Both begin at once, and take their time beside the first tests.
pytestmark = pytest.mark.usefixtures("reference", "warned")

FIRE = {  # long enough to be disturbed, in two epochs
    "preset": "fire",
    "only": "vit4_assignment",
    "presets": {
        "fire": {
            "seeds": 4,
            "narrow": {
                "vit4_assignment": {
                    "data": {"limit": {"train": 10000, "validation": 256, "test": 256}},
                    "training": {"epochs": 2},
                }
            },
        }
    },
}
BESIDE_MB = 700  # that a job asks for beside its training
# Slurm's warning comes one to one and a half minutes before the end: after the run has begun, also on a busy machine.
SHORT = FIRE | {"experiments": {"vit4_assignment": {"resources": {"minutes": 3}}}}


@pytest.fixture(scope="module")
def reference(cluster: Cluster, mnist: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """The undisturbed runs of `fire.yaml`, made without Slurm, while the tests begin; see `same`."""
    study = Study(tmp_path_factory.mktemp("reference"), cluster, mnist, yaml.safe_dump(FIRE))
    records = [str(study.record(seed).relative_to(study.folder)) for seed in range(4)]
    study.begin("snakemake", "--cores", "all", *records, "--configfile", "fire.yaml")
    yield study
    study.close()


@pytest.fixture(scope="module")
def warned(cluster: Cluster, mnist: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Study, Future]]:
    """A study whose first run is slowed down until Slurm warns that its time is up, while the tests begin."""
    study = Study(tmp_path_factory.mktemp("warned"), cluster, mnist, yaml.safe_dump(SHORT))
    target = str(study.record(0).relative_to(study.folder))
    at_once = ["--default-resources", "slurm_partition=high"]  # and not behind the jobs of the first test
    study.begin(*SLURM, *SOON, target, "--configfile", "fire.yaml", *at_once, "--set-resources", "train:gpu=1")
    with ThreadPoolExecutor(1) as thread:
        yield study, thread.submit(slow_down_until_warned, study)
    study.close()


def slow_down_until_warned(study: Study) -> None:
    """Stop the first run's process where it is until it has been sent a SIGUSR1."""
    study.wait_for_start(0)
    study.go_on_once_told(signal.SIGUSR1, *study.pause(0))


@pytest.fixture
def study(cluster: Cluster, mnist: Path, tmp_path: Path) -> Iterator[Study]:
    """A checkout on the cluster."""
    made = Study(tmp_path / "checkout", cluster, mnist, yaml.safe_dump(FIRE))
    yield made
    made.close()


def same(study: Study, reference: Study, *seeds: int) -> None:
    """Assert that the seeds' records are the undisturbed ones, bit for bit, and that nothing is left beside them."""
    reference.finish()
    for seed in seeds:
        assert comparable(study.record(seed)) == comparable(reference.record(seed))
    folder = study.record(0).parent
    left = sorted(path.name for path in folder.iterdir())
    assert left == [f"seed{seed}.json" for seed in seeds], "\n".join(study.log(seed) for seed in seeds)


def epochs(study: Study, seed: int) -> list[int]:
    """Those of the seed that Weights & Biases has, of all attempts."""
    return sorted(epoch for read in study.mirrored(seed) for epoch in read.epochs())


def test_the_smoke_study_by_the_literal_command(study: Study, thorough: bool) -> None:
    """Every training is a job of its own with one GPU, and nothing else is a job."""
    seeds = 2 if thorough else 1
    config = ("--config", "preset=smoke", "device=auto", f"seeds={seeds}")
    result = study.run(*SLURM, *config, "--set-resources", "train:gpu=1")
    assert result.returncode == 0, result.stdout + result.stderr
    jobs = [job for job in study.cluster.jobs() if job["WorkDir"] == str(study.folder)]
    assert len(jobs) == len(list(study.folder.glob("results/smoke/runs/*/*.json"))) == 6 * seeds
    for job in jobs:
        assert job["Comment"].startswith("rule_train_wildcards_")
        assert job["JobState"] == "COMPLETED"
        assert job["NodeList"] in ("gpu1", "gpu2")
        assert job["TresPerJob"] == "gres:gpu:1"
    claims = pd.read_csv(study.folder / "results/smoke/tables/claims.csv")
    facts = claims["metric"].str.startswith(("data/", "model/"), na=False)  # which no budget changes
    assert set(claims.loc[~claims["kind"].isin(["self-check", "reading"]) & ~facts, "verdict"]) == {"not tested"}
    assert len(list(study.folder.glob("results/smoke/figures/*.pdf"))) == len(FIGURES)


def test_a_cluster_without_gpus_is_one_setting(study: Study) -> None:
    targets = ["results/smoke/runs/vit16_tiny/seed0.json", "results/smoke/runs/blog_vit/seed0.json"]
    site = ["--default-resources", "slurm_partition=cpu"]
    result = study.run(*SLURM, *SOON, *targets, *site, "--config", "preset=smoke", "device=cpu")
    assert result.returncode == 0, result.stdout + result.stderr
    jobs = [job for job in study.cluster.jobs() if job["WorkDir"] == str(study.folder)]
    asked = set()
    for name in ("vit16_tiny", "blog_vit"):
        resources = CONFIG["experiments"][name]["resources"]
        asked.add((f"00:{resources['minutes']:02d}:00", f"{resources['memory_mb'] + BESIDE_MB}M"))
    assert {(job["TimeLimit"], job["MinMemoryNode"]) for job in jobs} == asked
    for job in jobs:
        assert (job["NodeList"], job["Partition"]) == ("cpu1", "cpu")
        assert "TresPerJob" not in job


def test_a_configuration_of_one_s_own_beside_the_profile_s(study: Study) -> None:
    """It goes before the profile's, which still has every run ask for a GPU; --config goes before both."""
    files = ["--configfile", "slurm/full.yaml", "fire.yaml"]
    for pairs, gpus in ((["seeds=3"], 1), (["device=cpu", "seeds=3"], 0)):
        result = study.run(*SLURM, "--dry-run", *files, "--config", *pairs)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count(f"gpu={gpus},") == 3
        assert result.stdout.count("output: results/fire/runs/vit4_assignment/seed") == 3


def test_a_gpu_that_pytorch_does_not_see_is_one_sentence(study: Study, thorough: bool) -> None:
    """Each attempt asks for more, and what a site sets on the command line leaves the rest of the request alone."""
    if not thorough:
        pytest.skip("a minute and a half longer: --thorough")
    target = "results/full/runs/vit16_tiny/seed0.json"
    site = ["--default-resources", "slurm_partition=low", "--set-resources", "train:gpu_model=pretend"]
    result = study.run(*SLURM, *SOON, "--retries", "1", target, *site)
    assert result.returncode != 0
    said = result.stdout + result.stderr
    assert "--device is cuda; what PyTorch can use here is cpu" in said
    jobs = [job for job in study.cluster.jobs() if job["WorkDir"] == str(study.folder)]
    assert [job["JobState"] for job in jobs] == ["FAILED"] * 2
    minutes, memory = (CONFIG["experiments"]["vit16_tiny"]["resources"][key] for key in ("gpu_minutes", "memory_mb"))
    assert [job["TimeLimit"] for job in jobs] == [f"00:{attempt * minutes:02d}:00" for attempt in (1, 2)]
    assert [job["MinMemoryNode"] for job in jobs] == [f"{attempt * (memory + BESIDE_MB + 4000)}M" for attempt in (1, 2)]
    for job in jobs:
        assert (job["TresPerJob"], job["Partition"], job["Requeue"]) == ("gres:gpu:pretend:1", "low", "1")


def test_a_run_is_warned_before_its_time_is_up_and_goes_on_in_its_retry(
    warned: tuple[Study, Future], reference: Study
) -> None:
    study, slowing = warned
    slowing.result()
    said = study.finish()
    same(study, reference, 0)
    assert "stopped by SIGUSR1" in said
    assert [job["JobState"] for job in study.jobs(0)] == ["FAILED", "COMPLETED"]
    assert [job["TimeLimit"] for job in study.jobs(0)] == ["00:03:00", "00:06:00"]
    assert "going on" in study.log(0)
    assert len(read_record(study.record(0))["provenance"]["interruptions"]) == 1


def test_jobs_that_are_cancelled_preempted_or_lose_their_node(study: Study, reference: Study) -> None:
    cluster = study.cluster
    low = ["--default-resources", "slurm_partition=low", "--set-resources", "train:gpu=1"]
    study.begin(*SLURM, *SOON, "--configfile", "fire.yaml", *low, "--config", "device=auto")
    processes = study.pause_after_epoch(0, 1, 2, 3)
    # Who tells a job to end tells W&B's own process too: what W&B has not written by then may be lost.
    cluster.wait(lambda: all(epochs(study, seed) == [1] for seed in range(4)), "an epoch is not in W&B")
    devices = {
        (run["SLURMD_NODENAME"], run["CUDA_VISIBLE_DEVICES"])
        for seed in range(4)
        for run in study.trainings(seed).values()
    }
    assert devices == {(node, device) for node in ("gpu1", "gpu2") for device in ("0", "1")}, (
        [study.jobs(seed) for seed in range(4)],
        (study.folder / "snakemake.log").read_text(encoding="utf-8"),
    )

    first = {seed: study.job(seed) for seed in range(4)}
    here = [seed for seed in first if first[seed]["NodeList"] == "gpu1"]
    there = [seed for seed in first if first[seed]["NodeList"] == "gpu2"]
    # Preempted: somebody's job in the partition "high" needs one of this node's GPUs.
    urgent = ["sbatch", "--partition=high", "--nodelist=gpu1", "--gpus=1", "--mem=100", "--output=/dev/null"]
    assert cluster.ask(*urgent, "--time=1", "--wrap=sleep 5")
    preempted = processes.index(study.go_on_once_told(signal.SIGTERM, *(processes[seed] for seed in here)))
    cluster.wait(lambda: study.job(preempted)["Restarts"] == "1", "it is not in the queue again")
    # Cancelled: the run on the node's other GPU.
    (cancelled,) = set(here) - {preempted}
    subprocess.run(["scancel", first[cancelled]["JobId"]], check=True)
    study.go_on_once_told(signal.SIGTERM, processes[cancelled])
    # Lost: the other node, with both its runs. Slurm finds out by itself.
    cluster.kill_node("gpu2")
    cluster.wait(lambda: all(study.job(seed)["Restarts"] == "1" for seed in there), "the lost node is not noticed")
    cluster.start_node("gpu2")

    said = study.finish()
    same(study, reference, 0, 1, 2, 3)
    for seed in (preempted, *there):  # again in the queue, by Slurm
        assert [job["JobId"] for job in study.jobs(seed)] == [first[seed]["JobId"]], (study.jobs(seed), said)
    again = study.jobs(cancelled)  # sent once more, by Snakemake
    assert [job["JobState"] for job in again] == ["CANCELLED", "COMPLETED"]
    minutes = CONFIG["experiments"]["vit4_assignment"]["resources"]["minutes"]
    assert [job["TimeLimit"] for job in again] == [f"00:{minutes:02d}:00", f"00:{2 * minutes:02d}:00"]
    for seed in range(4):
        assert read_record(study.record(seed))["provenance"]["interruptions"], seed
        assert "going on" in study.log(seed)
    for seed in (preempted, cancelled):  # they were told, and saved their state at the step at which they were
        assert ", step " in study.log(seed)
    for seed in range(4):  # one run in Weights & Biases each, whatever befell it, and no epoch twice
        attempts = study.mirrored(seed)
        assert len(attempts) > 1
        assert len({read.run.run_id for read in attempts}) == 1
        assert epochs(study, seed) == [1, 2]


def test_snakemake_killed_and_started_again_while_its_jobs_run(study: Study, reference: Study, thorough: bool) -> None:
    """The second copy of a run that is still trained waits, and finds it done; so does that of one done meanwhile."""
    if not thorough:
        pytest.skip("two minutes: --thorough")
    command = [*SLURM, *SOON, "--configfile", "fire.yaml", "--set-resources", "train:gpu=1", "--config", "seeds=2"]
    study.begin(*command)
    first = study.pause_after_epoch(0, 1)
    study.kill()
    unlocked = study.run("snakemake", "--unlock")
    assert unlocked.returncode == 0, unlocked.stderr
    os.kill(first[0], signal.SIGCONT)
    study.cluster.wait(study.record(0).exists, "the first run does not end", 120)
    study.begin(*command)
    study.cluster.wait(lambda: "waiting for" in study.log(1), "the second copy does not wait", 120)
    os.kill(first[1], signal.SIGCONT)
    study.finish()
    same(study, reference, 0, 1)
    for seed in (0, 1):  # each by its first copy, in one go
        assert read_record(study.record(seed))["provenance"]["interruptions"] == []
    assert [job["JobState"] for job in study.jobs(1)] == ["COMPLETED", "COMPLETED"]


def test_slurmctld_away_for_a_while(study: Study, reference: Study, thorough: bool) -> None:
    """Where Slurm keeps no accounts, the plugin loses sight of its jobs: Snakemake is ended and started again."""
    if not thorough:
        pytest.skip("a minute longer, and much like Snakemake killed: --thorough")
    target = str(study.record(0).relative_to(study.folder))
    command = [*SLURM, *SOON, target, "--configfile", "fire.yaml", "--set-resources", "train:gpu=1"]
    study.begin(*command)
    (process,) = study.pause_after_epoch(0)
    study.cluster.kill_controller()
    time.sleep(20)
    study.cluster.start_controller()
    os.kill(process, signal.SIGCONT)
    study.kill()  # Ctrl-C may wait for minutes, as the plugin still asks sacct
    unlocked = study.run("snakemake", "--unlock")
    assert unlocked.returncode == 0, unlocked.stderr
    study.begin(*command)
    study.finish()
    same(study, reference, 0)
