"""The supervisor turns whatever happens to a worker into a record, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time

import pytest
from fake_nvml import FakeNvml

from seqbench.core import provenance
from seqbench.core.errors import UserError
from seqbench.core.jobs import Training, TrainingJob
from seqbench.core.records import read_record, read_samples
from seqbench.hardware import leases
from seqbench.training import supervisor

WATCH = supervisor.watch
EXPERIMENT = TrainingJob(
    "tiny",
    "sasrec",
    "matched",
    12,
    0,
    (),
    Training(max_steps=4, eval_every=2, targets_per_step=128),
)


def worker(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def supervise_with(monkeypatch, tmp_path, tiny, code, time_limit_s=60.0):
    """Supervise a worker that runs ``code`` instead of training."""

    monkeypatch.setattr(supervisor, "watch", lambda _, env, limit: WATCH(worker(code), env, limit))
    supervisor.supervise(EXPERIMENT, tiny, tmp_path / "out", 1, time_limit_s)
    return read_record(tmp_path / "out")


def test_a_training_leaves_record_samples_and_weights(tiny, tmp_path):
    assert supervisor.supervise(EXPERIMENT, tiny, tmp_path, 1, 120.0) == "ok"
    record = read_record(tmp_path)
    assert record["status"] == "ok" and record["values"]["steps"] == 4
    assert record["job"] == EXPERIMENT.to_dict() | {"hyperparameters": {}}
    assert len(read_samples(tmp_path, record)["test/rank"]) == 120
    assert (tmp_path / "weights.safetensors").stat().st_size > 1000
    assert record["environment"]["threads"] == 1


def test_a_worker_killed_by_the_system_is_out_of_memory(monkeypatch, tmp_path, tiny):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    record = supervise_with(monkeypatch, tmp_path, tiny, code)
    assert record["status"] == "oom" and "SIGKILL" in record["reason"]
    assert record["job"]["model"] == "sasrec" and record["data"]["n_users"] == 120
    assert (tmp_path / "out/weights.safetensors").exists()


def test_a_hanging_worker_is_stopped_with_all_it_started(monkeypatch, tmp_path, tiny):
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pid_file)!r}, 'w').write(str(p.pid)); time.sleep(600)"
    )
    record = supervise_with(monkeypatch, tmp_path, tiny, code, time_limit_s=2.0)
    assert record["status"] == "timeout" and "2 s" in record["reason"]
    assert gone(int(pid_file.read_text()))


def test_a_crash_names_the_signal_or_the_last_message(monkeypatch, tmp_path, tiny):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    assert "SIGSEGV" in supervise_with(monkeypatch, tmp_path, tiny, code)["reason"]
    record = supervise_with(monkeypatch, tmp_path / "b", tiny, "raise RuntimeError('lost it')")
    assert record["status"] == "crashed" and record["reason"].endswith("RuntimeError: lost it")


def test_a_state_that_cannot_be_loaded_crashes_one_training_only(monkeypatch, tmp_path, tiny):
    """The first attempt crashes on the file, as the trainer would; the second one finds it gone."""
    state = tmp_path / "out/resume-0.pt"
    state.parent.mkdir()
    state.touch()
    code = f"import os; os.path.exists({str(state)!r}) and open({str(state)!r}).read()[0]"
    record = supervise_with(monkeypatch, tmp_path, tiny, code)
    assert record["status"] == "crashed" and "IndexError" in record["reason"]
    monkeypatch.setattr(supervisor, "watch", lambda _, env, limit: WATCH(worker(code), env, limit))
    assert supervisor.supervise(EXPERIMENT, tiny, tmp_path / "out", 1, 60.0) == "ok"


def test_bad_input_is_not_a_result(monkeypatch, tmp_path, tiny):
    with pytest.raises(UserError):
        supervise_with(monkeypatch, tmp_path, tiny, "raise SystemExit(2)")
    assert not (tmp_path / "out/record.json").exists()


def test_a_killed_supervisor_leaves_no_worker(tmp_path):
    pid_file = tmp_path / "pid"
    child = (
        f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    )
    code = (
        "import os, sys; from seqbench.training.supervisor import watch\n"
        f"watch([sys.executable, '-c', {child!r}], dict(os.environ), None)"
    )
    parent = subprocess.Popen(worker(code))
    deadline = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(int(pid_file.read_text()))


def gone(pid: int) -> bool:
    """Whether the process has ended (or is a zombie that nobody has reaped) within ten seconds."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def test_a_leased_device_is_not_given_out_twice(monkeypatch, tmp_path):
    monkeypatch.setattr(leases, "gpu_devices", lambda: ["nvidia0", "nvidia1"])
    monkeypatch.setattr(leases.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with leases.device_lease() as first, leases.device_lease() as second:
        assert {first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]} == {"0", "1"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with leases.device_lease() as visible:
        assert visible == {}


def test_the_supervisor_never_loads_torch():
    code = "import sys, seqbench.training.supervisor, seqbench.measuring.session; print('torch' in sys.modules)"
    done = subprocess.run(worker(code), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_tf32_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(leases, "gpu_devices", list)
    with pytest.raises(UserError, match="tf32: exists on NVIDIA GPUs only"):
        leases.check_precision("tf32")
    leases.check_precision("bf16")
    monkeypatch.setattr(leases, "device_kind", lambda: "cuda")
    leases.check_precision("tf32")


def test_a_lock_of_somebody_else_is_only_read(monkeypatch, tmp_path):
    """Whoever came first owns the file; the next user may read it, and a lock needs no more."""
    monkeypatch.setattr(leases.tempfile, "gettempdir", lambda: str(tmp_path))
    with leases._lock_file(0) as first, leases._lock_file(0) as again:
        assert first.name == again.name == str(tmp_path / "seqbench-gpu0.lock")
        assert not first.writable() and not again.writable()


def test_a_lock_is_for_all_users_whatever_the_umask_of_the_first(monkeypatch, tmp_path):
    monkeypatch.setattr(leases.tempfile, "gettempdir", lambda: str(tmp_path))
    before = os.umask(0o077)
    try:
        leases._lock_file(0).close()
    finally:
        os.umask(before)
    assert (tmp_path / "seqbench-gpu0.lock").stat().st_mode & 0o777 == 0o644


def test_a_lock_that_cannot_be_read_says_what_to_do(monkeypatch, tmp_path):
    """Root reads everything, so the refusal is a stand-in."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(leases.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "seqbench-gpu0.lock").touch(mode=0o600)
    monkeypatch.setattr(leases.Path, "open", refuse)
    with pytest.raises(UserError, match=r"seqbench-gpu0\.lock: cannot be read.*`chmod 644 "):
        leases._lock_file(0)
    assert (tmp_path / "seqbench-gpu0.lock").stat().st_mode & 0o777 == 0o600  # not ours to change


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


def test_every_kind_of_gpu_of_this_machine_is_one_it_may_be_given(monkeypatch):
    """NVML cannot say which of two different GPUs is meant until a lease shows one."""
    fake = FakeNvml(names=["NVIDIA A", "NVIDIA B", "NVIDIA A", "NVIDIA A"])
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(leases, "device_kind", lambda: "cuda")
    monkeypatch.setattr(leases, "gpu_devices", lambda: ["nvidia0", "nvidia1", "nvidia2"])
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    with leases.device_lease() as visible, leases.variables(visible):
        given = leases.environment("cuda", 1)
    assert given["device"] == "NVIDIA A" and given["machine"] in leases.machines()
    assert len(leases.machines()) == 2
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert leases.machines() == {leases.environment("cuda", 1)["machine"]} != {given["machine"]}


def test_a_record_names_the_code_that_ran_not_what_was_edited_meanwhile(tmp_path, capsys):
    (tmp_path / "a.py").write_text("x = 1")
    then = provenance.begun(lambda: provenance.meaning(tmp_path, ["a.py"], ["numbers"]))
    first = then()
    assert first["code"] and not capsys.readouterr().err
    (tmp_path / "a.py").write_text("x = 2")
    found = then()
    assert (found["code"], found["dirty"]) == (first["code"], True)
    assert "sources were edited while they ran" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)"])
def test_editing_a_source_during_a_training_does_not_change_its_record(monkeypatch, tmp_path, tiny, ending):  # fmt: skip
    """By the worker that ends well, and by the supervisor of one that does not."""
    before, seen = provenance.training("sasrec"), []

    def edited(model):  # everything after the first look is of edited files
        seen.append(model)
        return before if len(seen) == 1 else "0" * 16

    monkeypatch.setattr(provenance, "training", edited)
    if ending:
        record = supervise_with(monkeypatch, tmp_path, tiny, ending)
    else:
        from seqbench.training import worker as training

        training.run(EXPERIMENT, tiny, tmp_path / "out", 1)
        record = read_record(tmp_path / "out")
    assert record["identity"] == {**record["identity"], "code": before, "dirty": True}
