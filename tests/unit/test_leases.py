"""What may compute beside what on one machine: real processes, ordered by what they say and not by time."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from seqbench.core.errors import UserError
from seqbench.core.jobs import FULL_LENGTH, MeasurementJob, Training, TrainingJob
from seqbench.core.records import read_record
from seqbench.hardware import leases
from seqbench.hardware.leases import EXCLUSIVE, SHARED
from seqbench.training import supervisor

ROOT = Path(__file__).parents[2]
HANG_S = 300  # no test depends on it: what hangs is killed
SMALL = (("d_model", 16),)
TRAINING = TrainingJob(
    "tiny", "sasrec", "matched", 12, 0, SMALL, Training(max_steps=4, eval_every=2, targets_per_step=128)
)  # fmt: skip
MEASUREMENT = MeasurementJob(
    FULL_LENGTH, "matched", 16, (("sasrec", SMALL),), targets_per_step=64, eval_batch=8, rounds=1, steps=2,
    warmup=1, n_items=30,
)  # fmt: skip
HOLD = """
import os, sys
from seqbench.hardware import leases
history = open(os.environ["HISTORY"], "a", buffering=1)
{before}
with leases.{lease}({kind!r}):
    print(os.getpid(), "in", file=history)
    print("held", flush=True)
    sys.stdin.read()
    print(os.getpid(), "out", file=history)
