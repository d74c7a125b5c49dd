"""Measuring on a real GPU: the numbers exist, fit together, and running out of memory is a result."""

import pytest
import torch

from seqbench.core.jobs import FULL_LENGTH, MeasurementJob
from seqbench.hardware.nvml import Nvml
from seqbench.hardware.peak_throughput import ceilings
from seqbench.hardware.sampler import Sampler
from seqbench.measuring import phases

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA device"),
]
MODELS = tuple(
    (name, (("d_model", 64),)) for name in ("mamba4rec", "sasrec", "bert4rec", "gru4rec")
)


def job(**changes):
    sizes = {
        "seq_len": 100,
        "targets_per_step": 6400,
        "eval_batch": 64,
        "rounds": 1,
        "steps": 5,
        "warmup": 2,
    }
    return MeasurementJob(
        FULL_LENGTH,
        "t",
        models=MODELS,
        n_items=500,
        curve="length-at-constant-batch",
        **{**sizes, **changes},
    )


@pytest.mark.parametrize("name", [name for name, _ in MODELS])
@pytest.mark.parametrize("phase", ["train", "inference"])
def test_a_phase_has_its_times_and_four_numbers_of_memory(name, phase):
    found = phases.measure_phase(job(), name, phase, 0, None, 1)
    samples, missing = found["samples"], found["missing"]
    step = samples[f"{phase}/{'step_s' if phase == 'train' else 'batch_s'}"]
    assert len(step) == 5 and (step > 0).all()
    if phase == "train":
        assert (samples["train/gpu_step_s"] <= step).all()
    allocated, reserved = (samples[f"{phase}/peak_{k}_bytes"] for k in ("allocated", "reserved"))
    assert 0 < allocated <= reserved
    for metric, least in (("nvml_process_bytes", reserved), ("nvml_device_bytes", reserved)):
        key = f"{phase}/{metric}"
        assert missing.get(key) or samples[key] >= least
    assert found["sampler"]["samples"] >= 2 and found["sampler"]["overhead_share"] < 1
    assert found["facts"]["device_kind"] == "cuda"


def test_what_does_not_fit_ends_as_out_of_memory_with_the_size():
    huge = job(seq_len=8192, targets_per_step=8192 * 2**20)
    end = phases.measure_phase(huge, "sasrec", "train", 0, None, 1)
    assert end.status == "oom" and end.requested_bytes > 2**30


@pytest.mark.parametrize("name", [name for name, _ in MODELS])
def test_flops_are_those_of_a_cpu(name, monkeypatch):
    on_gpu = phases.count_phases(job(), name, None, 1)
    monkeypatch.setattr(phases.device, "pick", lambda: torch.device("cpu"))
    on_cpu = phases.count_phases(job(), name, None, 1)
    if name != "bert4rec":  # its masks are drawn on the device
        assert on_gpu["train"]["flops"] == on_cpu["train"]["flops"]
    assert on_gpu["inference"]["flops"] == on_cpu["inference"]["flops"]
    assert on_gpu["train"]["saved_bytes"] > 0 and on_gpu["train"]["operators"] > 50


def test_energy_is_a_plausible_power_or_has_its_reason():
    found = phases.measure_phase(job(energy_window_s=5.5), "sasrec", "train", 0, None, 1)
    key = "train/energy_j_per_step"
    if key in found["samples"]:
        power = found["samples"][key] / found["samples"]["train/step_s"].mean()
        assert 10 < power < 2 * (Nvml().facts().get("power_limit_w") or 1000)
    else:
        assert found["missing"][key]


def test_ceilings_are_those_of_a_gpu_and_bf16_is_faster_than_fp32():
    where = torch.device("cuda")
    found = {precision: ceilings(where, precision, 0.3) for precision in ("fp32", "bf16")}
    assert found["fp32"]["product_flop_per_s"] > 1e12 and found["fp32"]["copy_bytes_per_s"] > 5e10
    assert found["bf16"]["product_flop_per_s"] > found["fp32"]["product_flop_per_s"]


def test_sampling_sees_the_memory_that_is_taken():
    with Sampler(Nvml(), interval_s=0.02) as sampler:
        taken = torch.empty(2**33, dtype=torch.uint8, device="cuda")
        torch.cuda.synchronize()
    peak = sampler.readings["nvml_device_bytes"]
    assert peak.value is None or peak.value >= taken.nbytes  # whatever others take or give back
