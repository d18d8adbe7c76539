"""A real Slurm on this machine: munged, slurmctld and one slurmd for each node, in a folder of the test."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_ports
from tests.tools import missing, program

# Generous: a busy machine is no fault of the code.
LIMIT_S = 60.0

# Slurm wants a device file for each GPU and never opens it.
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random")

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MailProg=/bin/true
ReturnToService=2
GresTypes=gpu
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0
"""


@dataclass
class Slurm:
    """A cluster that answers; call runs one of its commands."""

    folder: Path
    environment: dict[str, str]
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def call(self, *words: str | Path, variables: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """A command with its output; it never waits for more than the limit."""
        return subprocess.run(
            list(map(str, words)),
            env={**self.environment, **(variables or {})},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )

    def start(self, *words: str) -> None:
        """A daemon in the foreground, in a process group of its own."""
        with (self.folder / f"{Path(words[0]).name}-{len(self.daemons)}.out").open("wb") as log:
            self.daemons.append(
                subprocess.Popen(list(words), env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            )

    def until(self, what: str, *words: str, limit_s: float = LIMIT_S) -> str:
        """What a command says once `what` is in it."""
        end = time.monotonic() + limit_s
        while True:
            done = self.call(*words)
            if what in done.stdout:
                return done.stdout
            if time.monotonic() > end:
                raise TimeoutError(f"{' '.join(words)} never said {what!r} but {done.stdout!r} {done.stderr!r}\n{self.logs()}")
            time.sleep(0.1)

    def logs(self) -> str:
        """The end of what every daemon wrote."""
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in sorted(self.folder.glob("*.[lo][ou]*")))


@contextlib.contextmanager
def slurm_cluster(folder: Path, nodes: Mapping[str, str]) -> Iterator[Slurm]:
    """A cluster with these nodes, each with its gres as slurm.conf has it ("gpu:2")."""
    programs = {name: program(name, "slurmctld, slurmd, slurm-client and munge") for name in ("slurmctld", "slurmd", "sbatch", "munged")}
    cluster = Slurm(folder, {"PATH": f"{os.environ['PATH']}:/usr/sbin", "SLURM_CONF": str(folder / "slurm.conf"), "HOME": str(folder)})
    _configure(folder, nodes)
    try:
        _start(cluster, programs, tuple(nodes))
        yield cluster
    finally:
        _end(cluster)


def _start(cluster: Slurm, programs: Mapping[str, str], nodes: tuple[str, ...]) -> None:
    cluster.start(programs["munged"], "--foreground", "--force", *_munge_places(cluster.folder))
    _wait_for(cluster.folder / "munge.socket", cluster)
    cluster.start(programs["slurmctld"], "-D", "-i")
    for name in nodes:
        cluster.start(programs["slurmd"], "-D", "-N", name)
    try:
        for name in nodes:
            cluster.until("idle", "sinfo", "--noheader", "--nodes", name, "--format=%t")
    except TimeoutError as error:
        missing(f"Slurm is installed but does not run here: {error}")


def _configure(folder: Path, nodes: Mapping[str, str]) -> None:
    # Slurm and munge want places that nobody else can write to.
    folder.chmod(0o755)
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    ports = free_ports(1 + len(nodes))
    host = socket.gethostname().partition(".")[0]
    lines = [CONF.format(host=host, user=getpass.getuser(), folder=folder, ports=ports)]
    gres = []
    for port, (name, has) in zip(ports[1:], nodes.items(), strict=True):
        (folder / f"spool-{name}").mkdir()
        lines.append(f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=16 RealMemory=1024 Gres={has} State=UNKNOWN")
        devices = iter(DEVICES)
        for item in has.split(","):
            parts = item.split(":")
            kind = f" Type={parts[1]}" if len(parts) == 3 else ""
            gres += [f"NodeName={name} Name={parts[0]}{kind} File={next(devices)}" for _ in range(int(parts[-1]))]
    lines.append(f"PartitionName=all Nodes={','.join(nodes)} Default=YES MaxTime=INFINITE State=UP")
    (folder / "slurm.conf").write_text("\n".join(lines) + "\n")
    (folder / "gres.conf").write_text("\n".join(gres) + "\n")
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")


def _munge_places(folder: Path) -> tuple[str, ...]:
    names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    return tuple(f"--{option}={folder}/munge.{ending}" for option, ending in names.items())


def _wait_for(path: Path, cluster: Slurm) -> None:
    end = time.monotonic() + LIMIT_S
    while not path.exists():
        if time.monotonic() > end or cluster.daemons[-1].poll() is not None:
            missing(f"munged does not run here: {cluster.logs()}")
        time.sleep(0.05)


def _end(cluster: Slurm) -> None:
    if len(cluster.daemons) > 1:
        cluster.call("scancel", "--me")
        with contextlib.suppress(TimeoutError):
            cluster.until("none", "sh", "-c", "squeue --noheader | grep -q . || echo none", limit_s=20)
    for daemon in reversed(cluster.daemons):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(daemon.pid, signal.SIGTERM)
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()