"""


class Job:
    """A process whose lines are read one by one: `waits ...` and `waited ...` if it has to, then `held`."""

    def __init__(self, command, **options):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
        )  # fmt: skip
        self._guard = threading.Timer(HANG_S, self.process.kill)
        self._guard.start()

    def says(self):
        return self.process.stdout.readline().strip()

    def waits(self):
        return self.says().startswith("waits for the machine")

    def holds(self):
        """Whether it gets its lease; until then this blocks."""
        line = self.says()
        while re.match("waits|waited", line):
            line = self.says()
        return line == "held"

    def ends(self, signal_=None):
        if signal_:
            self.process.send_signal(signal_)
        rest, _ = self.process.communicate()
        self._guard.cancel()
        return rest


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """An empty folder of locks."""
    path = tmp_path / "locks"
    path.mkdir()
    monkeypatch.setenv(leases.FOLDER, str(path))
    monkeypatch.setenv("HISTORY", str(tmp_path / "history"))
    return path


@pytest.fixture
def start(folder):
    """Start a process that takes a lease and keeps it until it is told to end."""
    with ExitStack() as stack:

        def job(kind, lease="machine_lease", before="", **options):
            code = HOLD.format(kind=kind, lease=lease, before=before)
            return command([sys.executable, "-c", code], **{"cwd": ROOT, **options})

        def command(words, **options):
            process = Job(words, **options)
            stack.callback(process.ends, signal.SIGKILL)
            return process

        job.command = command
        yield job


def turns(*jobs):
    """The history in which each job leaves before the next one comes in."""
    return [f"{job.process.pid} {what}" for job in jobs for what in ("in", "out")]


def history():
    return Path(os.environ["HISTORY"]).read_text().splitlines()


def tickets(folder):
    return sorted(path.name for path in folder.glob("seqbench-job-*"))


def test_shared_leases_are_held_side_by_side(start):
    jobs = [start(SHARED) for _ in range(3)]
    assert [job.says() for job in jobs] == ["held"] * 3


@pytest.mark.parametrize(
    ("first", "second"), [(SHARED, EXCLUSIVE), (EXCLUSIVE, SHARED), (EXCLUSIVE, EXCLUSIVE)]
)
def test_an_exclusive_lease_excludes_both_kinds(start, folder, first, second):
    one = start(first)
    assert one.says() == "held"
    two = start(second)
    said = two.says()
    assert re.fullmatch(rf"waits for the machine, .*\b{one.process.pid} \({first}\)", said)
    one.ends()
    assert re.fullmatch(r"waited \d+ s for the machine", two.says()) and two.says() == "held"
    two.ends()
    assert history() == turns(one, two) and not tickets(folder)


def test_a_waiting_measurement_blocks_new_jobs_and_gets_its_turn(start, folder):
    before = start(SHARED)
    assert before.says() == "held"
    measurement = start(EXCLUSIVE)
    assert measurement.waits()
    after = start(SHARED)
    assert after.waits()  # though it could run beside the one that computes
    before.ends()
    assert measurement.holds()
    assert [name.endswith("exclusive.lock") for name in tickets(folder)] == [True, False]
    measurement.ends()
    assert after.holds()
    after.ends()
    assert history() == turns(before, measurement, after)


def test_a_training_gets_its_turn_within_a_stream_of_measurements(start):
    order, jobs = [EXCLUSIVE, EXCLUSIVE, SHARED, EXCLUSIVE, EXCLUSIVE], []
    for kind in order:
        jobs.append(start(kind))
        assert jobs[-1].says().startswith("waits for the machine" if jobs[1:] else "held")
    for number, job in enumerate(jobs):
        assert number == 0 or job.holds()
        assert len(queued()) == len(jobs) - number
        job.ends()
    assert history() == turns(*jobs)


def queued():
    """The live tickets as a newcomer sees them."""
    with ExitStack() as stack, leases._gate():
        return [Path(file.name) for file in leases._queue(stack)]


def test_death_releases_a_lease_and_leaves_nothing_to_clean(start, folder):
    holder = start(EXCLUSIVE)
    assert holder.says() == "held"
    waiter, last = start(EXCLUSIVE), None
    assert waiter.waits()
    last = start(EXCLUSIVE)
    assert last.waits()
    waiter.ends(signal.SIGKILL)
    holder.ends(signal.SIGKILL)
    assert last.holds() and len(queued()) == 1
    last.ends()
    assert not tickets(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_two_users_exclude_each_other_whatever_their_umask(start, monkeypatch):
    with tempfile.TemporaryDirectory() as shared:
        os.chmod(shared, 0o1777)  # as /tmp is
        monkeypatch.setenv(leases.FOLDER, shared)
        root = start(EXCLUSIVE, before="os.umask(0o077)")
        assert root.says() == "held"
        other = start(SHARED, before="os.umask(0o077); os.setgid(65534); os.setuid(65534)")
        assert other.waits()
        root.ends(signal.SIGKILL)
        assert other.holds()  # and cannot remove the other's ticket
        again = start(EXCLUSIVE)
        assert again.waits()
        other.ends(signal.SIGKILL)
        assert again.holds()
        assert len(queued()) == 1  # root removes what lies there
        again.ends()
        assert not tickets(Path(shared))


def test_locks_can_be_read_by_all_whatever_the_umask_of_the_first(folder):
    before = os.umask(0o077)
    try:
        with leases.machine_lease(SHARED):
            leases._lock_file("gpu0").close()
            modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    finally:
        os.umask(before)
    assert modes == {0o644}


def test_two_checkouts_exclude_each_other(start, tmp_path):
    for name in "ab":
        for package in ("core", "hardware"):
            shutil.copytree(ROOT / "seqbench" / package, tmp_path / name / "seqbench" / package)
    where = "assert leases.__file__.startswith(os.getcwd())"
    one, two = start(SHARED, before=where, cwd=tmp_path / "a"), None
    assert one.says() == "held"
    two = start(EXCLUSIVE, before=where, cwd=tmp_path / "b")
    assert two.waits()
    one.ends()
    assert two.holds()


def test_without_a_folder_of_ones_own_locks_lie_where_every_user_looks(monkeypatch, tmp_path):
    monkeypatch.delenv(leases.FOLDER)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert leases.folder() == Path("/tmp")


def test_a_folder_that_cannot_be_used_says_which_variable_names_another(monkeypatch, tmp_path):
    monkeypatch.setenv(leases.FOLDER, str(tmp_path / "none"))
    with pytest.raises(UserError, match=f"seqbench-machine.lock: .*{leases.FOLDER}"):
        leases.machine_lease(SHARED).__enter__()


@pytest.mark.parametrize("kind", [SHARED, EXCLUSIVE])
def test_what_runs_within_a_lease_takes_none(start, folder, kind):
    with leases.holding(EXCLUSIVE):
        inner = start(kind)
        assert inner.says() == "held" and len(tickets(folder)) == 1
        with leases.machine_lease(kind) as held:
            assert held == {}


def test_a_measurement_within_a_shared_lease_is_refused_instead_of_waiting_for_itself(folder):
    with leases.holding(SHARED), pytest.raises(UserError, match="shared lease of the machine"):
        leases.machine_lease(EXCLUSIVE).__enter__()


def test_a_variable_that_outlived_its_lease_is_no_lease(folder, monkeypatch):
    with leases.machine_lease(EXCLUSIVE) as held:
        pass
    monkeypatch.setenv(leases.HELD, held[leases.HELD])
    with leases.machine_lease(EXCLUSIVE) as own:
        assert own[leases.HELD] and len(tickets(folder)) == 1


def test_who_waits_for_the_machine_holds_no_gpu(start, monkeypatch):
    """Else it and a measurement, which has the machine and waits for that GPU, would wait for each other."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(leases, "gpu_devices", lambda: ["nvidia0"])
    with leases.machine_lease(EXCLUSIVE):
        other = start(SHARED, "lease", before="leases.gpu_devices = lambda: ['nvidia0']")
        assert other.waits()
        with leases.device_lease() as visible:
            assert visible["CUDA_VISIBLE_DEVICES"] == "0"
    assert other.holds()


