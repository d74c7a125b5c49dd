"""Tables of the page: what stands in their cells is what the tidy tables say, in rows and columns as declared."""

import pandas as pd
import pytest
from boards import advice_row
from builders import ENVIRONMENT, REPORT
from frames import trainings

from seqbench.analysis.collect import Tables
from seqbench.core.display import TABLES
from seqbench.report import views

SECTIONS = ("take", "paper", "lengths", "where", "training", "more", "provenance")
NAN = float("nan")


def tables(**frames):
    found = {name: pd.DataFrame() for name in TABLES}
    found["experiments"] = pd.DataFrame(columns=["machine_name", "device", "threads", "kind", "status", "track", "dataset"])  # fmt: skip
    found |= {name: pd.DataFrame(rows) for name, rows in frames.items()}
    return Tables(found, {}, REPORT | {"environments": [ENVIRONMENT | {"records": 1}]})


def shown(name, **frames):
    """The table of that name, of these frames alone."""
    found = {table.name: table for group in views.tables(tables(**frames)).values() for table in group}  # fmt: skip
    return found[name]


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def heads(table):
    return [f"{c.over}: {c.text}" if c.over else c.text for c in table.columns]


def test_without_rows_there_is_no_table():
    assert not any(views.tables(tables()).values())


def test_every_table_has_its_section_and_a_name_of_its_own():
    assert {view.section for view in views.VIEWS} == set(SECTIONS)
    assert len({view.name for view in views.VIEWS}) == len(views.VIEWS)


# --- rows and columns ---------------------------------------------------------------------------------------------------


def ratio(model, seq_len, value, verdict="dearer", **changes):
    row = {"track": "matched", "machine_name": "test-machine", "dataset": "ml-1m", "seq_len": seq_len, "source": "dataset", "fixed": None, "sequences": 8.0,
           "n_items": 3416, "phase": "train", "metric": "step_s", "comparator": model, "verdict": verdict}  # fmt: skip
    return row | {"ratio": value, "ratio_low": 0.9 * value, "ratio_high": 1.1 * value} | changes


def test_rows_stand_under_their_heading_once_and_models_in_their_order():
    batch = {"phase": "inference", "metric": "batch_s"}
    rows = [
        ratio("gru4rec", 50, 1.2),
        ratio("gru4rec", 50, 2.2, **batch),
        ratio("sasrec", 50, 1.5),
        ratio("sasrec", 50, 0.5, "cheaper", **batch),
        ratio("sasrec", 200, 1.0, "inconclusive"),
    ]
    table = shown("ratios-matched", cost_ratios=rows)
    assert heads(table) == ["Dataset", "L", "SASRec", "GRU4Rec"]
    (first,), *steps, (second,), batches = texts(table)
    assert first.endswith("Training step") and second.endswith("Inference batch")
    assert steps == [["ML-1M", "50", "▼ 1.50", "▼ 1.20"], ["ML-1M", "200", "? 1.00", "–"]]
    assert batches == ["ML-1M", "50", "▲ 0.50", "▼ 2.20"]
    cell = table.rows[1][2]
    assert (cell.detail, cell.value, cell.mark) == ("[1.35, 1.65]", 1.5, "bad")


def test_resident_memory_and_other_costs_are_not_held_against_each_other():
    rows = [ratio("sasrec", 50, 1.5, metric=metric) for metric in ("step_s", "peak_rss_bytes", "data_wait_s")]  # fmt: skip
    assert len(shown("ratios-matched", cost_ratios=rows).rows) == 2


def test_along_a_curve_the_size_is_what_it_varies():
    curve = {"source": "batch-size", "fixed": "L = 200, 3,416 items"}
    rows = [ratio("sasrec", 200, 1.5, sequences=float(n), **curve) for n in (1, 64)]
    assert [row[0] for row in texts(shown("ratios-size", cost_ratios=rows))[1:]] == ["1", "64"]


