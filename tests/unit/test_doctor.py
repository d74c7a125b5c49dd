"""The doctor's page: each gap is named with what to do, and a GPU is described by what NVML answers."""

import os
import sys
import types

import pynvml
import pytest
import torch
from fake_nvml import STRANGER, FakeNvml, process

from models import _scan
from models._errors import ModelError
from seqbench.cli import main
from seqbench.hardware import doctor, nvml

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def quick(monkeypatch):
    """Nothing is measured: the ceilings are given."""
    rates = {
        "product_flop_per_s": 9e10,
        "product_iqr": 1e9,
        "copy_bytes_per_s": 2e10,
        "copy_iqr": 1e8,
    }
    monkeypatch.setattr(doctor, "ceilings", lambda *_: rates)


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU, as far as the page looks: torch's answers, and a fake NVML by scenario."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    properties = types.SimpleNamespace(total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)

    def put(**scenario):
        monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(**scenario))
        return nvml.Nvml()

    return put


def by_name(rows):
    return {row.what: row for row in rows}


def test_the_page_counts_its_gaps_and_names_no_place(quick, capsys):
    assert main(["doctor"]) == 0
    page = capsys.readouterr().out
    lines = page.splitlines()
    assert len(lines) < 60
    last = lines[-1].split()
    gaps = [line for line in lines if line[2 + doctor.WIDTH :].startswith(" no ")]
    assert (last[0], int(last[-2])) == ("doctor:", len(gaps))
    assert os.getcwd() not in page and os.uname().nodename not in page.split()


def test_without_a_gpu_the_page_says_where_to_measure(monkeypatch):
    monkeypatch.setattr(doctor, "gpu_devices", list)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    row = by_name(doctor.gpu(CPU, nvml.Nvml()))["NVIDIA GPU"]
    assert row.have == "no" and "docs/gpu.md" in row.remedy
    rows = by_name(doctor.measurable(CPU, nvml.Nvml()))
    assert rows["peak resident memory"].have == "yes"
    assert {rows[what].words for what in ("energy counter", "time on the device")} == {
        doctor.SEE_ABOVE
    }


@pytest.mark.parametrize(
    ("devices", "cuda", "visible", "said"),
    [
        (["nvidia0"], None, None, "this PyTorch is a build for CPUs"),
        (["nvidia0"], "13.0", "", "CUDA_VISIBLE_DEVICES hides it"),
        (["nvidia0"], "13.0", "-1,0", "CUDA_VISIBLE_DEVICES hides it"),
        (["nvidia0"], "13.0", None, "the driver does not answer"),
    ],
)
def test_a_gpu_that_cannot_be_used_has_its_reason(monkeypatch, devices, cuda, visible, said):
    fail = {"nvmlInit": (1, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)}
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(fail=fail))
    monkeypatch.setattr(doctor, "gpu_devices", lambda: devices)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    row = by_name(doctor.gpu(CPU, nvml.Nvml()))["NVIDIA GPU"]
    assert row.have == "no" and said in row.words and row.remedy


def test_a_driver_that_is_too_old_for_this_pytorch_is_told_from_one_that_is_silent(
    gpu, monkeypatch
):
    monkeypatch.setattr(doctor, "gpu_devices", lambda: ["nvidia0"])
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    row = by_name(doctor.gpu(CPU, gpu()))["NVIDIA GPU"]
    assert "built for CUDA 13.0" in row.words and "update" in row.remedy


def test_where_pytorch_uses_no_gpu_nothing_of_one_is_promised(gpu):
    rows = by_name(doctor.measurable(CPU, gpu()))
    assert (rows["energy counter"].have, rows["GPU memory, device"].have) == ("no", "no")


def test_a_gpu_without_its_nvml_library_has_that_reason(gpu, quick):
    code = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
    row = by_name(doctor.measurable(CUDA, gpu(fail={"nvmlInit": (1, code)})))["energy counter"]
    assert row.have == "no" and "Shared Library Not Found" in row.words and row.remedy


@pytest.mark.parametrize(
    ("governor", "have"), [("powersave", "no"), ("performance", ""), (None, "")]
)
def test_a_governor_that_saves_power_is_a_gap(monkeypatch, governor, have):
    monkeypatch.setattr(doctor, "cpu_governor", lambda: governor)
    row = by_name(doctor.machine())["clock of the cores"]
    assert row.have == have and bool(row.remedy) == (have == "no")


def test_the_deprecated_distribution_is_a_gap_of_its_own(monkeypatch):
    text = "the deprecated distribution pynvml 11.5 is installed: pip uninstall pynvml"
    monkeypatch.setattr(doctor, "deprecated_distribution", lambda: text)
    row = by_name(doctor.gpu(CPU, nvml.Nvml()))["nvidia-ml-py"]
    assert row.have == "no" and "pynvml 11.5" in row.words and row.remedy == "pip uninstall pynvml"


def test_a_gpu_with_everything_has_no_gap(gpu, quick):
    fake = gpu()
    rows = by_name([*doctor.gpu(CUDA, fake), *doctor.measurable(CUDA, fake)])
    assert "NVIDIA Fake, 80 GiB, driver 580.1" in rows["NVIDIA GPU"].words
    assert [what for what, row in rows.items() if row.have == "no"] == []
    assert "ms a sample" in rows["sampling thread"].words


@pytest.mark.parametrize(
    ("scenario", "what", "remedy"),
    [
        ({"processes": []}, "GPU memory, process", "--pid=host"),
        ({"processes": [process(os.getpid(), None)]}, "GPU memory, process", "TCC"),
        ({"mig_mode": 1, "slices": {"MIG-x": None}}, "energy counter", "whole GPU"),
        (
            {"processes": [process(os.getpid(), 1), process(STRANGER, 1)]},
            "alone on the GPU",
            "nvidia-smi",
        ),
    ],
)
def test_each_gap_of_a_gpu_has_a_remedy(gpu, quick, scenario, what, remedy):
    fake = gpu(**scenario)
    row = by_name([*doctor.gpu(CUDA, fake), *doctor.measurable(CUDA, fake)])[what]
    assert row.have == "no" and row.words and remedy in row.remedy


def test_every_scan_backend_is_listed_with_how_to_get_it(monkeypatch, gpu):
    def resolve(name, where):
        if name == "auto":
            return _scan.ScanChoice("auto", "reference", True, "none")
        raise ModelError(f"scan backend {name!r} cannot run: no module; it needs a wheel")

    monkeypatch.setattr(doctor, "resolve", resolve)
    rows = by_name(doctor.kernels(CUDA))
    assert rows["selective scan, in use"].have == "no"
    for name in ("fused", "mamba_ssm", "triton"):
        assert (rows[f"scan {name}"].have, rows[f"scan {name}"].words) == ("no", "no module")
        assert rows[f"scan {name}"].remedy == _scan.HOW_TO_GET[name]
    assert rows["scan numba"].words == "runs on cpu only"


@pytest.mark.parametrize(("load", "have"), [(0.1, "yes"), (1.9, "no")])
def test_other_work_on_the_machine_is_noticed(monkeypatch, load, have):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0, 0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert by_name(doctor.machine())["quiet"].have == have


def test_a_container_with_fewer_cores_says_so(monkeypatch):
    monkeypatch.setattr(doctor, "cpu_quota", lambda: 1.5)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert "1.5 of 8 cores" in by_name(doctor.machine())["cores to compute on"].words
