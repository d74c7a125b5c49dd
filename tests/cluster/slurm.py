"""A real Slurm on this machine for a while: two pretended nodes of 8 CPUs and 2 GPUs each, its state in one folder.

Root on Debian or Ubuntu; no systemd, no cgroups. The daemons run in the foreground as children of the tests, so that they end
with them, and listen on free ports of 127.0.0.1. A "GPU" is a device file that is no GPU: Slurm counts it, CUDA does not see it.
Its configuration is linked from /etc/slurm, because the plugin's job steps forget SLURM_CONF; a machine that has one there keeps it.
``python tests/cluster/slurm.py`` installs what is missing.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge", "slurmdbd", "mariadb-server-core")
COMMANDS = ("slurmctld", "slurmd", "squeue", "munged", "slurmdbd", "mariadbd", "mariadb-install-db")
PLUGIN = Path(sys.prefix, "cluster")  # where `make test-cluster` puts Snakemake's plugin
MARK = "SEQBENCH_PRETENDED_CLUSTER"  # variable of all that runs on it
ETC = Path("/etc/slurm")
FILES = ("slurm.conf", "slurmdbd.conf", "gres.conf")
PATIENCE_S = 600  # ends a hang; no outcome depends on it
NODES = ("n1", "n2")
LOST_AFTER_S = 10  # without a sign of life a node counts as lost

CONFIG = """
ClusterName=pretended
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
{accounting}
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=bf_interval=2,batch_sched_delay=1
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout={lost_after}
KillWait=5
OverTimeLimit=10
MinJobAge=86400
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} CPUs=8 RealMemory=64000 Gres=gpu:2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} CPUs=8 RealMemory=64000 Gres=gpu:2
PartitionName=gpu Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""
WITHOUT_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
WITH_ACCOUNTING = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd}
AccountingStoragePass={folder}/munge/socket
AccountingStorageTRES=gres/gpu
"""
DATABASE = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={dbd}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql}
StorageUser=root
StorageLoc=accounting
"""


