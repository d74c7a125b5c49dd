"""The benchmark of peers with fake workers: turns, failures that are named, intervals on known numbers.

No peer needs to be installed, and no time is asserted.
"""

import json
import os
import sys
from dataclasses import astuple, dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import models
from peers import __main__ as command_line
from peers import contestants, product, race, result, show
from peers.contestants import Contestant
from peers.figures import Estimate, estimate, flops_per_target, per_target, ratio
from peers.interactions import TEST, VALIDATION, Flat, frame, open_flat
from peers.process import ROOT, Failed, Worker, without_paths
from peers.protocol import Settings
from seqbench.data import open_dataset

FAKE = """
import os, sys, time
from peers.protocol import serve, Stages, versions

class Fake:
    def __init__(self, settings):
        self.log = open({log!r}, "a")
        print("chatter of a library")
        os.system("echo chatter of a program")
        {build}
        self.steps = 0
        self.facts = {{"seconds": {{"load": 0.5}}, "parameters": 7, "versions": versions(),
                      "evaluates": "nothing", "differs": ["everything"], "n_items": 9, "mean_history": 4.0}}

    def train(self, done):
        while True:
            self.steps += 1
            self.log.write({name!r}); self.log.flush()
            print("step", self.steps)
            {step}
            if not done(10):
                return

    def evaluate(self):
        {evaluate}
        return 5

serve(Fake)
"""
VARIABLES = {**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_TOP_PAD_": "1", "LD_PRELOAD": ""}
SETTINGS = Settings("nowhere")


@dataclass(frozen=True)
class Fake(Contestant):
    """A contestant whose worker is a script."""

    script: str = ""

    def command(self):
        return [sys.executable, self.script, json.dumps({"data": "nowhere"})]


@pytest.fixture
def fake(tmp_path):
    """Make a contestant; ``build``, ``step`` and ``evaluate`` are what it does there."""

    def make(name, build="pass", step="pass", evaluate="pass", text=FAKE):
        script = tmp_path / f"{name}.py"
        log = str(tmp_path / "turns")
        script.write_text(
            text.format(name=name, build=build, step=step, evaluate=evaluate, log=log)
        )
        return Fake(name, name.title(), "", SETTINGS, script=str(script))

    return make


class Clock:
    """A clock that goes on by one second whenever it is read."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


def run(tmp_path, *chosen, budget_s=0.0):
    return race.race(list(chosen), VARIABLES, tmp_path, budget_s, Clock())


# --- the race ----------------------------------------------------------------------------------------------------


def test_a_worker_answers_and_its_chatter_goes_to_its_log(fake, tmp_path):
    (lane,) = run(tmp_path, fake("good"))
    assert lane.failure is None and lane.facts["parameters"] == 7
    assert len(lane.warmup["step_s"]) == race.WARMUP
    assert [r["targets"] for r in lane.rounds] == [[10]] * race.FEWEST_ROUNDS
    assert all(s >= 0 for r in lane.rounds for s in r["step_s"] + r["cpu_s"])
    assert lane.evaluation["users"] == 5 and lane.peak_rss_bytes > 1e6
    log = (tmp_path / "good.log").read_text()
    assert "chatter of a library" in log and "chatter of a program" in log and "step 3" in log


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"build": "import a_package_that_is_not_there"}, "ModuleNotFoundError: No module named"),
        ({"step": "raise ValueError('bad batch\\nsecond line')"}, "ValueError: bad batch"),
        ({"step": "if self.steps == 4: os._exit(3)"}, "exit status 3: step 4"),
        ({"step": "if self.steps == 4: os.kill(os.getpid(), 9)"}, "killed by SIGKILL"),
        ({"step": "if self.steps == 4: os.kill(os.getpid(), 11)"}, "killed by SIGSEGV"),
        ({"evaluate": "raise MemoryError('no room')"}, "MemoryError: no room"),
        ({"text": "print('no protocol')"}, "answered no JSON: no protocol"),
        ({"text": "open('/no/such/place')"}, "exit status 1: FileNotFoundError"),
    ],
)
def test_a_worker_that_fails_is_named_with_its_reason_and_the_others_go_on(
    fake, tmp_path, what, reason
):
    bad, good = run(tmp_path, fake("bad", **what), fake("good"))
    assert bad.failure.startswith(reason) and "\n" not in bad.failure
    assert str(tmp_path) not in bad.failure and bad.worker is None
    assert good.failure is None and len(good.rounds) == race.FEWEST_ROUNDS


def test_what_a_worker_did_before_it_died_is_kept(fake, tmp_path):
    (bad,) = run(tmp_path, fake("bad", step="if self.steps == 5: os._exit(1)"))
    assert len(bad.rounds) == 2 and not bad.evaluation


def test_a_worker_that_hangs_is_stopped(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(race, "ANSWER_LIMIT_S", 0.5)
    (lane,) = run(tmp_path, fake("slow", build="time.sleep(600)"))
    assert lane.failure == "no answer within 0.5 s" and lane.worker is None


def test_an_interpreter_that_is_not_there_is_a_failure(tmp_path):
    with pytest.raises(Failed, match="cannot be started: No such file"):
        Worker([str(tmp_path / "python")], VARIABLES, tmp_path / "log")


def test_a_peer_without_environment_is_a_failure_with_the_words_of_pip(tmp_path, monkeypatch):
    monkeypatch.setattr(contestants, "VENVS", tmp_path)
    peer = Contestant("rectools", "RecTools", "peers.rectools_worker", SETTINGS, "rectools")
    with pytest.raises(Failed, match="not installed: `make bench-peers`"):
        peer.command()
    (tmp_path / "rectools.failed").write_text("WARNING: x\nERROR: No matching distribution\n\n")
    with pytest.raises(Failed, match="not installed: ERROR: No matching distribution"):
        peer.command()
    (tmp_path / "rectools.made").touch()
    assert peer.command()[1:3] == ["-m", "peers.rectools_worker"]


def test_contestants_take_turns_in_rotating_order(fake, tmp_path):
    run(tmp_path, fake("a"), fake("b", step="if self.steps == 4: os._exit(1)"), fake("c"))
    # Warm-up; then one step each. b ends in its second turn, and the other two go on rotating.
    assert (tmp_path / "turns").read_text() == "aabbcc" + "abc" + "bca" + "ac"
    assert race.rotated([], 3) == []


def test_steps_of_a_round_fill_the_share_of_the_budget():
    assert race.steps_in(5.0, {"step_s": [90.0, 2.0]}) == 2
    assert race.steps_in(0.0, {"step_s": [1.0, 2.0]}) == 1
    assert race.steps_in(1e6, {"step_s": [1.0, 1e-3]}) == race.MOST_STEPS


def test_rounds_end_before_the_deadline(fake, tmp_path):
    (lane,) = run(tmp_path, fake("good"), budget_s=1e9)
    assert len(lane.rounds) == race.ROUNDS
    (lane,) = run(tmp_path, fake("other"), budget_s=12.0)  # in readings of the clock
    assert race.FEWEST_ROUNDS < len(lane.rounds) < race.ROUNDS


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


def test_operations_per_target_equal_what_torch_counts():
    """On a batch without padding, attention counted in full, with the catalogue's product done plainly."""
    rows, length, n_items = 3, 16, 50
    s = replace(SETTINGS, length=length, d_model=8, d_inner=24, dropout=0.0)
    options = {"d_model": 8, "d_inner": 24, "n_layers": 2, "n_heads": 2, "dropout": 0.0}
    model = models.build("sasrec", options, n_items, length)
    items = torch.randint(1, n_items + 1, (rows, length))
    # The fused attention is unknown to the counter; the plain one does the same products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        logits = model.hidden(items) @ model.item_table()[1:].T
        F.cross_entropy(logits.flatten(0, 1), items.flatten() - 1).backward()
    counted = counter.get_total_flops() / (rows * length)
    assert flops_per_target(s, n_items, length) == pytest.approx(counted)


def test_the_rate_of_a_product_is_one_line_of_json(capsys, monkeypatch):
    monkeypatch.setattr(product, "SIZE", 256)
    product.main(torch.get_num_threads())
    found = json.loads(capsys.readouterr().out)
    assert found["flop_per_s"] > 0 and found["flop_per_cpu_s"] > 0
    assert len(found["samples"]) == len(found["cpu_samples"]) == product.REPEATS


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


def test_our_large_batch_has_the_targets_of_a_peers():
    flat = Flat(np.ones(3 + 12 + 300, dtype=np.int32), np.array([0, 3, 15, 315]))
    # Training parts of 1, 10 and 298 items: no targets, 9 targets, and the last 200.
    assert contestants.targets_of_a_peer_step(flat, 200) == round(128 * (9 + 200) / 2)
    rows = contestants.contestants(SETTINGS, flat)
    assert {r.peer for r in rows if r.peer} == {"rectools", "replay", "recbole"}
    assert len({r.key for r in rows}) == len(rows)
    large = next(r for r in rows if r.key == contestants.SAME_BATCH)
    assert large.settings.batch == 13376 and "13,376 targets" in large.label


# --- the result --------------------------------------------------------------------------------------------------


@pytest.fixture
def made(fake, tmp_path, tiny):
    """A result of our fake reference and two peers, one of which fails."""
    reference = replace(fake("good"), key=contestants.REFERENCE)
    lanes = run(tmp_path, reference, fake("peer"), fake("bad", step="raise OSError('disk full')"))
    variables = {**VARIABLES, "LD_PRELOAD": "/some/where/libfast.so", "OMP_NUM_THREADS": "1"}
    products = [{"flop_per_s": 9e10, "flop_per_cpu_s": 1e11}] * 2
    settings = replace(SETTINGS, data=str(tiny))
    return result.assemble(lanes, settings, variables, {"budget_s": 1.0}, products)


def test_a_result_holds_samples_figures_and_what_they_depend_on(made):
    first, peer, bad = made["contestants"]
    assert first["figures"]["ratio"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert peer["figures"]["cpu_ratio"]["low"] > 0
    assert first["figures"]["ratio_same_batch"] is None  # that row did not run
    limit = first["figures"]["flops_per_target"] / made["product"]["flop_per_cpu_s"]
    seconds = first["figures"]["cpu_seconds_per_target"]["median"]
    assert first["figures"]["share_of_limit"] == pytest.approx(limit / seconds)
    assert (
        peer["figures"]["steps"] == race.FEWEST_ROUNDS and "share_of_limit" not in peer["figures"]
    )
    assert (bad["status"], bad["reason"], bad["figures"]) == ("failed", "OSError: disk full", {})
    assert made["variables"]["LD_PRELOAD"] == "libfast.so"
    assert made["variables"]["MALLOC_TOP_PAD_"] == "1"
    assert made["data"]["name"] == "tiny" and made["code"]["hash"]
    assert len(result.sample_rows(made)) == 2 * race.FEWEST_ROUNDS


def test_the_table_names_failures_and_what_differs_and_no_path(made, tmp_path):
    show.write(made, tmp_path / "out")
    text = show.aligned(show.table(made))
    for words in (
        "failed: OSError: disk full",
        "What differs: everything",
        "GFLOP/s (100 per CPU second)",
    ):
        assert words in text and words in (tmp_path / "out" / "bench-peers.md").read_text()
    for name in ("bench-peers.json", "bench-peers.md", "bench-peers.csv", "samples.csv"):
        written = (tmp_path / "out" / name).read_text()
        assert written and str(ROOT) not in written and str(tmp_path) not in written
        assert os.uname().nodename not in written or len(os.uname().nodename) < 4
    rows = (tmp_path / "out" / "samples.csv").read_text().splitlines()
    assert rows[0] == ",".join(show.RAW) and len(rows) == 1 + 2 * race.FEWEST_ROUNDS


def test_paths_are_cut_to_their_last_part():
    text = "cannot import 'x' from 'y' (/home/someone/lib/y/__init__.py), ratio 3/4"
    assert without_paths(text) == "cannot import 'x' from 'y' (__init__.py), ratio 3/4"


def test_data_that_are_not_prepared_are_one_line(capsys, tmp_path):
    assert command_line.main(["--data", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    assert "snakemake --cores 1 results/data/ml-1m/dataset.json" in message


@pytest.mark.slow
def test_our_own_rows_run_end_to_end(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(contestants, "VENVS", tmp_path)
    rate = {"flop_per_s": 1e11, "flop_per_cpu_s": 1e11}
    monkeypatch.setattr(command_line, "_product", lambda variables, threads: rate)
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
    assert "MFLOP per target" in capsys.readouterr().out
