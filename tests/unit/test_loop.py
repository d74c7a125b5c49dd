"""Training is deterministic, selects on validation, stops when told and resumes to the same ranks."""

import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from seqbench.core.jobs import Training, TrainingJob
from seqbench.data import open_dataset
from seqbench.training import baselines, loop
from seqbench.training.ranking import Diverged

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
SMALL = (("d_inner", 16), ("d_model", 16))
BUDGET = Training(
    targets_per_step=256, max_steps=24, eval_every=6, patience_steps=100, learning_rate=0.01
)


def experiment(seed=0, model="sasrec", **training):
    hyper = SMALL if model == "sasrec" else ()
    budget = dataclasses.replace(BUDGET, **training)
    return TrainingJob("tiny", model, "matched", 12, seed, hyper, budget)


def run(tiny, folder, **options):
    return loop.Trainer(experiment(**options), open_dataset(tiny), folder, CPU).run()


def test_the_same_seed_gives_the_same_ranks_and_another_seed_others(tiny, tmp_path):
    _, first, _ = run(tiny, tmp_path)
    _, again, _ = run(tiny, tmp_path)
    _, other, _ = run(tiny, tmp_path, seed=1)
    assert all(np.array_equal(first[k], again[k]) for k in first)
    assert not np.array_equal(first["test/rank"], other["test/rank"])


def test_the_best_step_on_validation_is_what_is_ranked(tiny, tmp_path):
    values, samples, weights = run(tiny, tmp_path)
    best = max(values["curve"], key=lambda c: c["valid"]["kept"]["ndcg@10"])
    assert values["best_step"] == best["step"]
    rank = samples["valid/rank"]
    ndcg = np.where(rank <= 10, 1 / np.log2(1 + rank), 0).mean()
    assert ndcg == pytest.approx(best["valid"]["kept"]["ndcg@10"])
    assert all(torch.isfinite(w).all() for w in weights.values())


def test_it_stops_at_the_budget_or_when_patience_ends(tiny, tmp_path):
    values, _, _ = run(tiny, tmp_path)
    assert (values["stopped"], values["steps"]) == ("max_steps", 24)
    # nothing improves with a learning rate of zero: the first validation stays the best
    values, _, _ = run(tiny, tmp_path, learning_rate=0.0, patience_steps=12)
    assert (values["stopped"], values["steps"], values["best_step"]) == ("patience", 18, 6)
    assert not values["still_improving"]


def test_the_start_and_the_compiling_are_reported_apart(tiny, tmp_path):
    values, _, _ = run(tiny, tmp_path)
    assert values["first_step_after_s"] > 0  # the age of this test's process


def test_positions_and_predictions_are_recorded(tiny, tmp_path):
    """BERT4Rec reads about five positions for each prediction, and predicts as much in a step as others do."""
    options = {"patience_steps": 99, "max_steps": 12, "targets_per_step": 128}
    others, _, _ = run(tiny, tmp_path, **options)
    masked, _, _ = run(tiny, tmp_path, model="bert4rec", **options)
    assert others["positions"] == others["predictions"] == others["targets_seen"]
    # The last batch of an epoch is smaller, by another share for each.
    assert masked["predictions"] == pytest.approx(others["predictions"], rel=0.15)
    # It reads a window's last item too, which others only predict; a window here has 2 to 21 items.
    windows = masked["positions"] - masked["targets_seen"]
    assert masked["targets_seen"] / 20 <= windows <= masked["targets_seen"]
    assert masked["targets_seen"] > 2 * masked["predictions"]


LINEAR = {"schedule": "linear", "warmup_steps": 6, "max_steps": 24}


@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        ({"schedule": "constant"}, {0: 1.0, 12: 1.0, 23: 1.0}),
        ({"schedule": "constant", "warmup_steps": 4}, {0: 1 / 4, 2: 3 / 4, 3: 1.0, 23: 1.0}),
        ({"schedule": "linear", "warmup_steps": 0}, {0: 1.0, 12: 1 / 2, 23: 1 / 24}),
        (LINEAR, {0: 1 / 6, 4: 5 / 6, 5: 1.0, 6: 1.0, 7: 17 / 18, 15: 1 / 2, 23: 1 / 18, 24: 0.0}),
    ],
)
def test_the_learning_rate_rises_and_falls_linearly(settings, shares):
    training = dataclasses.replace(BUDGET, **settings)
    found = {step: loop.rate(training, step) / training.learning_rate for step in shares}
    assert found == pytest.approx(shares)


