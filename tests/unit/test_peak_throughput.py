"""The ceilings are rates of work that was done: the clock is a stand-in, the arithmetic is checked."""

import pytest
import torch

from seqbench.hardware import peak_throughput


@pytest.fixture
def clocked(monkeypatch):
    """Every repeat takes 2 s on the clock and next to nothing here."""

    class Clock:
        def __init__(self, device, clock):
            self.seconds = []

        def time(self):
            self.seconds.append(2.0)
            return torch.no_grad()  # any context

    monkeypatch.setattr(peak_throughput, "Stopwatch", Clock)
    monkeypatch.setattr(peak_throughput, "SIDE", {"cpu": 8})
    monkeypatch.setattr(peak_throughput, "COPY_BYTES", {"cpu": 4096})
    monkeypatch.setattr(peak_throughput, "ROWS", 3)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "mixed"])
def test_rates_are_work_over_time(clocked, precision):
    found = peak_throughput.ceilings(torch.device("cpu"), precision, seconds=0.0)
    torch_s = 2 * 8**3 / 2.0
    own = (
        2 * peak_throughput.BLOCKS * 96 * 64 * 256 * peak_throughput.TIMES / 2.0
    )  # compiled kernels
    assert found["product_flop_per_s"] == (max(torch_s, own) if precision == "fp32" else torch_s)
    assert found["copy_bytes_per_s"] == 2 * 4096 / 2.0  # read and written
    size = 3 * peak_throughput.NUMBERS * peak_throughput.TIMES
    assert found["exponentials_per_s"] == size / 2.0
    assert ("fp32_flop_per_s" in found) == (precision != "fp32")
    assert found["product_n"] == found["copy_n"] == peak_throughput.FEWEST
    assert found["product_iqr"] == found["copy_iqr"] == 0


def test_on_this_machine_both_are_finite(monkeypatch):
    monkeypatch.setattr(peak_throughput, "SIDE", {"cpu": 64})
    monkeypatch.setattr(peak_throughput, "COPY_BYTES", {"cpu": 2**20})
    found = peak_throughput.ceilings(torch.device("cpu"), "fp32", seconds=0.0)
    assert 0 < found["product_flop_per_s"] < float("inf")
    assert 0 < found["copy_bytes_per_s"] < float("inf")
