"""Several trainings on one GPU and several GPUs, with devices that are pretended: never more than the whole, none idle while work waits."""

import os
import random
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from seqbench import cli
from seqbench.core.errors import MachineError
from seqbench.core.jobs import TrainingJob
from seqbench.hardware import leases, mps
from seqbench.hardware.environment import SHARE, environment
from seqbench.training import worker

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Two GPUs, an empty folder of locks, no MPS."""
    for name in ("CUDA_VISIBLE_DEVICES", leases.ASKED_SHARE, leases.HELD):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(leases.FOLDER, str(tmp_path))
    monkeypatch.setattr(leases, "gpu_devices", lambda: ["nvidia0", "nvidia1"])
    monkeypatch.setattr(mps, "CONTROL", "no-such-control")
    return tmp_path


def lent(folder):
    """Per cent of each GPU that is lent, as the names of the tickets say."""
    return [
        sum(int(path.stem.split("-")[-1]) for path in folder.glob(f"seqbench-gpu{i}-*"))
        for i in range(2)
    ]


def test_shares_spread_over_the_gpus_and_the_next_waits_for_one(folder):
    with ExitStack() as stack:
        got = [stack.enter_context(leases.device_lease(50)) for _ in range(4)]
        assert [g["CUDA_VISIBLE_DEVICES"] for g in got] == ["0", "1", "0", "1"]
        assert {g[SHARE] for g in got} == {"50 %, in turns"} and lent(folder) == [100, 100]
        assert leases._take(2, 1, stack) is None
    assert lent(folder) == [0, 0]


def test_a_whole_gpu_is_lent_only_where_nothing_of_it_is(folder):
    with leases.device_lease(25) as first:
        with leases.device_lease() as second, ExitStack() as stack:
            assert (first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]) == ("0", "1")
            assert SHARE not in second
            assert leases._take(2, leases.WHOLE, stack) is None
            assert leases._take(2, 75, stack)[0] == 0
        assert lent(folder) == [25, 0]


def test_never_more_than_the_whole_and_none_idle_while_work_waits(folder):
    """Two hundred jobs that come and go in any order."""
    rng, held = random.Random(0), []
    for _ in range(200):
        if held and rng.random() < 0.45:
            held.pop(rng.randrange(len(held))).close()
        else:
            share, stack, before = rng.choice([10, 25, 40, 100]), ExitStack(), lent(folder)
            found = leases._take(2, share, stack)
            if found is None:
                assert min(before) + share > leases.WHOLE, "there was room"
            else:
                assert before[found[0]] == min(before)
                held.append(stack)
        assert max(lent(folder)) <= leases.WHOLE
    for stack in held:
        stack.close()
    assert lent(folder) == [0, 0]


def test_a_measurement_has_its_gpu_and_the_machine_alone(folder, monkeypatch):
    monkeypatch.setenv(leases.ASKED_SHARE, "25")
    with leases.lease(leases.SHARED) as training:
        assert training[SHARE].startswith("25 %") and lent(folder) == [25, 0]
    with leases.lease(leases.EXCLUSIVE) as measurement:
        assert SHARE not in measurement and lent(folder) == [100, 0]


def test_the_death_of_who_held_a_share_gives_it_back(folder):
    code = (
        "import sys; from seqbench.hardware import leases\n"
        "leases.gpu_devices = lambda: ['nvidia0', 'nvidia1']\n"
        "with leases.device_lease(60): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert holder.stdout.readline() == b"held\n" and lent(folder) == [60, 0]
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with leases.device_lease(60) as again:
        assert again["CUDA_VISIBLE_DEVICES"] == "0" and lent(folder) == [60, 0]


@pytest.mark.parametrize(("text", "value"), [("25", 25), ("0", 0), ("100", 100), ("101", None), ("x", None), ("-1", None)])  # fmt: skip
def test_a_share_is_a_whole_number_of_per_cent(text, value, capsys):
    arguments = ["run", "--job", "{}", "--dataset", "x", "--out", "x", "--gpu-share", text]
    if value is not None:
        assert cli._parser().parse_args(arguments).gpu_share == value
        return
    with pytest.raises(SystemExit):
        cli._parser().parse_args(arguments)
    assert "not a whole number of per cent" in capsys.readouterr().err


def test_what_is_asked_for_is_known_to_the_trainings_of_a_command(monkeypatch):
    monkeypatch.setenv(leases.NEEDS_GPU, "0")  # so that it is taken back
    for share, known in ((0, "100"), (25, "25")):
        leases.ask_for_gpu(0, share)
        assert os.environ[leases.ASKED_SHARE] == known


def test_a_record_says_that_its_gpu_was_shared(monkeypatch):
    monkeypatch.setenv(SHARE, "25 %, MPS")
    found = environment("cpu", 1)
    assert found["shared_gpu"] is True and found["settings"][SHARE] == "25 %, MPS"


def test_out_of_memory_beside_others_says_nothing_of_the_training(monkeypatch, tmp_path, tiny):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(worker, "_trained", full)
    job = TrainingJob("tiny", "sasrec", "matched", 12, 0)
    monkeypatch.setenv(SHARE, "25 %, MPS")
    with pytest.raises(MachineError, match=r"beside others on the GPU .25 %, MPS.: give it more gpu_share"):  # fmt: skip
        worker.run(job, tiny, tmp_path, 1)
    assert not (tmp_path / "record.json").exists()
    monkeypatch.delenv(SHARE)
    worker.run(job, tiny, tmp_path, 1)
    assert '"status": "oom"' in (tmp_path / "record.json").read_text()


# --- MPS --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def control(monkeypatch, tmp_path):
    """A stand-in for MPS's control: writes down how it is called; what it exits with."""
    calls, program = tmp_path / "calls", tmp_path / "bin" / "fake-control"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "${{1:-$(cat)}} $CUDA_MPS_PIPE_DIRECTORY" "${{CUDA_VISIBLE_DEVICES-all}}" >> {calls}\nexit ${{FAKE:-0}}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(mps, "CONTROL", program.name)
    return lambda: calls.read_text().splitlines() if calls.exists() else []


def test_the_first_that_shares_starts_the_service_and_the_last_ends_it(control, folder):
    pipes = folder / f"seqbench-mps-{os.getuid()}"
    with leases.device_lease(), ExitStack() as stack:
        assert control() == []
        one = stack.enter_context(leases.device_lease(50))
        with leases.device_lease(50) as two:
            assert one[SHARE] == two[SHARE] == "50 %, MPS"
            assert one["CUDA_MPS_PIPE_DIRECTORY"] == two["CUDA_MPS_PIPE_DIRECTORY"] == str(pipes)
        assert control() == [f"-d {pipes} all"]
    assert control() == [f"-d {pipes} all", f"quit {pipes} all"] and not pipes.exists()


def test_a_service_that_outlived_all_is_replaced(control, folder):
    pipes = folder / f"seqbench-mps-{os.getuid()}"
    pipes.mkdir()
    with leases.device_lease(50):
        assert [line.split()[0] for line in control()] == ["quit", "-d"]


def test_where_the_service_does_not_start_trainings_take_turns(control, monkeypatch, capfd):
    monkeypatch.setenv("FAKE", "1")
    with leases.device_lease(50) as found:
        assert found[SHARE] == "50 %, in turns" and "CUDA_MPS_PIPE_DIRECTORY" not in found
    assert "does not start: trainings take turns" in capfd.readouterr().err
