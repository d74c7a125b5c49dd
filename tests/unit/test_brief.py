"""The answer in brief beyond what test_scorecard.py and test_shorter.py count: several tracks, lengths at which a step is shorter, nothing judged."""

import pandas as pd
import pytest
from builders import plan, training
from test_findings import tables_of
from test_headline import both as pair
from test_published_values import published_value
from test_reach import COSTS as PRICES
from test_reach import tables as trained
from test_scorecard import quality, said
from test_shorter import crossing
from test_tradeoff import WINDOWS, comparison, cost, tables

from seqbench.report import both, brief, published_values, short, standing
from seqbench.report.tables import span

pytestmark = pytest.mark.slow


def test_the_first_words_count_every_judged_track():
    rows = pair("matched", "mamba4rec", "sasrec", ("better", "inconclusive"))
    rows += pair("matched", "mamba4rec", "sasrec", ("inconclusive", "worse"), seq_len=100)
    rows += pair("tuned", "mamba4rec", "sasrec", ("better", "better"))
    rows += pair("paper", "mamba4rec", "sasrec", ("worse", "worse"), seeds=2)  # not judged
    (found,) = brief.points(quality(rows))
    assert found.lead == (
        "Quality: Mamba4Rec ranks better in 1 of 2 (0) comparisons of track matched, 1 of 1 (1) of track tuned; worse in 0 (1)."
    )
    assert found.details == [
        "Track matched, 2 places on 1 dataset: better than SASRec in 1 of 2 (0), worse in 0 (1), inconclusive in 1 (1); held together (Holm over the 2 of each masking) better in 1 of 2 (0).",
        "Track tuned, 1 place on 1 dataset: better than SASRec in 1 of 1 (1); held together (Holm over the 1 of each masking) better in 1 of 1 (1).",
    ]


def test_how_many_verdicts_hold_together_is_said_by_track():
    rows = pair("matched", "mamba4rec", "sasrec", ("better", "better"))
    rows += pair("matched", "mamba4rec", "sasrec", ("better", "better"), seq_len=100)
    content = quality(rows)
    frame = content.frames["comparisons"]
    kept = frame.seen_items == "kept"
    content.frames["comparisons"] = frame.assign(p_margin=0.001 + 0.029 * (kept & (frame.seq_len == 100)) + 0.039 * ~kept)  # fmt: skip
    (found,) = brief.points(content)
    assert "better than SASRec in 2 of 2 (2); held together (Holm over the 2 of each masking) better in 2 of 2 (0)." in str(found)  # fmt: skip
    (note,) = (n for n in short.table(content).notes if "Holm" in n)
    assert note.endswith("(Holm) it ranks better in 2 of 2 (0) of track matched.")


def test_lengths_at_which_a_step_is_shorter_are_told_once_per_curve():
    rows = [*comparison("sasrec", ("better", "better")), *comparison("gru4rec", ("better", "better"))]  # fmt: skip
    costs = [cost("mamba4rec", 3.0), cost("sasrec", 2.0), cost("gru4rec", 2.0)]
    ends = ("sasrec", "mamba4rec")
    curves = [
        crossing("sasrec", ends, 967, curve="length-at-constant-tokens"),
        crossing("sasrec", ends, 1045),
    ]
    curves += [
        crossing("gru4rec", ("gru4rec", "gru4rec"), curve=c)
        for c in ("length-at-constant-tokens", "length-at-constant-batch")
    ]
    found = said(tables(rows, costs, curves))[1]
    assert "; on full windows its training step stays shorter than SASRec's from L = 967 or 1,045 on.**" in found  # fmt: skip
    assert found.endswith("1.50 times SASRec's, 1.50 times GRU4Rec's.")


def test_full_windows_count_only_where_no_dataset_was_measured():
    """A machine that measured windows in a place's stead is told, with the lengths at which its step is shorter."""
    rows = comparison("sasrec", ("better", "better"))
    gpu = {"machine_name": "gpu", "device": "A GPU", "device_kind": "cuda"}
    windows = [cost(m, v, **WINDOWS, **gpu) for m, v in (("mamba4rec", 3.0), ("sasrec", 2.0))]
    real = [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]
    ends = [{**crossing("sasrec", ("sasrec", "mamba4rec"), 700), "machine_name": "gpu", "device_kind": "cuda"}]  # fmt: skip
    _, found, _ = said(tables(rows, [*real, *windows], ends))
    assert (
        "on m (a CPU: a GPU may say otherwise), up to L = 50, beyond the quartiles, its training step costs more in 0 of 1 (less in 1) comparisons of track matched.**"
        in found
    )
    assert found.endswith(
        "Track matched on gpu (A GPU), 1 place by full windows: training step 1.50 times SASRec's; shorter step, 8 sequences a batch:"
        " than SASRec's from L = 700 on ([200, 8,192], 0.5 times at 8,192)."
    )
    _, found, _ = said(tables(rows, windows, ends))
    assert (
        "on gpu (A GPU), up to L = 50, beyond the quartiles, its training step costs more in 1 of 1 comparisons of track matched; on full"
        in found
    )