def test_columns_where_nothing_stands_are_left_out():
    row = {"level": "warn", "code": "budget", "subject": NAN, "track": "matched", "dataset": "ml-1m", "seq_len": 200.0, "model": "sasrec", "seed": NAN,
           "seen_items": NAN, "machine_name": NAN, "value": NAN, "limit": NAN, "count": 2.0, "of": 3.0, "text": NAN}  # fmt: skip
    table = shown("warnings", warnings=[row])
    assert heads(table) == ["Warning", "Track", "Model", "Cases"]
    assert texts(table)[0] == ["ML-1M, L = 200"] and table.rows[0][0].value == "ml-1m-200"
    assert texts(table)[1][1:] == ["matched", "SASRec", "2 of 3"]


@pytest.mark.parametrize(
    ("code", "limit", "text"),
    [("seeds_apart", 0.0438, "≥ 0.0438"), ("noisy", 0.25, "≤ 0.250"), ("sessions_apart", 1.1, "0.909 to 1.10"), ("budget", NAN, "–")],
)  # fmt: skip
def test_a_warning_says_what_its_value_should_be(code, limit, text):
    assert views._allowed({"code": code, "limit": limit}).text == text


@pytest.mark.parametrize(("trial", "default", "text"), [(0, 0.05, "the default"), (3, 0.05, "trial 3"), (0, NAN, "trial 0")])  # fmt: skip
def test_a_search_that_chose_the_default_says_so(trial, default, text):
    row = {"track": "tuned", "dataset": "ml-1m", "seq_len": 200, "model": "sasrec", "chosen": "{}", "trials": 5, "failed": 0, "collapsed": 0, "default": default, "median": 0.1,
           "best": 0.1, "mean": NAN, "train_s": 10.0, "chosen_trial": trial}  # fmt: skip
    table = shown("search", searches=[row])
    assert dict(zip(heads(table), texts(table)[1], strict=True))["Chosen"] == text


@pytest.mark.parametrize("variant", ["unjudged_apart", "unjudged_few"])
def test_a_cheaper_model_that_is_not_judged_says_why(variant):
    cell = views._doubtful(advice_row(variant))
    assert "0.674 s, not judged: " in cell.detail and "−" not in cell.detail


def test_warnings_of_one_condition_stand_together_below_those_of_its_dataset():
    about = {"track": NAN, "subject": NAN, "model": "sasrec", "seed": NAN, "seen_items": NAN, "machine_name": NAN, "value": NAN, "limit": NAN, "count": NAN, "of": NAN, "text": NAN}  # fmt: skip
    rows = [
        about | {"code": code, "dataset": dataset, "seq_len": seq_len}
        for code, dataset, seq_len in (("budget", "b", 200), ("noisy", "a", 50), ("noisy", "b", 200), ("ties", "b", NAN))
    ]  # fmt: skip
    content = tables(warnings=rows)
    content.settings["datasets"] = ["b", "a"]
    (table,) = views.tables(content)["provenance"]
    assert [row[0].value for row in table.rows if len(row) == 1] == ["b", "b-200", "a-50"]
    assert [row[0].value for row in table.rows if len(row) > 1] == ["ties", "budget", "noisy", "noisy"]  # fmt: skip


def test_costs_under_one_heading_share_their_unit():
    row = {"track": "matched", "dataset": "ml-1m", "seq_len": 200, "machine_name": "test-machine", "device_kind": "cpu", "curve": None, "phase": "train", "metric": "epoch_s", "reason": None}  # fmt: skip
    values = zip(("mamba4rec", "sasrec", "bert4rec"), (90.0, 45.0, 70.0), strict=True)
    table = shown("costs-matched-test-machine", efficiency=[row | {"model": m, "median": v} for m, v in values])  # fmt: skip
    assert heads(table) == ["Model", "Training epoch"]
    assert [row[1] for row in texts(table)[1:]] == ["90.0 s", "45.0 s", "70.0 s"]


def test_what_was_published_and_ours_share_their_unit():
    row = {"phase": "train", "quantity": "epoch_s", "track": "paper", "machine_name": "test-machine", "model": "sasrec", "published": 131.24, "ours": 19.3, "low": 19.2,
           "high": 19.4, "share": 0.15, "verdict": "other hardware", "why": "device", "differs": NAN, "data_differs": NAN}  # fmt: skip
    table = shown("paper-cost", paper=[row])
    assert texts(table)[1] == ["SASRec", "131 s", "19.3 s", "15 %", "other hardware"]
    assert table.rows[1][-1].mark == "muted"


