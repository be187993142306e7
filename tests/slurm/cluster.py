"""A real Slurm on this one machine: Debian's packages, munge, two nodes with two pretended GPUs each, and one without.

From a shell, as root:  PYTHONPATH=tests python tests/slurm/cluster.py FOLDER
runs it, its files in the new FOLDER, until Ctrl-C.
"""

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from debian import PATH, Unavailable, install

from pixelpatch.lock import Lock

HERE = Path(__file__).parent
CONFIGURATION = Path("/etc/slurm")  # Slurm's programs look nowhere else: job steps drop SLURM_CONF
OURS = "# pixelpatch's test cluster"
PACKAGES = {"slurmctld": "slurmctld", "slurmd": "slurmd", "squeue": "slurm-client", "munged": "munge"}
NODES = ("gpu1", "gpu2", "cpu1")


class Cluster:
    """The daemons, each a child of this process, and what befalls them."""

    def __init__(self, folder: Path) -> None:
        """Start in `folder`, new and short (sockets lie in it). Raises Unavailable where that cannot be."""
        self.folder = folder.resolve()
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        if os.geteuid() != 0:
            raise Unavailable("a test cluster needs root, who may start jobs for others and write /etc/slurm")
        self._lock = Lock(Path("/run/pixelpatch-slurm.lock"))
        if not self._lock.take():
            raise Unavailable(f"{self._lock.owner()} runs a test cluster already")
        try:
            self._configure()
            self.start_controller()
            for node in NODES:
                self.start_node(node)
            self.wait_until_idle()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all jobs and daemons, and remove the configuration."""
        for node in [name for name in self._daemons if name in NODES]:
            self.kill_node(node)
        for name in list(self._daemons):
            self._kill(name)
        for file in (CONFIGURATION / "slurm.conf", CONFIGURATION / "gres.conf"):
            if _is_ours(file):
                file.unlink()
        self._lock.release()

    def start_controller(self) -> None:
        """Start slurmctld, which goes on from the state that it finds."""
        self._start("slurmctld", "slurmctld", "-D")
        self.wait(lambda: "UP" in self.ask("scontrol", "ping"), "slurmctld does not answer")

    def kill_controller(self) -> None:
        """Kill slurmctld, as if its machine had gone."""
        self._kill("slurmctld")

    def start_node(self, node: str) -> None:
        """Start a node's slurmd."""
        self._start(node, "slurmd", "-D", "-N", node)

    def kill_node(self, node: str) -> None:
        """Kill a node's slurmd and every process of its jobs, as if its power had gone."""
        self._kill(node)
        processes = _processes_of(node)
        for number in (signal.SIGSTOP, signal.SIGKILL):  # all at once: none reports the end of another
            for pid in sorted(processes, key=lambda pid: processes[pid] != "slurmstepd"):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def wait_until_idle(self) -> None:
        """Wait until every node is up and has nothing to do."""
        self.wait(
            lambda: self.ask("sinfo", "--noheader", "--Node", "--format=%N %T").count(" idle") >= len(NODES),
            "the nodes are not idle",
        )

    def jobs(self) -> list[dict[str, str]]:
        """All jobs that slurmctld remembers, as `scontrol show job` has them."""
        lines = self.ask("scontrol", "--oneliner", "--details", "show", "job").splitlines()
        return [dict(field.split("=", 1) for field in line.split() if "=" in field) for line in lines]

    def ask(self, *command: str) -> str:
        """What a Slurm command prints; nothing where it fails."""
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return result.stdout if result.returncode == 0 else ""

    def wait(self, condition: Callable[[], object], otherwise: str, seconds: float = 60) -> None:
        """Wait until the condition holds; RuntimeError, with the daemons' last words, where it does not in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                logs = "\n".join(
                    f"{log}:\n{log.read_text(errors='replace')[-2000:]}" for log in self.folder.glob("*.log")
                )
                raise RuntimeError(f"{otherwise} after {seconds:.0f} s\n{logs}")
            time.sleep(0.1)

    def _configure(self) -> None:
        if "SLURM_JOB_ID" in os.environ or Path("/run/slurm").exists():
            raise Unavailable("this machine belongs to a real cluster")
        for name in ("slurm.conf", "gres.conf"):
            file = CONFIGURATION / name
            if file.exists() and not _is_ours(file):
                raise Unavailable(f"{file} is there: this machine belongs to a real cluster")
        # Paths in slurm.conf know no quotes, and a socket's path is at most 107 bytes long.
        if " " in str(self.folder) or len(str(self.folder)) > 80:
            raise Unavailable(f"a test cluster's folder is short and has no space: {self.folder}")
        install(PACKAGES)
        (self.folder / "state").mkdir(parents=True)
        CONFIGURATION.mkdir(exist_ok=True)
        for name in ("slurm.conf", "gres.conf"):
            text = (HERE / name).read_text(encoding="utf-8")
            values = {"@RUN@": str(self.folder), "@HOST@": platform.node().partition(".")[0]}
            for mark, value in values.items():
                text = text.replace(mark, value)
            (CONFIGURATION / name).write_text(text, encoding="utf-8")
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = {"key-file": key.name, "socket": "munge.socket", "pid-file": "munge.pid", "seed-file": "munge.seed"}
        options = [f"--{option}={self.folder / name}" for option, name in (files | {"log-file": "munge.log"}).items()]
        # --force: a folder that others may read is no reason to refuse.
        self._start("munged", "munged", "--foreground", "--force", *options)
        self.wait(lambda: (self.folder / "munge.socket").exists(), "munged does not start")

    def _start(self, name: str, program: str, *arguments: str) -> None:
        with open(self.folder / f"{name}.out", "ab") as out:
            self._daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", program, *arguments],  # it ends when this process does, however
                env={"PATH": PATH, "HOME": "/root"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # a Ctrl-C is for the tests alone
            )

    def _kill(self, name: str) -> None:
        if daemon := self._daemons.pop(name, None):
            daemon.kill()
            daemon.wait()


def _is_ours(file: Path) -> bool:
    return file.is_file() and file.read_text(encoding="utf-8", errors="replace").startswith(OURS)


def _processes_of(node: str) -> dict[int, str]:
    """The processes of a node's jobs and the slurmstepds that watch them: number and name."""
    mark = f"SLURMD_NODENAME={node}".encode()
    processes: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                processes[int(entry.name)] = (entry / "comm").read_text().strip()
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                name = Path(f"/proc/{parent}/comm").read_text().strip()
                if name == "slurmstepd":
                    processes[parent] = name
    return processes


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        cluster = Cluster(Path(sys.argv[1]))
    except Unavailable as reason:
        sys.exit(str(reason))
    print(cluster.ask("sinfo"), flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        cluster.stop()
