"""The supervisor turns whatever happens to a worker into a record, and leaves nothing behind."""

import dataclasses
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


def supervise_with(monkeypatch, tmp_path, tiny, code, time_limit_s=600.0):
    """Supervise a worker that runs ``code`` instead of training."""

    monkeypatch.setattr(supervisor, "watch", lambda _, env, limit: WATCH(worker(code), env, limit))
    supervisor.supervise(EXPERIMENT, tiny, tmp_path / "out", 1, time_limit_s)
    return read_record(tmp_path / "out")


def test_a_training_leaves_record_samples_and_weights(tiny, tmp_path):
    with leases.machine_lease(leases.SHARED):
        assert supervisor.supervise(EXPERIMENT, tiny, tmp_path, 1, 1200.0) == "ok"
    record = read_record(tmp_path)
    assert record["status"] == "ok" and record["values"]["steps"] == 4
    assert record["job"] == EXPERIMENT.to_dict() | {"hyperparameters": {}}
    assert len(read_samples(tmp_path, record)["test/rank"]) == 120
    assert (tmp_path / "weights.safetensors").stat().st_size > 1000
    assert record["environment"]["threads"] == 1
    assert record["load"]["own_jobs_beside"] == {"start": 1, "end": 1}
    assert record["load"]["waited_s"] == 0


def test_what_another_made_while_this_waited_is_not_made_again(monkeypatch, tmp_path, tiny, capsys):
    """On a cluster a job outlives the run that asked for it, and the next run asks for the same."""
    ask = (EXPERIMENT, tiny, tmp_path / "out", 1, 600.0)
    assert supervisor.supervise(*ask) == "ok"
    ran = []
    monkeypatch.setattr(
        supervisor, "watch", lambda *_: ran.append(1) or supervisor.End("oom", "as asked")
    )
    monkeypatch.setattr(supervisor, "is_owned", lambda _: True)
    assert supervisor.supervise(*ask) == "ok" and not ran
    assert "was made while this waited" in capsys.readouterr().err
    other = dataclasses.replace(EXPERIMENT, seed=1)
    assert supervisor.supervise(other, *ask[1:]) == "oom", (
        "what another made is not what is asked for"
    )
    assert supervisor.supervise(*ask) == "oom", "what failed is tried again"
    assert len(ran) == 2


def test_a_worker_killed_by_the_system_is_out_of_memory(monkeypatch, tmp_path, tiny):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    record = supervise_with(monkeypatch, tmp_path, tiny, code)
    assert record["status"] == "oom" and "SIGKILL" in record["reason"]
    assert record["job"]["model"] == "sasrec" and record["data"]["name"] == "tiny"
    assert (tmp_path / "out/weights.safetensors").exists()


def test_a_hanging_worker_is_stopped_with_all_it_started(monkeypatch, tmp_path, tiny):
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pid_file)!r}, 'w').write(str(p.pid)); time.sleep(600)"
    )
    limit_s, wait = 0.25, subprocess.Popen.wait

    def wait_once_it_hangs(self, timeout=None):
        if timeout == limit_s:
            wait_for(pid_file)  # the limit is of hanging, not of starting
        return wait(self, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", wait_once_it_hangs)
    record = supervise_with(monkeypatch, tmp_path, tiny, code, limit_s)
    assert record["status"] == "timeout" and "0.25 s" in record["reason"]
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
    assert supervisor.supervise(EXPERIMENT, tiny, tmp_path / "out", 1, 600.0) == "ok"


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
    wait_for(pid_file)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(int(pid_file.read_text()))


def wait_for(file) -> None:
    """Until it holds something, for as long as a busy machine may need."""
    deadline = time.monotonic() + 120
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline, f"{file.name} was not written"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether the process has ended (or is a zombie that nobody has reaped) within two minutes."""
    for _ in range(2400):
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


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
