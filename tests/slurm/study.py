"""A study on a cluster: a checkout whose Snakemake runs beside the test, which sees to its runs' misfortunes."""

import os
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from checkouts import Checkout
from cluster import Cluster
from wandb_offline import OfflineRun, read_run

SLURM = ("snakemake", "--cores", "all", "--profile", "slurm")
# Looks at once whether jobs are done; the profile's ten seconds suit longer runs.
SOON = ("--slurm-init-seconds-before-status-checks", "1")


class Study(Checkout):
    """A checkout on a cluster, and the one Snakemake that runs in it."""

    def __init__(self, folder: Path, cluster: Cluster, mnist: Path, configuration: str = "") -> None:
        super().__init__(folder, mnist)
        self.cluster = cluster
        (folder / "fire.yaml").write_text(configuration, encoding="utf-8")
        self._snakemake: subprocess.Popen[str] | None = None

    def begin(self, *command: str) -> None:
        """Start a command, Snakemake's, that is not waited for; what it prints is in snakemake.log."""
        with open(self.folder / "snakemake.log", "a", encoding="utf-8") as log:
            self._snakemake = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, text=True
            )

    def finish(self, seconds: float = 600) -> str:
        """Wait until the started command ends, well; what it printed."""
        assert self._snakemake is not None
        try:
            code = self._snakemake.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            code = -1
        said = (self.folder / "snakemake.log").read_text(encoding="utf-8")
        assert code == 0, f"{said}\n{self.cluster.ask('squeue')}"
        return said

    def kill(self) -> None:
        """Kill Snakemake alone."""
        assert self._snakemake is not None
        self._snakemake.kill()
        self._snakemake.wait()

    def close(self) -> None:
        """End what still runs, and remove the folder."""
        if self._snakemake is not None:
            self.kill()
        for job in self.cluster.jobs():
            if job["WorkDir"] == str(self.folder):
                self.cluster.ask("scancel", "--signal=KILL", "--full", job["JobId"])
        shutil.rmtree(self.folder, ignore_errors=True)  # a job may still write

    def jobs(self, seed: int) -> list[dict[str, str]]:
        """All jobs that train the seed for this study, the first first."""
        of_it = [job for job in self.cluster.jobs() if job["WorkDir"] == str(self.folder)]
        return [job for job in of_it if job["Comment"].endswith(f"_{seed}")]

    def job(self, seed: int) -> dict[str, str]:
        """The seed's newest job."""
        return self.jobs(seed)[-1]

    def record(self, seed: int) -> Path:
        """The seed's record."""
        return self.folder / f"results/fire/runs/vit4_assignment/seed{seed}.json"

    def log(self, seed: int) -> str:
        """What the seed's training says."""
        with suppress(FileNotFoundError):
            return (self.folder / f"logs/fire/train/vit4_assignment/seed{seed}.log").read_text(errors="replace")
        return ""

    def wait_for_start(self, seed: int) -> None:
        """Wait until the seed is in the hands of a process, which listens to signals by then."""
        file = self.record(seed).with_suffix(".lock")
        self.cluster.wait(file.exists, f"there is no {file}", 180)

    def pause_after_epoch(self, *seeds: int) -> list[int]:
        """Stop each seed's training where it is when it has finished an epoch; returns their processes."""
        paused: dict[int, int] = {}

        def all_paused() -> bool:
            for seed in set(seeds) - paused.keys():
                if re.search(r"epoch 1/\d+  loss", self.log(seed)):  # its state is on disk, and all are told of it
                    (paused[seed],) = self.pause(seed)
            return len(paused) == len(seeds)

        self.cluster.wait(all_paused, f"not all of {seeds} have finished an epoch", 180)
        return [paused[seed] for seed in seeds]

    def mirrored(self, seed: int) -> list[OfflineRun]:
        """What Weights & Biases has of the seed's attempts, each a folder."""
        files = (self.folder / "wandb").glob("offline-run-*/*.wandb")
        read = [read_run(file.parent) for file in files]
        return [each for each in read if each.run and each.run.display_name == f"vit4_assignment-seed{seed}"]

    def trainings(self, seed: int) -> dict[int, dict[str, str]]:
        """The processes that train a seed here, oldest first: number and environment."""
        found = {}
        for entry in sorted(Path("/proc").glob("[0-9]*"), key=lambda entry: int(entry.name)):
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes().split(b"\0")
                here = Path(os.readlink(entry / "cwd")) == self.folder
                # A program that a training starts looks like the training until it is that program.
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                ours = command[1:4] == [b"-m", b"pixelpatch", b"train"] and parent not in found
                if here and ours and command[command.index(b"--seed") + 1] == str(seed).encode():
                    pairs = (entry / "environ").read_text(errors="replace").split("\0")
                    found[int(entry.name)] = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        return found

    def go_on_once_told(self, number: signal.Signals, *processes: int) -> int:
        """Have the first of these stopped processes that is sent the signal go on, and see it; returns that one."""
        told: list[int] = []

        def one_is_told() -> bool:
            told.extend(process for process in processes if _pending(process, number))
            return bool(told)

        self.cluster.wait(one_is_told, f"{number.name} is not sent", 150)
        with suppress(ProcessLookupError):
            os.kill(told[0], signal.SIGCONT)
        return told[0]

    def pause(self, *seeds: int) -> list[int]:
        """Stop the seeds' trainings where they are, as a slow machine might; returns their processes."""
        processes = [process for seed in seeds for process in self.trainings(seed)]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        return processes


def _pending(process: int, number: signal.Signals) -> bool:
    """Whether a process has been sent the signal, but not seen it yet; or is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except FileNotFoundError:
        return True
    fields = dict(line.split(":\t") for line in lines)
    return bool(int(fields["ShdPnd"], 16) & 1 << (number - 1))
