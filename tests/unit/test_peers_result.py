"""What the benchmark of peers derives and writes: known numbers, counted operations, no paths."""

import csv
import json
import os
from dataclasses import astuple, replace
from functools import partial

import numpy as np
import pytest
import torch
from fake_workers import SETTINGS, VARIABLES, run

from seqbench.config import model_files
from seqbench.data import open_dataset
from seqbench.hardware import peak_throughput
from tools.peers import __main__ as command_line
from tools.peers import ceilings, contestants, ours, race, result, show
from tools.peers.figures import Estimate, estimate, per_target, ratio
from tools.peers.interactions import TEST, VALIDATION, Flat, frame, open_flat
from tools.peers.process import ROOT

# --- figures -----------------------------------------------------------------------------------------------------


def samples(*seconds, targets=10):
    return [{"step_s": [s, s], "cpu_s": [s / 2, s / 2], "targets": [targets] * 2} for s in seconds]


def test_seconds_per_target_of_a_round_are_its_seconds_over_its_targets():
    rounds = [{"step_s": [1.0, 3.0], "cpu_s": [1.0, 1.0], "targets": [1, 19]}]
    assert per_target(rounds).tolist() == [0.2]
    assert per_target(rounds, "cpu_s").tolist() == [0.1]


def test_noise_that_both_share_leaves_the_ratio_exact():
    noise = [1.0, 5.0, 2.0, 9.0, 3.0]
    assert ratio(samples(*(2 * n for n in noise)), samples(*noise)) == Estimate(2.0, 2.0, 2.0)
    wide = estimate(per_target(samples(*noise)))
    assert wide.low < wide.median < wide.high and wide.median == pytest.approx(0.3)


def test_the_interval_of_a_ratio_on_known_numbers():
    """The median of 5 resampled values is the lowest one with a probability of 5.8 %: above the tail of 2.5 %."""
    found = ratio(samples(1.0, 2.0, 3.0, 4.0, 5.0), samples(*[1.0] * 5))
    assert astuple(found) == pytest.approx((3.0, 1.0, 5.0))
    many = ratio(samples(*np.linspace(1, 3, 101)), samples(*[1.0] * 101))
    assert many.median == pytest.approx(2.0) and 1.7 < many.low < 2.0 < many.high < 2.3


def test_rounds_that_the_reference_lacks_are_left_out():
    assert ratio(samples(2.0, 2.0, 99.0), samples(1.0, 1.0)).median == pytest.approx(2.0)


@pytest.mark.parametrize("model", ["sasrec", "bert4rec", "gru4rec", "mamba4rec"])
def test_a_model_counts_its_own_operations(tiny, model):
    """Three times the products of all weights but the embeddings, at least; a masked model predicts a part of its targets."""
    settings = replace(SETTINGS, model=model, data=str(tiny), batch=64)
    worker = ours.Ours(settings)
    per_position = sum(p.numel() for n, p in worker.model.named_parameters() if "embedding" not in n and p.dim() == 2)  # fmt: skip
    catalogue = worker.facts["n_items"] * settings.d_model
    predicts_all = model_files.shown(model).predicts_all_targets
    least = per_position * (1 if predicts_all else 0.2) + catalogue * (1 if predicts_all else 0.1)
    counted = worker.facts["per_target"]
    assert 6 * least < counted["flops"] < 12 * (per_position + 4 * catalogue)
    assert counted["product_flops"] < counted["flops"]
    assert (counted["exponentials"] > 0) == (counted["scan_bytes"] > 0) == (model == "mamba4rec")
    assert all(p.grad is None for p in worker.model.parameters())


def test_the_ceilings_are_one_line_of_json(capsys, monkeypatch):
    monkeypatch.setattr(peak_throughput, "SIDE", {"cpu": 64})
    monkeypatch.setattr(peak_throughput, "COPY_BYTES", {"cpu": 2**20})
    monkeypatch.setattr(peak_throughput, "ceilings", partial(peak_throughput.ceilings, seconds=0.0))
    ceilings.main(torch.get_num_threads(), "fp32", "bf16")
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["fp32", "bf16"]
    assert all(rates["product_flop_per_s"] > 0 for rates in found.values())