def test_a_constant_learning_rate_is_the_given_number():
    training = dataclasses.replace(BUDGET, learning_rate=0.0012345)
    assert {loop.rate(training, step) for step in range(24)} == {0.0012345}


def test_every_update_has_the_rate_of_its_step(tiny, tmp_path, monkeypatch):
    step, seen = loop.training_step, []
    monkeypatch.setattr(
        loop, "training_step", lambda model, optimizer, *a: (seen.append(optimizer.param_groups[0]["lr"]), step(model, optimizer, *a))[1]
    )  # fmt: skip
    run(tiny, tmp_path, **LINEAR)
    training = dataclasses.replace(BUDGET, **LINEAR)
    assert seen == [loop.rate(training, step) for step in range(24)]


@pytest.mark.parametrize("model", ["sasrec", "mamba4rec"])
def test_a_linear_schedule_ends_with_its_budget_and_its_last_step(
    tiny, tmp_path, monkeypatch, model
):
    """Whatever validation says: here it falls from the first one on, and patience is one step."""
    settings = {**LINEAR, "model": model, "patience_steps": 1}
    known, ranks, weights = run(tiny, tmp_path, **settings)
    falling = iter([0.4, 0.3, 0.2, 0.1])
    with monkeypatch.context() as patch:
        patch.setattr(loop.ranking, "summary", lambda _: {"kept": {"ndcg@10": next(falling)}})
        values, samples, last = run(tiny, tmp_path, **settings)
    assert (values["steps"], values["best_step"], values["stopped"]) == (24, 24, "max_steps")
    assert values["best_validation"] == 0.1 and values["still_improving"] is None
    assert [p["loss"] for p in values["curve"]] == [p["loss"] for p in known["curve"]]
    assert all(torch.equal(weights[k], last[k]) for k in weights)
    assert all(np.array_equal(ranks[k], samples[k]) for k in ranks)


def test_clipping_bounds_the_norm_of_all_gradients(tiny, tmp_path, monkeypatch):
    norms = {}

    def norm_of(clip, optimizer):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        squares = sum(float(p.grad.square().sum()) for p in parameters if p.grad is not None)
        norms.setdefault(clip, []).append(math.sqrt(squares))

    for clip in (None, 0.01):
        make = loop.make_optimizer

        def made(model, training, make=make, clip=clip):
            optimizer = make(model, training)
            optimizer.register_step_pre_hook(lambda o, *_: norm_of(clip, o))
            return optimizer

        monkeypatch.setattr(loop, "make_optimizer", made)
        run(tiny, tmp_path, clip_norm=clip)
        monkeypatch.setattr(loop, "make_optimizer", make)
    assert min(norms[None]) > 0.02
    assert max(norms[0.01]) <= 0.01 + 1e-6


def test_the_optimizer_takes_the_steps_of_pytorchs_and_leaves_its_compiler_alone():
    script = (
        "import sys, torch\n"
        "from seqbench.core.jobs import Training\n"
        "from seqbench.training.loop import make_optimizer\n"
        "torch.manual_seed(0)\n"
        "ours, theirs = torch.nn.Linear(9, 9), torch.nn.Linear(9, 9)\n"
        "theirs.load_state_dict(ours.state_dict())\n"
        "x = torch.randn(9, 9)\n"
        "def steps(model, optimizer):\n"
        "    for _ in range(3):\n"
        "        optimizer.zero_grad(set_to_none=True)\n"
        "        model(x).square().sum().backward()\n"
        "        optimizer.step()\n"
        "    optimizer.load_state_dict(optimizer.state_dict())\n"
        "steps(ours, make_optimizer(ours, Training(learning_rate=0.1)))\n"
        "print('torch._dynamo' in sys.modules)\n"
        "steps(theirs, torch.optim.Adam(theirs.parameters(), 0.1, fused=True))\n"
        "print(all(map(torch.equal, ours.parameters(), theirs.parameters())))\n"
    )
    ran = [sys.executable, "-c", script]
    done = subprocess.run(ran, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.slow
def test_compiling_is_counted_where_nothing_is_on_disk(tmp_path):
    """In a process of its own, because in this one the kernels may be compiled already."""
    script = (
        "import torch, models\n"
        "before = models.compile_seconds()\n"
        "torch.nn.functional.gelu(torch.ones(2, 2))\n"
        "from models import _kernels\n"
        "_kernels.gelu(torch.ones(2, 2), 0.0, True)\n"
        "print(before, models.compile_seconds())\n"
    )
    for warm in (False, True):
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        )  # fmt: skip
        before, after = map(float, done.stdout.split())
        assert before == 0 and (after == 0 if warm else after > 0.01)