def missing():
    """Why no cluster can start here; None if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a Slurm of its own needs root on Linux"
    lacks = _lacking()
    if not (PLUGIN.is_dir() or importlib.util.find_spec("snakemake_executor_plugin_slurm")):
        lacks.append("Snakemake's plugin")
    if lacks:
        return (
            f"{', '.join(lacks)}: not here; `make test-cluster` installs them on Debian and Ubuntu"
        )
    if any((ETC / name).exists() for name in FILES):
        return (
            f"{ETC} has a configuration: this machine has a Slurm of its own, or another test runs"
        )
    return None


def install():
    """Have apt install what is missing, where that can be done; elsewhere the tests are skipped and say why."""
    if not _lacking() or sys.platform != "linux" or os.geteuid() or not shutil.which("apt-get"):
        return
    print(f"test-cluster: installs {' '.join(PACKAGES)}", file=sys.stderr)
    apt = ["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"]
    quiet = {
        "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        "stdout": subprocess.DEVNULL,
    }
    for rest in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        if failed := subprocess.run([*apt, *rest], **quiet).returncode:
            print(f"test-cluster: apt-get {rest[0]} failed with status {failed}", file=sys.stderr)


def _lacking():
    return [name for name in COMMANDS if shutil.which(name, path=_path()) is None]


def _path():
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def until(condition, what):
    """The first true value of ``condition``."""
    ends = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < ends, f"never came: {what}"
        time.sleep(0.2)
    return found


class Slurm:
    """``with Slurm(folder, accounting=True) as slurm``: daemons up, nodes idle; at the end nothing of it is left."""

    def __init__(self, folder, accounting=False):
        self.folder, self.accounting = Path(folder), accounting
        self.variables = {"PATH": _path(), "PYTHONPATH": str(PLUGIN), MARK: str(self.folder)}
        self._daemons, self._cleared = {}, 0

    def __enter__(self):
        try:
            self._configure()
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_):
        self._stop()

    # --- what tests ask and do ------------------------------------------------------------------------------------------

    def ask(self, *command):
        """What a command of Slurm prints."""
        done = self._run(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def jobs(self, rule=""):
        """Jobs since the last ``clear`` whose comment names ``rule``: dictionaries, oldest first."""
        fields = {
            "id": "JobID", "state": "State", "node": "NodeList", "comment": "Comment", "gres": "tres-per-job",
            "memory": "MinMemory", "limit": "TimeLimit",
        }  # fmt: skip
        wanted = ",".join(f"{field}:|" for field in fields.values())
        text = self.ask("squeue", "--states=all", "--sort=i", "--noheader", f"--Format={wanted}")
        rows = [dict(zip(fields, line.split("|"), strict=False)) for line in text.splitlines()]
        return [row for row in rows if rule in row["comment"] and int(row["id"]) > self._cleared]

    def running(self, rule, n=1):
        """Wait until ``n`` jobs of a rule run, and return them."""

        def found():
            jobs = [job for job in self.jobs(rule) if job["state"] == "RUNNING"]
            return jobs if len(jobs) >= n else None

        return until(found, f"{n} running jobs of {rule}")

    def lose(self, node):
        """Kill a node with all that runs on it, as a power cut does."""
        victims = [self._daemons.pop(node).pid, *self._steps(node)]
        for pid in [*victims, *_below(victims)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(
            lambda: "down" in self.ask("sinfo", "-h", "-N", "-n", node, "-o", "%t"),
            f"{node} is lost",
        )

    def restore(self, node):
        """Start a node that was lost."""
        self._spawn(node, "slurmd", "-D", "-N", node)
        self._idle()

    def pause_database(self):
        """Take slurmdbd away; ``resume_database`` brings it back."""
        self._end("slurmdbd")

    def resume_database(self):
        self._spawn("slurmdbd", "slurmdbd", "-D")

    def clear(self):
        """End every job, and forget it."""
        self.ask("scancel", "--user=root")
        busy = ("RUNNING", "PENDING", "COMPLETING")
        until(lambda: not any(job["state"] in busy for job in self.jobs()), "the queue is empty")
        self._cleared = max([self._cleared, *(int(job["id"]) for job in self.jobs())])

    # --- daemons --------------------------------------------------------------------------------------------------------

    def _run(self, *command, **options):
        return subprocess.run(command, env={**os.environ, **self.variables}, **options)

    def _answers(self, *command):
        null = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return self._run("timeout", "5", *command, **null).returncode == 0

    def _configure(self):
        for part in ("state", "munge", "sql"):
            (self.folder / part).mkdir(parents=True)
        ETC.mkdir(exist_ok=True)
        values = {
            "folder": self.folder, "host": socket.gethostname().partition(".")[0], "lost_after": LOST_AFTER_S,
            **dict(zip(("ctld", "dbd", "sql", *NODES), _free_ports(5), strict=True)),
        }  # fmt: skip
        accounting = WITH_ACCOUNTING if self.accounting else WITHOUT_ACCOUNTING
        values["accounting"] = accounting.format(**values)
        gpus = []
        for number in range(2):
            gpus.append(self.folder / f"gpu{number}")
            os.mknod(gpus[-1], 0o20666, os.makedev(1, 3))
        texts = {
            "slurm.conf": CONFIG.format(**values),
            "slurmdbd.conf": DATABASE.format(**values),
            "gres.conf": f"AutoDetect=off\nNodeName=n1,n2 Name=gpu File={self.folder}/gpu[0-1]\n",
        }
        for name, text in texts.items():
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o600)
            (ETC / name).unlink(missing_ok=True)  # a link of a run that was killed
            (ETC / name).symlink_to(self.folder / name)
        (self.folder / "munge/key").write_bytes(os.urandom(128))
        (self.folder / "munge/key").chmod(0o400)
        self._sql_port = str(values["sql"])

    def _start(self):
        munge = self.folder / "munge"
        files = [f"--{kind}-file={munge}/{kind}" for kind in ("key", "log", "pid", "seed")]
        self._spawn(
            "munged", "munged", "--foreground", "--force", f"--socket={munge}/socket", *files
        )
        self._until(lambda: self._answers("munge", "-n", f"--socket={munge}/socket"), "munge")
        if self.accounting:
            self._start_accounting()
        self._spawn("slurmctld", "slurmctld", "-D", "-c")
        for node in NODES:
            self._spawn(node, "slurmd", "-D", "-N", node)
        self._idle()

    def _start_accounting(self):
        data = self.folder / "sql"
        made = self._run(
            "mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--skip-test-db",
            "--auth-root-authentication-method=normal", capture_output=True, text=True,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout + made.stderr
        self._spawn(
            "mariadbd", "mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={data}/socket",
            "--bind-address=127.0.0.1", f"--port={self._sql_port}", "--skip-grant-tables",
            "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M",
        )  # fmt: skip
        self._until((data / "socket").exists, "MariaDB")
        self._spawn("slurmdbd", "slurmdbd", "-D")
        self._until(lambda: self._answers("sacctmgr", "-n", "list", "cluster"), "slurmdbd")
        self._answers("sacctmgr", "-i", "-Q", "add", "cluster", "pretended")

    def _idle(self):
        def all_idle():
            text = self._run(
                "timeout", "5", "sinfo", "-h", "-N", "-t", "idle", "-o", "%N", capture_output=True, text=True
            ).stdout  # fmt: skip
            return set(text.split()) == set(NODES)

        self._until(all_idle, "idle nodes")

    def _until(self, condition, what):
        """As ``until``, while every daemon lives."""

        def alive_and_so():
            assert all(daemon.poll() is None for daemon in self._daemons.values()), self.said()
            return condition()

        until(alive_and_so, what)

    def said(self):
        """The last lines of the daemons' logs."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(
            f"{log.name}: {line}" for log in logs for line in log.read_text().splitlines()[-5:]
        )

    def _spawn(self, name, *command):
        from seqbench.core import processes  # not needed to install

        die = partial(processes.die_with_parent, os.getpid(), processes.prctl())
        with (self.folder / f"{name}.out.log").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                command, env={**os.environ, **self.variables}, preexec_fn=die,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip

    def _end(self, name):
        daemon = self._daemons.pop(name, None)
        if daemon:
            daemon.terminate()
            try:
                daemon.wait(30)
            except (
                subprocess.TimeoutExpired
            ):  # one that never reached its controller does not listen
                daemon.kill()
                daemon.wait()

    def _stop(self):
        if "slurmctld" in self._daemons:
            with suppress(AssertionError, OSError):
                self.clear()
        for name in (*NODES, "slurmctld", "slurmdbd", "mariadbd", "munged"):
            self._end(name)
        for pid in _marked(self.folder):  # without cgroups Slurm loses who outlived a parent
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for name in FILES:
            if (ETC / name).is_symlink():
                (ETC / name).unlink()

    def _steps(self, node):
        """Processes of Slurm that watch over jobs on a node."""
        spool = f"{self.folder}/spool-{node}"
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
                files = {os.readlink(fd) for fd in (entry / "fd").iterdir()}
                if command.startswith("slurmstepd") and any(
                    f.startswith(spool) or f.endswith(f"slurmd-{node}.log") for f in files
                ):
                    found.append(int(entry.name))
        return found


def _marked(folder):
    """Processes that a cluster's jobs left."""
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"{MARK}={folder}".encode() in entry.read_bytes().split(b"\0"):
                yield int(entry.parent.name)


def _below(pids):
    """All descendants of processes."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(entry.parent.name)] = int(entry.read_text().rsplit(")", 1)[1].split()[1])
    found, more = set(), set(pids)
    while more:
        more = {pid for pid, parent in parents.items() if parent in more} - found
        found |= more
    return found


def _free_ports(n):
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(n)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


if __name__ == "__main__":
    install()