# --- the data ----------------------------------------------------------------------------------------------------


def test_everyone_gets_the_same_split(tiny):
    flat, dataset = open_flat(str(tiny)), open_dataset(tiny)
    train = frame(flat, flat.before(VALIDATION), ("user", "item", "time"))
    history = frame(flat, flat.before(TEST), ("user", "item", "time"))
    for user in (0, dataset.n_users - 1):
        own = np.asarray(dataset.items[dataset.offsets[user] : dataset.offsets[user + 1]])
        assert train[train.user == user].item.tolist() == own[:-2].tolist()
        assert history[history.user == user].item.tolist() == own[:-1].tolist()
        assert history[history.user == user].time.tolist() == list(range(len(own) - 1))


def test_each_model_of_ours_runs_by_its_own_kernels_by_pytorchs_and_in_reduced_precision():
    flat = Flat(np.ones(15, dtype=np.int32), np.array([0, 3, 15]))
    rows = [r for r in contestants.contestants(SETTINGS, flat) if r.peer is None]
    assert rows[0].key == contestants.REFERENCE
    for model in contestants.MODELS:
        own = [r.settings for r in rows if r.settings.model == model and r.settings.batch == 2048]
        assert [(s.kernels, s.precision) for s in own] == [
            ("auto", "fp32"),
            ("torch", "fp32"),
            ("auto", contestants.REDUCED),
        ]


def test_our_large_batch_has_the_targets_of_a_peers():
    flat = Flat(np.ones(3 + 12 + 300, dtype=np.int32), np.array([0, 3, 15, 315]))
    # Training parts of 1, 10 and 298 items: no targets, 9 targets, and the last 200.
    assert contestants.targets_of_a_peer_step(flat, 200) == round(128 * (9 + 200) / 2)
    rows = contestants.contestants(SETTINGS, flat)
    assert {r.peer for r in rows if r.peer} == {"rectools", "replay", "recbole"}
    assert all((ROOT / f"{r.module.replace('.', '/')}.py").exists() for r in rows)
    assert len({r.key for r in rows}) == len(rows)
    large = next(r for r in rows if r.key == contestants.SAME_BATCH)
    assert large.settings.batch == 13376 and "13,376 targets" in large.label


# --- the result --------------------------------------------------------------------------------------------------


RATES = (9e10, 1.1e11)  # of products, before and after


@pytest.fixture
def made(fake, tmp_path, tiny):
    """A result of our fake reference and two peers, one of which fails."""
    reference = replace(fake("good"), key=contestants.REFERENCE)
    lanes = run(tmp_path, reference, fake("peer"), fake("bad", step="raise OSError('disk full')"))
    variables = {**VARIABLES, "LD_PRELOAD": "/some/where/libfast.so", "OMP_NUM_THREADS": "1"}
    ceilings = [{"fp32": {"product_flop_per_s": rate, "copy_bytes_per_s": 1e10}} for rate in RATES]
    settings = replace(SETTINGS, data=str(tiny))
    return result.assemble(lanes, settings, variables, {"budget_s": 1.0}, ceilings)


