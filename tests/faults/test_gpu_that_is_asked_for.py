"""A job that asked for a GPU and finds none is refused, unless the configuration allows the CPU."""

import os

import pytest

from seqbench import cli
from seqbench.core.errors import MachineError
from seqbench.hardware import leases
from seqbench.training import supervisor, worker


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in (leases.NEEDS_GPU, leases.ALLOW_CPU, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(leases.NEEDS_GPU, "0")  # so that what a test sets is taken back


@pytest.mark.parametrize(
    ("devices", "version", "said"),
    [
        ([], "2.13.0", "this machine has none"),
        (["nvidia0"], "2.13.0+cpu", "this PyTorch is a build for CPUs: `make setup TORCH_INDEX="),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(monkeypatch, devices, version, said):
    monkeypatch.setattr(leases, "gpu_devices", lambda: devices)
    monkeypatch.setattr(leases.metadata, "version", lambda _: version)
    with pytest.raises(MachineError, match=f"asks for a GPU and {said}.*allow_cpu: true"):
        leases.ask_for_gpu(1)
    leases.ask_for_gpu(0)
    assert os.environ[leases.NEEDS_GPU] == "0"
    monkeypatch.setenv(leases.ALLOW_CPU, "1")
    leases.ask_for_gpu(1)
    assert os.environ[leases.NEEDS_GPU] == "0"


def test_a_gpu_that_pytorch_cannot_use_is_found_by_the_worker(
    monkeypatch, tmp_path, small, job, capsys
):
    monkeypatch.setattr(leases, "gpu_devices", lambda: ["nvidia0"])
    monkeypatch.setattr(leases, "is_cpu_build", lambda: False)
    leases.ask_for_gpu(1)  # looks as if there were one
    with pytest.raises(MachineError, match="PyTorch cannot use the one that is there"):
        worker.run(job, small, tmp_path, 1)
    assert not (tmp_path / "record.json").exists()


@pytest.mark.parametrize("verb", ["run", "tune", "measure"])
def test_every_verb_that_computes_knows_the_option(verb, monkeypatch, tmp_path):
    text = f"{verb} --dataset x --out {tmp_path} --gpu 1"
    text += " --study {}" if verb == "tune" else " --job {}"
    assert cli._parser().parse_args(text.split()).gpu == 1


def test_the_command_is_refused_before_anything_runs(monkeypatch, tmp_path, small, job, capsys):
    monkeypatch.setattr(leases, "gpu_devices", list)
    monkeypatch.setattr(supervisor, "supervise", lambda *_: pytest.fail("it ran"))
    arguments = ["run", "--job", job.to_json(), "--dataset", str(small), "--out", str(tmp_path)]
    assert cli.main([*arguments, "--gpu", "1"]) == MachineError.status
    assert capsys.readouterr().err.startswith("error: the job asks for a GPU and this machine has none")  # fmt: skip