def test_plain_kernels_learn_the_same(tiny, tmp_path):
    """Without dropout the optimised step and the plain one differ by rounding only."""
    losses = []
    for kernels in ("eager", "torch", "auto"):
        entry = dataclasses.replace(
            experiment(kernels=kernels), hyperparameters=(*SMALL, ("dropout", 0.0))
        )
        values, _, _ = loop.Trainer(entry, open_dataset(tiny), tmp_path, CPU).run()
        losses.append([point["loss"] for point in values["curve"]])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("settings", [{}, {**LINEAR, "clip_norm": 0.5}])
def test_an_interrupted_run_resumes_to_identical_ranks(tiny, tmp_path, monkeypatch, settings):
    known, whole, weights = run(tiny, tmp_path / "whole", **settings)
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)
    validate = loop.Trainer._validate

    def interrupted(self, *arguments):
        validate(self, *arguments)
        if self.state.step == 18:
            raise KeyboardInterrupt

    (tmp_path / "part").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_validate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tiny, tmp_path / "part", **settings)
    assert list((tmp_path / "part").glob("resume-*.pt"))
    values, resumed, again = run(tiny, tmp_path / "part", **settings)
    assert values["resumed_from"] and values["resumed_from"] <= 18
    assert all(np.array_equal(whole[k], resumed[k]) for k in whole)
    assert all(torch.equal(weights[k], again[k]) for k in weights)
    assert [p["loss"] for p in values["curve"]] == [p["loss"] for p in known["curve"]]
    assert not list((tmp_path / "part").glob("resume-*"))


def test_a_resume_state_of_another_configuration_is_not_used(tiny, tmp_path):
    one = loop.Trainer(experiment(), open_dataset(tiny), tmp_path, CPU)
    other = loop.Trainer(experiment(learning_rate=0.02), open_dataset(tiny), tmp_path, CPU)
    assert one.resume_file != other.resume_file


def test_a_loss_that_is_not_finite_ends_the_run(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "models.sasrec.Model.loss", lambda self, batch: self.norm.weight.sum() * math.nan
    )
    with pytest.raises(Diverged, match="loss is nan"):
        run(tiny, tmp_path)


def test_the_training_part_of_a_baseline_leaves_out_what_is_held_out(tiny):
    dataset = open_dataset(tiny)
    items, offsets = baselines.training_part(dataset, CPU)
    expected = [
        dataset.items[a : b - 2 if b - a > 2 else b].tolist()
        for a, b in zip(dataset.offsets[:-1], dataset.offsets[1:], strict=True)
    ]
    found = [items[a:b].tolist() for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
    assert found == expected


def test_a_test_curve_changes_nothing(tiny, tmp_path):
    plain, ranks, _ = run(tiny, tmp_path)
    shown, same, _ = run(tiny, tmp_path, curve_test=True)
    assert all(np.array_equal(ranks[k], same[k]) for k in ranks)
    assert [p["valid"] for p in plain["curve"]] == [p["valid"] for p in shown["curve"]]
    best = next(p for p in shown["curve"] if p["step"] == shown["best_step"])
    rank = same["test/rank"]
    assert best["test"]["kept"]["hr@10"] == pytest.approx((rank <= 10).mean())
    assert "test" not in plain["curve"][0]


def test_half_products_learn_nearly_the_same_and_weights_stay_whole(tiny, tmp_path):
    losses = []
    for precision in ("fp32", "mixed"):
        values, _, weights = run(tiny, tmp_path, precision=precision)
        losses.append(values["curve"][-1]["loss"])
        assert all(w.dtype == torch.float32 for w in weights.values())
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.02)
    assert any(not torch.equal(w, w.bfloat16().float()) for w in weights.values())
