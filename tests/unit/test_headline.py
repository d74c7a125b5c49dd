"""The answer in a few sentences, from tables whose answer is known."""

import pandas as pd
from test_claims import CLAIMS, FAST
from test_claims import tables as facts

from seqbench import headline, versus
from seqbench.collect import Tables

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
        "Quality, track matched, seen items ranked (masked), 2 places on 1 dataset with at least 3 seeds: Mamba4Rec has a better"
        " NDCG@10 than SASRec at 2 of 2 (0 of 2); than GRU4Rec at 0 of 1 (1 of 1). By NDCG@10 it is worse than SASRec at 0 of 2 (1 of 2); equal within"
        " the margin to GRU4Rec at 1 of 1 (0 of 1); the rest is open."
    )


def test_baselines_and_few_seeds_are_not_counted():
    rows = both("matched", "mamba4rec", "popularity", ("better", "better"))
    rows += both("paper", "mamba4rec", "sasrec", ("better", "better"), seeds=2)
    rows += both("matched", "mamba4rec", "sasrec", ("better", "better"), seeds=2)
    rows += both("matched", "mamba4rec", "sasrec", ("equivalent", "better"), seq_len=100)
    content = tables(rows)
    assert versus.judged(content) == ["matched"]
    (said,) = headline._quality(content)
    assert (
        "than SASRec at 0 of 1 (1 of 1). By NDCG@10 it is equal within the margin to SASRec at 1 of 1 (0 of 1)"
        in said
    )
    assert "Popularity" not in said


def test_a_metric_that_points_the_other_way_is_named():
    rows = both("matched", "mamba4rec", "sasrec", ("better", "inconclusive"))
    content = tables(rows)
    frame = content.frames["comparisons"]
    turned = frame.assign(metric="hr@10", difference=-0.02, ci_low=-0.03, ci_high=-0.01)
    turned["verdict"] = "worse"
    undecided = turned.assign(metric="mrr@10", verdict="inconclusive")
    content.frames["comparisons"] = pd.concat([frame, turned, undecided])
    (said,) = headline._quality(content)
    assert said.endswith(
        "Other metrics decide the other way: HR@10 against SASRec on toy, L = 50, seen items ranked."
    )  # NDCG@10 with seen items masked is not decided, nor is MRR@10


def test_models_below_one_without_training_are_counted():
    content = tables(both("matched", "mamba4rec", "sasrec", ("better", "better")))
    means = {"mamba4rec": (0.3, 0.3), "sasrec": (0.1, 0.3), "markov": (0.2, 0.2)}
    content.frames["summary"] = pd.DataFrame([
        {"track": "matched", "dataset": "toy", "seq_len": 50, "masking": masking, "metric": "ndcg@10", "ties": "conservative",
         "model": model, "mean": mean, "budget": None if model == "markov" else "9 steps"}
        for model, values in means.items() for masking, mean in zip(("unmasked", "seen-masked"), values, strict=True)
    ])  # fmt: skip
    (said,) = headline._quality(content)
    assert said.endswith("Below the best model that needs no training: SASRec at 1 of 1 (0 of 1).")


def test_claims_are_counted_by_track(monkeypatch):
    monkeypatch.setattr(headline.claims, "read", lambda: CLAIMS)
    content = facts(quality=(-0.03, -0.02, "worse", 3), cost=FAST, growth=[("ours", 1.8, 1.9), ("theirs", 1.5, 1.7)])  # fmt: skip
    (said,) = headline._claims(content)
    assert said == (
        "Claims of the paper, sentence by sentence and metric by metric: in track fair 2 reproduced, 1 not reproduced,"
        " 1 not measured here."
    )
    cheaper = ("cuda", [("ours", 8.0, 0.1), ("theirs", 10.0, 0.1)])
    (said,) = headline._claims(facts(cost=cheaper))
    assert "in track fair 1 not reproduced (of 1 the direction holds, not the figure), 3 " in said
    (said,) = headline._claims(facts(quality=(-0.03, -0.02, "worse", 3), cost=cheaper))
    assert (
        "in track fair 1 reproduced, 1 not reproduced (of 1 the direction holds, not the figure), 2 "
        in said
    )