# --- cells --------------------------------------------------------------------------------------------------------------


def difference(model, verdict, why="", **changes):
    row = {"dataset": "ml-1m", "seq_len": 200, "track": "matched", "seen_items": "kept", "metric": "ndcg@10", "model_a": "mamba4rec", "model_b": model}  # fmt: skip
    return row | {"verdict": verdict, "why": why, "share": 0.086, "share_low": 0.065, "share_high": 0.104} | changes  # fmt: skip


def test_differences_carry_their_verdict_and_why_it_is_open(monkeypatch):
    rows = [difference("sasrec", "better"), difference("bert4rec", "inconclusive", "seeds_apart")]
    (view,) = [view for view in views.VIEWS if view.name == "differences"]
    monkeypatch.setattr(views, "VIEWS", (view,))
    own = trainings("mamba4rec", "sasrec", "bert4rec")
    table = shown("differences-matched", comparisons=rows, experiments=own)
    _, (*_, one, two) = table.rows
    assert (one.text, one.detail, one.mark) == ("▲ 8.6 %", "[6.5, 10]", "good")
    assert (two.text, two.mark, two.title) == ("? 8.6 %", "open", "inconclusive: seeds apart")


def test_what_to_take_stands_by_condition_and_machine():
    rows = [
        advice_row(),
        advice_row("best", seq_len=50, inference_s=0.38, other=None, other_s=NAN, loss_high=NAN),
        advice_row("unpriced", machine_name="gpu-box", model=None, inference_s=NAN, other=None, other_s=NAN),
        advice_row("few_seeds", dataset="toy", model=None),
    ]  # fmt: skip
    table = shown("advice-kept", advice=rows)
    assert heads(table) == ["Dataset", "L", "Ranks highest", "Test CPU, 2 CPUs: Take", "Test CPU, 2 CPUs: Cheaper, not taken"]  # fmt: skip
    _, first, second = table.rows
    assert [(c.text, c.detail) for c in first[3:]] == [("Mamba4Rec", "1.44 s"), ("SASRec", "0.674 s, up to −9.1 %")]  # fmt: skip
    assert [(c.text, c.detail) for c in second[2:]] == [("Mamba4Rec", "0.150"), ("Mamba4Rec", "0.380 s"), ("–", "")]  # fmt: skip


def crossing(model, x, **changes):
    row = {"track": "matched", "machine_name": "test-machine", "curve": "length-at-constant-batch", "fixed": "8 sequences a batch", "phase": "train", "metric": "step_s",
           "model_a": "mamba4rec", "model_b": model, "x": x, "low": 960.0, "high": 1100.0, "extrapolated": False, "bracketed": False,
           "cheaper_min": model, "cheaper_max": "mamba4rec"}  # fmt: skip
    return row | changes


@pytest.mark.parametrize(
    ("changes", "text", "detail"),
    [
        ({"x": 1044.8}, "Mamba4Rec from 1,000", "[960, 1,100]"),
        ({"x": 703.0, "low": 200.0, "high": 8192.0, "bracketed": True}, "Mamba4Rec above a crossing between 200 and 8,192", ""),
        ({"x": 9000.0, "extrapolated": True}, "changes from 9,000", "[960, 1,100], extrapolated"),
        ({"x": NAN, "cheaper_max": "sasrec"}, "SASRec throughout", ""),
        ({"x": NAN}, "inconclusive", ""),
    ],
)  # fmt: skip
def test_crossings_say_who_is_cheaper_from_where(changes, text, detail):
    table = shown("crossings-length", crossovers=[crossing("sasrec", NAN) | changes])
    cell = table.rows[1][1]
    assert (cell.text, cell.detail) == (text, detail)


def claim(metric, verdict, **changes):
    row = {"kind": "quality", "comparator": NAN, "claim": "A ranks better than B", "source": "table 2", "track": "matched", "machine_name": NAN, "metric": metric, "focal_value": 0.2,
           "ratio_or_difference": NAN, "published": NAN, "verdict": verdict, "why": ""}  # fmt: skip
    return row | changes