def test_a_result_holds_samples_figures_and_what_they_depend_on(made):
    first, peer, bad = made["contestants"]
    assert first["figures"]["ratio"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert peer["figures"]["cpu_ratio"]["low"] > 0
    assert first["figures"]["ratio_same_batch"] is None  # that row did not run
    least = np.mean([first["figures"]["flops_per_target"] / rate for rate in RATES])
    seconds = first["figures"]["cpu_seconds_per_target"]["median"]
    assert first["figures"]["share_of_roofline"] == pytest.approx(least / seconds)
    assert peer["figures"]["steps"] == race.FEWEST_ROUNDS
    assert "share_of_roofline" not in peer["figures"]
    assert (bad["status"], bad["reason"], bad["figures"]) == ("failed", "OSError: disk full", {})
    assert made["variables"]["LD_PRELOAD"] == "libfast.so"
    assert made["variables"]["MALLOC_TOP_PAD_"] == "1"
    assert made["data"]["name"] == "tiny" and made["identity"]["code"]
    assert len(result.sample_rows(made)) == 2 * race.FEWEST_ROUNDS


def test_the_table_names_failures_and_what_differs_and_no_path(made, tmp_path):
    show.write(made, tmp_path / "out")
    text = show.aligned(show.table(made))
    for words in (
        "failed: OSError: disk full",
        "What differs: everything",
        "fp32 product_flop_per_s 90.0 and 110.0",
        "Share of its roofline",
    ):
        assert words in text and words in (tmp_path / "out" / "bench-peers.md").read_text()
    for name in ("bench-peers.json", "bench-peers.md", "bench-peers.csv", "samples.csv"):
        written = (tmp_path / "out" / name).read_text()
        assert written and str(ROOT) not in written and str(tmp_path) not in written
        assert os.uname().nodename not in written or len(os.uname().nodename) < 4
    with open(tmp_path / "out" / "bench-peers.csv", newline="") as file:
        first, peer, bad = csv.DictReader(file)
    assert first["ratio_median"] == "1.0" and float(peer["ratio_low"]) <= float(peer["ratio_high"])
    assert bad["status"] == "failed" and bad["reason"] and bad["ratio_median"] == ""
    rows = (tmp_path / "out" / "samples.csv").read_text().splitlines()
    assert rows[0] == ",".join(show.RAW) and len(rows) == 1 + 2 * race.FEWEST_ROUNDS


def test_data_that_are_not_prepared_are_one_line(capsys, tmp_path):
    assert command_line.main(["--data", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    assert "snakemake --cores 1 results/data/ml-1m/dataset.json" in message


def test_a_row_that_is_none_is_refused_before_anything_runs(capsys, tiny, tmp_path):
    options = ["--data", str(tiny), "--out", str(tmp_path / "out"), "--only", "ours-bertrec"]
    assert command_line.main(options) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "error: --only ours-bertrec: unknown; did you mean 'ours-bert4rec'? allowed: ours-sasrec, "
    )
    assert said.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--threads=0", "--budget-s=-1"])
def test_a_number_that_no_race_can_have_is_refused(capsys, tiny, option):
    with pytest.raises(SystemExit) as end:
        command_line.main(["--data", str(tiny), option])
    assert end.value.code == 2 and "not a positive" in capsys.readouterr().err


@pytest.mark.slow
def test_our_own_rows_run_end_to_end(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(contestants, "VENVS", tmp_path)
    rates = {"product_flop_per_s": 1e11, "copy_bytes_per_s": 1e10}
    monkeypatch.setattr(command_line, "_ceilings", lambda *_: {"fp32": rates})
    out = tmp_path / "out"
    chosen = ["--only", contestants.REFERENCE, "ours-bert4rec", "recbole"]
    options = ["--data", str(tiny), "--out", str(out), "--budget-s", "1"]
    assert command_line.main([*options, *chosen]) == 0
    found = json.loads((out / "bench-peers.json").read_text())
    rows = {row["key"]: row for row in found["contestants"]}
    users = sum(np.diff(open_flat(str(tiny)).offsets) >= 3)
    for key in (contestants.REFERENCE, "ours-bert4rec"):
        assert rows[key]["evaluation"]["users"] == users
        assert 0 < rows[key]["figures"]["targets_per_step"] <= contestants.OUR_BATCH + 200
    assert rows["recbole"]["reason"].startswith("not installed")
    assert all(rows[key]["figures"]["share_of_roofline"] > 0 for key in chosen[1:3])
    assert "Share of its roofline" in capsys.readouterr().out
