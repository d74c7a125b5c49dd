"""The answer in a few sentences, from tables whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from builders import SEEDS, THREE, curves_of, grid, times, training, write_grid
from test_claims import CLAIMS, FAST
from test_claims import tables as facts

from seqbench import collect, headline
from seqbench.collect import Tables
from seqbench.tables import rounded

NUMBERS = {"mean_a": 0.1, "mean_b": 0.08, "difference": 0.02, "ci_low": 0.01, "ci_high": 0.04}


def tables(rows):
    """Tables of comparisons alone: (track, model_a, model_b, masking, verdict, seeds, length)."""
    keys = ("track", "model_a", "model_b", "masking", "verdict", "trained_seeds", "seq_len")
    comparisons = [{**dict(zip(keys, row, strict=True)), "metric": "ndcg@10", "dataset": "toy", **NUMBERS} for row in rows]  # fmt: skip
    models = sorted({name for row in rows for name in row[1:3]})
    experiments = [
        {"model": m, "track": track, "kind": "train", "status": "ok", "trained": m != "popularity"}
        for m in models
        for track in {row[0] for row in rows}
    ]
    frames = {name: pd.DataFrame() for name in ("efficiency", "scaling", "summary")}
    frames |= {"comparisons": pd.DataFrame(comparisons), "experiments": pd.DataFrame(experiments)}
    return Tables(frames, {}, {})


def quality(rows):
    return list(headline._quality(tables(rows)))


def both(track, a, b, verdicts, seeds=3, seq_len=50):
    return [(track, a, b, m, v, seeds, seq_len) for m, v in zip(("unmasked", "seen-masked"), verdicts, strict=True)]  # fmt: skip


def test_places_are_counted_by_verdict_from_the_subjects_side():
    rows = both("matched", "mamba4rec", "sasrec", ("better", "inconclusive"))
    rows += both("matched", "sasrec", "mamba4rec", ("worse", "better"), seq_len=100)
    rows += both("matched", "gru4rec", "mamba4rec", ("equivalent", "worse"))
    (said,) = quality(rows)
    assert said == (
        "Quality, track matched, seen items ranked (masked), of the places with at least 3 seeds: Mamba4Rec has a better NDCG@10"
        " than SASRec at 2 of 2 (0 of 2); than GRU4Rec at 0 of 1 (1 of 1). It is worse than SASRec at 0 of 2 (1 of 2); equal within"
        " the margin to GRU4Rec at 1 of 1 (0 of 1); the rest is open."
    )


def test_a_share_is_read_from_the_subjects_side():
    rows = both("matched", "mamba4rec", "sasrec", ("better", "better"))
    rows += both("matched", "gru4rec", "mamba4rec", ("better", "better"))
    found = headline.against(tables(rows)).set_index(["rival", "masking"])
    ends = ["share", "share_low", "share_high"]
    assert found.loc[("sasrec", "unmasked"), ends].tolist() == pytest.approx([0.2, 0.1, 0.4])
    assert found.loc[("gru4rec", "unmasked"), ends].tolist() == pytest.approx([-0.2, -0.4, -0.1])
    assert found.loc[("gru4rec", "unmasked"), "verdict"] == "worse"


def test_baselines_and_few_seeds_are_not_counted():
    rows = both("matched", "mamba4rec", "popularity", ("better", "better"))
    rows += both("paper", "mamba4rec", "sasrec", ("better", "better"), seeds=2)
    rows += both("matched", "mamba4rec", "sasrec", ("better", "better"), seeds=2)
    rows += both("matched", "mamba4rec", "sasrec", ("equivalent", "better"), seq_len=100)
    content = tables(rows)
    assert headline.judged(content) == ["matched"]
    (said,) = headline._quality(content)
    assert (
        "than SASRec at 0 of 1 (1 of 1). It is equal within the margin to SASRec at 1 of 1 (0 of 1)"
        in said
    )
    assert "Popularity" not in said


def test_time_is_told_at_both_ends_of_the_curve(tmp_path):
    wanted = grid([training(model=m, seed=s) for m in THREE for s in SEEDS], curves_of())
    write_grid(tmp_path, wanted)
    content = collect.build(collect.load(wanted, tmp_path), {}, 0.01)
    (said,) = headline._curve(content)
    assert said.startswith("Cost on test-machine, track matched, full synthetic windows, 8 sequences a batch, 1,000 items: a training step of Mamba4Rec takes ")  # fmt: skip
    jobs = {m["seq_len"]: m for m in wanted["measurements"] if m["curve"] == "batch"}
    time, memory = said.split(", and needs ")
    for part, name, than in ((time, "step_s", "as long as"), (memory, "peak_rss_bytes", "the memory of")):  # fmt: skip
        ends = []
        for length in (50, 3200):
            own, other = (np.median(times(jobs[length], k)[f"train/{name}"]) for k in (0, 1))
            ends.append(f"{rounded(own / other, own / other / 20)} times at L = {length:,}")
        assert f"{' and '.join(ends)} {than} SASRec's" in part
    assert "L = 800" not in said


def test_claims_are_counted_by_track(monkeypatch):

    monkeypatch.setattr(headline.claims, "read", lambda: CLAIMS)
    content = facts(quality=(-0.03, -0.02, "worse", 3), cost=FAST, growth=[("ours", 1.8, 1.9), ("theirs", 1.5, 1.7)])  # fmt: skip
    (said,) = headline._claims(content)
    assert (
        said
        == "Claims of the paper that were measured: in track fair 2 reproduced, 1 not reproduced."
    )