@pytest.mark.parametrize(
    ("queue", "holding"), [("", 0), ("s", 1), ("e", 1), ("sse", 2), ("ses", 1), ("es", 1), ("ee", 1)]
)  # fmt: skip
def test_who_waits_is_not_counted_as_beside(queue, holding):
    kinds = {"s": SHARED, "e": EXCLUSIVE}
    names = [Path(f"seqbench-job-{n:09d}-1-{kinds[k]}.lock") for n, k in enumerate(queue)]
    assert leases._holders(names) == names[:holding]


# --- what records say ---------------------------------------------------------------------------------------------------


def test_the_record_of_a_training_that_died_tells_what_ran_beside_it(
    folder, tiny, tmp_path, monkeypatch
):
    watch = supervisor.watch
    dies = [sys.executable, "-c", "raise RuntimeError"]
    monkeypatch.setattr(supervisor, "watch", lambda _, *rest: watch(dies, *rest))
    with leases.machine_lease(SHARED), leases.machine_lease(SHARED):
        assert supervisor.supervise(TRAINING, tiny, tmp_path, 1, None) == "crashed"
    assert read_record(tmp_path)["load"]["own_jobs_beside"] == {"start": 2, "end": 2}


def test_the_lease_of_a_parent_is_no_job_beside(folder, tiny, tmp_path, monkeypatch):
    """Nor is it with a GPU, which the job leases by itself."""
    watch = supervisor.watch
    dies = [sys.executable, "-c", "raise RuntimeError"]
    monkeypatch.setattr(supervisor, "watch", lambda _, *rest: watch(dies, *rest))
    monkeypatch.setattr(leases, "gpu_devices", lambda: ["nvidia0"])
    monkeypatch.setattr(supervisor, "device_kind", lambda: "cpu")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with leases.holding(SHARED):
        supervisor.supervise(TRAINING, tiny, tmp_path, 1, None)
    assert read_record(tmp_path)["load"]["own_jobs_beside"] == {"start": 0, "end": 0}


def test_what_cannot_be_told_costs_no_result(monkeypatch, tmp_path):
    monkeypatch.setenv(leases.FOLDER, str(tmp_path / "none"))
    monkeypatch.delattr(os, "getloadavg")
    nothing = {"start": None, "end": None}
    assert leases.load_watched()() == {
        "load_average_1m": nothing, "own_jobs_beside": nothing, "waited_s": 0.0,
    }  # fmt: skip


