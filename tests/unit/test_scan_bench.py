"""Times of scans and layers: every backend of the device has its rows, and a layer's weights make a layer."""

import json

import pytest
import torch

from tools.gpu import scan_bench

SIZE = {"batch": 2, "length": 12, "channels": 16}


def test_every_backend_of_the_device_has_rows_of_scan_and_layer(monkeypatch):
    monkeypatch.setattr(scan_bench, "compare", lambda where: [])
    monkeypatch.setattr(scan_bench, "REPEATS", 2)
    found = scan_bench.check_and_time(torch.device("cpu"), SIZE)
    for part in ("times", "layers"):
        assert [(row["backend"], row["states"]) for row in found[part]] == [("numba", 16), ("numba", 32)]  # fmt: skip
        assert all(row["forward_s"] > 0 and row["backward_s"] > 0 for row in found[part])
    assert {row["peak_bytes"] for row in found["layers"]} == {None}  # of a GPU


def test_a_backend_that_is_not_there_is_a_row_with_a_reason():
    cpu = torch.device("cpu")
    for row in (part("fused", cpu, 16, SIZE) for part in (scan_bench._scan, scan_bench._layer)):
        assert row.keys() == {"backend", "states", "reason"} and "NVIDIA GPU" in row["reason"]


def test_the_layers_weights_reach_its_output():
    x, *weights = scan_bench._weights(torch.device("cpu"), 16, **SIZE)
    out = scan_bench.mamba_mixer(x, scan_bench.MixerParams(*weights), "reference")
    assert out.shape == x.shape == (2, 12, 8)
    grads = torch.autograd.grad(out.square().sum(), [x, *weights])
    assert all(g.abs().max() > 0 for g in grads)


@pytest.mark.parametrize("ok", [True, False])
def test_the_command_writes_what_it_found_and_fails_where_a_backend_differs(
    monkeypatch, tmp_path, ok
):
    rows = [{"backend": "numba", "ok": ok, "reason": None}]
    monkeypatch.setattr(scan_bench, "compare", lambda where: rows)
    monkeypatch.setattr(scan_bench, "REPEATS", 2)
    out = tmp_path / "checks" / "scan.json"
    options = [word for name, value in SIZE.items() for word in (f"--{name}", str(value))]
    assert scan_bench.main(["--out", str(out), *options]) == (0 if ok else 1)
    found = json.loads(out.read_text())
    assert found["check"] == rows and found["size"] == SIZE and found["times"]
    assert found["environment"]["device_kind"] == "cpu" and len(found["code"]) == 16
