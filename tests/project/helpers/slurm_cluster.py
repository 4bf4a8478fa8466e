"""Debian's own Slurm on this machine: a controller and one node, as ordinary programs.

The packages are unpacked and not installed: with `srun` on the PATH, other tests would believe that
they run on a cluster. Slurm's accounting needs a database, so `sacct` is a stand-in.
"""

from __future__ import annotations

import getpass
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PACKAGES = """slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge libmunge2 libjwt0
libb64-0d libjansson4 libhwloc15 liblua5.3-0 libnuma1 libfreeipmi17 libipmimonitoring6 librrd8
libdbi1"""
CONF = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
AuthInfo=cred_expire=1
CredType=cred/none
PluginDir={plugins}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=8
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE
"""
SACCT = r"""#!/bin/sh
echo "JobID|State|NodeList"
scontrol -o show job | sed -nE \
's/^JobId=([0-9]+) (ArrayJobId=([0-9]+) ArrayTaskId=(\S+) )?.*JobState=([A-Z_]+).*/\1|\3|\4|\5/p' |
while IFS='|' read -r id array task state; do
	echo "${array:-$id}${task:+_$task}|$state|"
done
"""


class Slurm:
    """The cluster. `variables` are those of a process that uses it."""

    def __init__(self) -> None:
        # A short path: sockets lie in it.
        self._folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        root = self._folder / "root"
        _unpack(self._folder / "packages", root)
        (libraries,) = root.glob("usr/lib/*/slurm-wlm")
        conf = CONF.format(
            host=platform.node(),
            ports=_free_ports(),
            user=getpass.getuser(),
            plugins=libraries,
            folder=self._folder,
        )
        for name in ("state", "spool", "bin"):
            (self._folder / name).mkdir()
        (self._folder / "slurm.conf").write_text(conf)
        stand_in = self._folder / "bin/sacct"
        stand_in.write_text(SACCT)
        stand_in.chmod(0o755)
        path = [str(self._folder / "bin"), str(root / "usr/bin"), os.environ["PATH"]]
        self.variables = {
            "SLURM_CONF": str(self._folder / "slurm.conf"),
            "LD_LIBRARY_PATH": f"{libraries.parent}:{libraries}",
            "PATH": os.pathsep.join(path),
        }
        sbin = root / "usr/sbin"
        self._programs = [
            self._start("slurmctld", sbin / "slurmctld-wlm", "-D"),
            self._start("slurmd", sbin / "slurmd-wlm", "-D", "-d", sbin / "slurmstepd-wlm"),
        ]
        self._wait_for_the_node()

    def call(self, *words: str) -> str:
        """Run one of Slurm's commands; return what it prints."""
        return subprocess.run(
            words,
            env=os.environ | self.variables,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    def jobs(self) -> list[str]:
        """Return the names of the jobs that have not ended."""
        return sorted(self.call("squeue", "--noheader", "--array", "--format=%i").split())

    def state(self, job: str) -> str:
        """Return the state of a job that has not ended."""
        return self.call("squeue", "--noheader", "--format=%T", f"--jobs={job}").strip()

    def close(self) -> None:
        """End all jobs and the cluster."""
        for program in reversed(self._programs):
            program.terminate()
            program.wait(timeout=60)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, name: str, *words: str | Path) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [str(word) for word in words],
                env=os.environ | self.variables,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _wait_for_the_node(self) -> None:
        deadline = time.monotonic() + 120
        while True:
            try:
                if "idle" in self.call("sinfo", "--noheader", "--format=%T"):
                    return
            except subprocess.CalledProcessError:
                pass
            if time.monotonic() > deadline or any(p.poll() is not None for p in self._programs):
                logs = [path.read_text()[-2000:] for path in self._folder.glob("*.log")]
                raise RuntimeError(f"Slurm does not start: {logs}")
            time.sleep(0.2)


def _unpack(packages: Path, root: Path) -> None:
    packages.mkdir()
    fetched = subprocess.run(
        ["apt-get", "-o", "APT::Sandbox::User=root", "download", *PACKAGES.split()],
        cwd=packages,
        capture_output=True,
        text=True,
    )
    if fetched.returncode:
        why = fetched.stderr.strip().splitlines()[-1:]
        raise RuntimeError(f"Debian's slurmctld and slurmd cannot be had: {why}; apt-get update?")
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(root)], check=True)


def _free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in (one, other)]