@pytest.mark.slow
def test_a_measurement_started_beside_a_training_waits_for_it(start, folder, tiny, tmp_path):
    """By the command line, without Snakemake and its resources; the training is killed when the measurement waits."""
    endless = TrainingJob(
        "tiny", "sasrec", "matched", 12, 0, SMALL, Training(max_steps=10**9, eval_every=10**8, patience_steps=10**9)
    )  # fmt: skip
    seqbench = [sys.executable, "-m", "seqbench"]
    options = [
        "--job",
        endless.to_json(),
        "--dataset",
        str(tiny),
        "--out",
        str(tmp_path / "train"),
    ]
    training = start.command([*seqbench, "run", *options], cwd=ROOT)
    guard = threading.Event()
    while not tickets(folder) and training.process.poll() is None:
        guard.wait(0.05)
    options = ["--job", MEASUREMENT.to_json(), "--out", str(tmp_path / "cost")]
    measurement = start.command([*seqbench, "measure", *options], cwd=ROOT)
    said = measurement.says()
    assert said.startswith("waits for the machine") and f"{training.process.pid} (shared)" in said
    training.ends(signal.SIGKILL)
    measurement.ends()
    assert measurement.process.returncode == 0
    load = read_record(tmp_path / "cost/sasrec")["load"]
    assert load["own_jobs_beside"] == {"start": 0, "end": 0}


# --- GPUs ---------------------------------------------------------------------------------------------------------------


def test_a_leased_device_is_not_given_out_twice(folder, monkeypatch):
    monkeypatch.setattr(leases, "gpu_devices", lambda: ["nvidia0", "nvidia1"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with leases.device_lease() as first, leases.device_lease() as second:
        assert {first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]} == {"0", "1"}
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with leases.device_lease() as visible:
        assert visible == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, "a cluster counts by bus"
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    with leases.device_lease() as visible:
        assert visible == {}, "the user's own word"


def test_work_without_a_gpu_sees_none_and_waits_for_none(folder, monkeypatch):
    monkeypatch.setattr(leases, "gpu_devices", lambda: ["nvidia0"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with leases.device_lease(), leases.lease(SHARED, gpu=False) as visible:
        assert visible["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.setattr(leases, "gpu_devices", list)
    with leases.lease(SHARED, gpu=False) as visible:
        assert "CUDA_VISIBLE_DEVICES" not in visible, "a record names only what was set"


def test_a_lock_of_somebody_else_is_only_read(folder):
    """Whoever came first owns the file; the next user may read it, and a lock needs no more."""
    with leases._lock_file("gpu0") as first, leases._lock_file("gpu0") as again:
        assert first.name == again.name == str(folder / "seqbench-gpu0.lock")
        assert not first.writable() and not again.writable()


def test_a_folder_that_cannot_be_written_says_what_to_do(folder, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(leases.Path, "touch", refuse)
    with pytest.raises(UserError, match=r"gpu0\.lock: Permission denied; name a folder.*can write"):
        leases._lock_file("gpu0")


def test_a_lock_that_cannot_be_read_says_what_to_do(folder, monkeypatch):
    """Root reads everything, so the refusal is a stand-in."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    (folder / "seqbench-gpu0.lock").touch(mode=0o600)
    monkeypatch.setattr(leases.Path, "open", refuse)
    with pytest.raises(UserError, match=r"seqbench-gpu0\.lock: cannot be read.*`chmod 644 "):
        leases._lock_file("gpu0")
    assert (folder / "seqbench-gpu0.lock").stat().st_mode & 0o777 == 0o600  # not ours to change


@pytest.mark.parametrize(
    ("devices", "visible", "torch", "kind"),
    [
        (["nvidia0"], None, "2.11.0+cu130", "cuda"),
        (["nvidia0"], "1", "2.11.0", "cuda"),
        (["nvidia0"], "", "2.11.0", "cpu"),
        (["nvidia0"], "-1", "2.11.0", "cpu"),
        (["nvidia0"], "NoDevFiles", "2.11.0", "cpu"),  # what CUDA does not know hides all
        (["nvidia0"], "GPU-1234", "2.11.0", "cuda"),
        (["nvidia0"], None, "2.13.0+cpu", "cpu"),
        ([], None, "2.11.0", "cpu"),
    ],
)
def test_a_gpu_that_pytorch_cannot_use_is_none(monkeypatch, devices, visible, torch, kind):
    monkeypatch.setattr(leases, "gpu_devices", lambda: devices)
    monkeypatch.setattr(leases.metadata, "version", lambda _: torch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert leases.device_kind() == kind