def test_a_claim_is_one_row_with_its_metrics_as_marks():
    agreed = [claim(metric, "reproduced") for metric in ("hr@10", "ndcg@10")]
    torn = [claim("hr@10", "reproduced", track="tuned"), claim("ndcg@10", "inconclusive", track="tuned", why="interval")]  # fmt: skip
    cost = claim("epoch_s", "not reproduced", kind="cost", claim="A is faster than B", track="paper", ratio_or_difference=1.04, published=0.58)  # fmt: skip
    table = shown("claims", claims=[*agreed, *torn, cost])
    _, (_, _, matched, tuned, paper), _, (*_, figure) = table.rows
    assert (matched.text, matched.detail, matched.mark) == ("✓ reproduced", "HR@10, NDCG@10", "good")  # fmt: skip
    assert (tuned.text, tuned.mark, tuned.title) == (
        "✓\u00a0HR@10, ?\u00a0NDCG@10",
        "open",
        "interval",
    )
    assert paper.text == "–"
    assert (figure.text, figure.detail, figure.mark) == ("✗ not reproduced", "1.04, published 0.58", "bad")  # fmt: skip


def test_a_ratio_whose_direction_holds_is_not_called_refuted():
    cost = claim("epoch_s", "not reproduced", kind="cost", why="figure", comparator="sasrec", ratio_or_difference=0.79, published=0.52)  # fmt: skip
    value = claim("hr@10", "not reproduced", kind="values", claim="A reaches it", why="figure", published=0.3)  # fmt: skip
    table = shown("claims", claims=[cost, value])
    (_, _, figure), (_, _, own) = (row for row in table.rows if len(row) > 1)
    assert (figure.text, figure.detail, figure.mark) == ("~ direction only", "0.79, published 0.52", "open")  # fmt: skip
    assert (own.text, own.mark) == ("✗ not reproduced", "bad")


def test_a_track_without_any_value_has_no_column():
    measured = claim("hr@10", "reproduced")
    table = shown("claims", claims=[measured, claim("hr@10", "not measured", track="paper")])
    assert heads(table) == ["Claim", "Where", "Track matched"]


def reached(model, max_steps, seconds, **changes):
    row = {"track": "matched", "dataset": "ml-1m", "seq_len": 200, "goal": 0.157, "machine_name": "test-machine", "model": model, "n_seeds": 3, "max_steps": max_steps}  # fmt: skip
    return row | {"seconds": seconds, "seconds_low": 0.9 * seconds, "seconds_high": 1.1 * seconds} | changes  # fmt: skip


def test_time_to_quality_is_the_time_of_a_budget_or_its_updates():
    rows = [reached("mamba4rec", 2000.0, 600.0), reached("sasrec", NAN, NAN)]
    unmeasured = [reached("mamba4rec", 1000.0, NAN, dataset="ml-100k", machine_name=NAN)]
    table = shown("time-to-quality", time_to_quality=[*rows, *unmeasured])
    found = texts(table)
    assert found[1][-2:] == ["10.0 min", "not reached"]
    assert found[2][-2:] == ["1,000 updates", "–"]
    assert table.rows[1][4].detail == "[9.00, 11.0]"


def test_the_papers_cells_say_what_nobody_published():
    row = {"phase": NAN, "quantity": "ndcg@10", "track": "matched", "machine_name": NAN, "model": "mamba4rec", "published": 0.1822, "ours": 0.156, "low": 0.15, "high": 0.163,
           "share": 0.856, "verdict": "below", "why": NAN, "differs": NAN, "data_differs": NAN}  # fmt: skip
    unpublished = row | {"model": "sasrec", "published": NAN, "share": NAN, "verdict": NAN, "why": "not published"}  # fmt: skip
    table = shown("paper-quality", paper=[row, unpublished])
    assert heads(table) == ["Model", "Published", "Track matched: Ours", "Track matched: Share", "Track matched: Verdict"]  # fmt: skip
    assert texts(table)[1:] == [["Mamba4Rec", "0.1822", "0.156", "86 %", "✗ below"], ["SASRec", "not published", "0.156", "–", "–"]]  # fmt: skip