def test_cost_is_told_of_a_track_whose_quality_is_not_judged():
    rows = comparison("sasrec", ("better", "better"))
    paper = [
        {**cost(m, v), "track": "paper", "path": f"paper/{m}"}
        for m, v in (("mamba4rec", 1.0), ("sasrec", 4.0))
    ]
    assert len(said(tables(rows, paper))) == 1  # of the judged tracks nothing was measured
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0), *paper]
    assert said(tables(rows, costs))[1].endswith("Track paper (quality not judged) on m, 1 place: training step 0.250 times SASRec's.")  # fmt: skip


def test_one_masking_alone_is_told_without_brackets():
    rows = [row for row in comparison("sasrec", ("better", "better")) if row["seen_items"] == "kept"]  # fmt: skip
    found = said(tables(rows, [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]))
    assert found[0].startswith("- **Quality: Mamba4Rec ranks better in 1 of 1 comparisons of track matched; worse in 0.**")  # fmt: skip
    assert "shorter training step in 1 of 1 comparisons of track matched.**" in found[2]


def test_two_devices_of_one_machine_keep_their_own_time_to_quality():
    slow = [cost(m, 1.0, device="B", device_kind="cuda") for m in ("mamba4rec", "sasrec", "gru4rec")]  # fmt: skip
    fast = [cost("mamba4rec", 0.05), *PRICES[1:]]
    for costs in ([*slow, *fast], [*fast, *slow]):
        found = {(m.device, m.comparator): m.until[0.99].ratio for m in both.met(trained(costs=costs), "matched")}  # fmt: skip
        assert found["B", "sasrec"] == 4 * found["cpu", "sasrec"] > 0


def test_nothing_is_said_where_nothing_is_judged():
    rows = pair("matched", "mamba4rec", "sasrec", ("better", "better"), seeds=2)
    assert list(brief.points(quality(rows))) == []


def test_a_comparator_far_below_what_was_published_of_it_is_named(tmp_path, monkeypatch):
    """SASRec reaches half of one value in the judged track and more in another; GRU4Rec reaches its own."""
    wanted = plan()
    wanted["trainings"].append(training(model="sasrec", track="longer"))
    content = tables_of(tmp_path, wanted)
    rows = content.frames["summary"]
    mean = {m: rows[(rows.model == m) & (rows.track == "matched") & (rows.seen_items == "kept") & (rows.metric == "ndcg@10")]
            ["mean"].iloc[0] for m in ("sasrec", "gru4rec")}  # fmt: skip
    values = [published_value(model=m, **{"ndcg@10": x, "hr@10": None}) for m, x in (("sasrec", min(0.99, 2 * mean["sasrec"])), ("gru4rec", mean["gru4rec"]))]  # fmt: skip
    monkeypatch.setattr(published_values, "read", lambda: values)
    found = [text for point in brief.points(content) for text in point.details if "published of them" in text]  # fmt: skip
    share = {t: 100 * rows[(rows.model == "sasrec") & (rows.track == t) & (rows.seen_items == "kept") & (rows.metric == "ndcg@10")]
             ["mean"].iloc[0] / values[0]["ndcg@10"] for t in ("matched", "longer")}  # fmt: skip
    assert found == [
        f"Below 90 % of what others published of them, in every judged track: SASRec on toy, L = 50, 1 of 1 value, at {span([share['matched']])} %"
        f" (not judged, {span([share['longer']])} % in track longer). What is said of them there is said of these trainings."
    ]


def test_a_place_without_one_of_the_models_is_not_led_by_the_best_of_all():
    rows = [*comparison("sasrec", ("better", "better")), *comparison("gru4rec", ("better", "better"))]  # fmt: skip
    rows += comparison("sasrec", ("better", "better"), seq_len=100)  # GRU4Rec was not trained there
    content = tables(rows, [])
    about = {"track": "matched", "dataset": "toy", "metric": "ndcg@10", "ties": "conservative", "ci_low": 0.0, "ci_high": 1.0}  # fmt: skip
    content.frames["summary"] = pd.DataFrame(
        [{**about, "seen_items": seen_items, "seq_len": seq_len, "model": model, "mean": mean}
         for seen_items in ("kept", "excluded") for seq_len, means in ((50, (0.1, 0.08, 0.08)), (100, (0.1, 0.08)))
         for model, mean in zip(("mamba4rec", "sasrec", "gru4rec"), means, strict=False)]
    )  # fmt: skip
    assert standing.quality(content, ["matched"]).lead == (
        "Quality: Mamba4Rec is the best of all models, those without training too, in 1 of 1 (1) places of track matched; against one model at a time it"
        " ranks better in 3 of 3 (3) comparisons of track matched, worse in 0 (0)."
    )
