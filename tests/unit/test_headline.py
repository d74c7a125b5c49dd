"""The answer in a few sentences, from tables whose answer is known."""

import pandas as pd
import pytest
from builders import REPORT
from test_claims import CLAIMS, FAST
from test_claims import tables as facts

from seqbench.analysis.collect import Tables
from seqbench.report import claims, headline
from seqbench.report.claims import Finding

pytestmark = pytest.mark.slow

NUMBERS = {
    "mean_a": 0.1,
    "mean_b": 0.08,
    "difference": 0.02,
    "ci_low": 0.01,
    "ci_high": 0.04,
    "p_margin": 0.001,
}


def tables(rows):
    """Tables of comparisons alone: (track, model_a, model_b, masking, verdict, seeds, length)."""
    keys = ("track", "model_a", "model_b", "seen_items", "verdict", "trained_seeds", "seq_len")
    comparisons = [{**dict(zip(keys, row, strict=True)), "metric": "ndcg@10", "dataset": "toy", **NUMBERS} for row in rows]  # fmt: skip
    models = sorted({name for row in rows for name in row[1:3]})
    experiments = [
        {
            "model": m, "track": track, "dataset": "toy", "seq_len": 50, "kind": "train", "status": "ok",
            "trained": m != "popularity", "still_improving": False, "path": f"{track}/{m}",
        }
        for m in models
        for track in {row[0] for row in rows}
    ]  # fmt: skip
    frames = {name: pd.DataFrame() for name in ("efficiency", "scaling", "summary")}
    frames |= {"comparisons": pd.DataFrame(comparisons), "experiments": pd.DataFrame(experiments)}
    return Tables(frames, {}, REPORT)


def both(track, a, b, verdicts, seeds=3, seq_len=50):
    return [(track, a, b, m, v, seeds, seq_len) for m, v in zip(("kept", "excluded"), verdicts, strict=True)]  # fmt: skip


def test_a_metric_that_points_the_other_way_is_named():
    rows = both("matched", "mamba4rec", "sasrec", ("better", "inconclusive"))
    content = tables(rows)
    frame = content.frames["comparisons"]
    turned = frame.assign(metric="hr@10", difference=-0.02, ci_low=-0.03, ci_high=-0.01)
    turned["verdict"] = "worse"
    undecided = turned.assign(metric="mrr@10", verdict="inconclusive")
    content.frames["comparisons"] = pd.concat([frame, turned, undecided])
    assert [str(point) for point in headline._opposed(content)] == [
        "- **Other metrics decide the other way:** HR@10 against SASRec on toy, L = 50, track matched, seen items kept."
    ]  # NDCG@10 with seen items excluded is not decided, nor is MRR@10


def test_claims_are_counted_by_track_and_kind(monkeypatch):
    monkeypatch.setattr(headline.claims, "read", lambda: CLAIMS)
    content = facts(quality=(-0.03, -0.02, "worse", 3), cost=FAST, growth=[("ours", 1.8, 1.9), ("theirs", 1.5, 1.7)])  # fmt: skip
    (said,) = headline._claims(content)
    assert str(said) == (
        "- **Claims of the paper, by sentence and metric.** Track fair: who ranks better, direction only: 1 reproduced; cost on a GPU: 1 reproduced;"
        " growth of cost with length, mostly our reading: 1 not reproduced; 1 other not measured here."
    )  # nothing of its own values was measured
    cheaper = ("cuda", [("ours", 8.0, 0.1), ("theirs", 10.0, 0.1)])
    (said,) = headline._claims(facts(cost=cheaper))
    assert said.details[0].endswith("cost on a GPU: 1 not reproduced (of 1 the direction holds, not the figure); 3 others not measured here.")  # fmt: skip
    assert list(headline._claims(facts())) == []


def test_a_track_in_which_nothing_is_judged_has_no_line_of_claims_nor_of_published_values(
    monkeypatch,
):
    """One seed beside three: its open verdicts stand in the tables, what the focal model misses there in the list of misses."""
    content = tables(both("matched", "mamba4rec", "sasrec", ("better", "better")))
    found = [
        Finding("quality", "s", "p", track, "difference", verdict)
        for track, verdict in (("matched", claims.UNSURE), ("longer", claims.UNSURE), ("paper", claims.NO))
    ]  # fmt: skip
    monkeypatch.setattr(headline.claims, "judge", lambda *_: found)
    (said,) = headline._claims(content)
    assert [text.split(":")[0] for text in said.details] == ["Track matched", "Track paper"]
    tracks = []
    monkeypatch.setattr(
        headline.published_values,
        "sentences",
        lambda _, of: tracks.append(of) or ["Track matched reaches"],
    )
    monkeypatch.setattr(headline.published_values, "held", lambda _: [])
    (said,) = headline._published_values(content)
    assert tracks == [["matched"]]


def test_which_ranking_to_read_is_said_only_where_no_user_has_an_item_twice():
    for repeats, told in ((0.0, True), (0.1, False)):
        content = Tables({}, {"toy": {"repeats": repeats}}, {**REPORT, "selected_settings": {}})
        assert ("who would not show it again reads *masked*" in headline.words(content)) == told


def test_that_short_trials_choose_what_learns_fast_is_said_only_where_they_were_shorter():
    entry = {"tuning": {"trials": 5, "max_steps": 900, "seq_len": 50}}
    for steps, told in ((900, False), (2000, True)):
        run = {"kind": "train", "status": "ok", "trained": True, "track": "tuned", "steps": steps, "dataset": "toy", "seq_len": 50}  # fmt: skip
        settings = {**REPORT, "selected_settings": {"tuned": {"toy": {"sasrec": entry}}}}
        said = headline.terms(Tables({"experiments": pd.DataFrame([run])}, {}, settings))
        assert "each its best of 5 trials, the first of them `matched`'s setting, of at most 900 updates each" in said  # fmt: skip
        assert ("settings that learn fast win" in said) == told
        assert "for all lengths" not in said
        runs = pd.DataFrame([run, {**run, "seq_len": 100}])
        said = headline.terms(Tables({"experiments": runs}, {}, settings))
        assert ", searched on toy at L = 50 for all lengths;" in said
