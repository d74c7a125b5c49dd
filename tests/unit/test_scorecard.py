"""The answer at a glance, from tables whose answer is known."""

import pandas as pd
import pytest
from test_headline import both
from test_headline import tables as verdicts
from test_reach import COSTS as PRICES
from test_reach import LOOKS
from test_reach import tables as trained
from test_tradeoff import NO_COST, WINDOWS, comparison, cost, tables, without_cost

from seqbench.report import brief, scorecard, versus

pytestmark = pytest.mark.slow


def card(content, track="matched"):
    """Cells by the row's words and the comparator; a machine's rows below the machine's name."""
    table, found, over = scorecard.table(content, track), {}, ""
    for row in table.rows:
        if len(row) == 1:
            over = row[0].text.removeprefix("Its cost over the other's on ") + ": "
            continue
        for column, cell in zip(table.columns[1:], row[1:], strict=True):
            found[over + row[0].text, column.text] = cell
    return found


def said(content):
    """The answer in brief."""
    return [str(point) for point in brief.points(content)]


def texts(content, name):
    """Texts of the cells whose row ends so, by row and comparator."""
    return {key: cell.text for key, cell in card(content).items() if key[0].endswith(name)}


# --- quality ------------------------------------------------------------------------------------------------------------


def quality(rows):
    content = verdicts(rows)
    content.frames.update(
        {name: pd.DataFrame() for name in ("curves", "crossovers", "effectiveness", "contrasts")}
    )
    return content


def test_places_are_counted_by_verdict_from_the_focal_models_side():
    rows = both("matched", "mamba4rec", "sasrec", ("better", "inconclusive"))
    rows += both("matched", "sasrec", "mamba4rec", ("worse", "better"), seq_len=100)
    rows += both("matched", "gru4rec", "mamba4rec", ("equivalent", "worse"))
    content = quality(rows)
    found = {key: (c.text, c.detail, c.mark) for key, c in card(content).items()}
    assert {key: cell for key, cell in found.items() if "Difference" not in key[0]} == {
        ("Better NDCG@10, seen items kept", "SASRec"): ("2 of 2", "", "best"),
        ("Better NDCG@10, seen items excluded", "SASRec"): (
            "0 of 2",
            "worse at 1, inconclusive at 1",
            "",
        ),
        ("Better NDCG@10, seen items kept", "GRU4Rec"): ("0 of 1", "equal at 1", ""),
        ("Better NDCG@10, seen items excluded", "GRU4Rec"): ("1 of 1", "", "best"),
    }
    assert (
        found["Difference, seen items kept (% of the better model's)", "SASRec"][0]
        == "−20.0 to +20.0 %"
    )
    assert found["Difference, seen items kept (% of the better model's)", "GRU4Rec"][0] == "−20.0 %"
    assert scorecard.table(content, "matched").caption == (
        "Mamba4Rec against each other model, track matched: 2 places on 1 dataset with at least 3 seeds"
    )


def test_what_is_not_better_is_told_by_verdict():
    rows = both("matched", "mamba4rec", "sasrec", ("better", "better"))
    rows += both("matched", "mamba4rec", "sasrec", ("inconclusive", "better"), seq_len=100)
    cell = card(quality(rows))["Better NDCG@10, seen items kept", "SASRec"]
    assert (cell.text, cell.detail, cell.mark) == ("1 of 2", "inconclusive at 1", "")


def test_baselines_and_few_seeds_are_not_counted():
    rows = both("matched", "mamba4rec", "popularity", ("better", "better"))
    rows += both("paper", "mamba4rec", "sasrec", ("better", "better"), seeds=2)
    rows += both("matched", "mamba4rec", "sasrec", ("better", "better"), seeds=2)
    rows += both("matched", "mamba4rec", "sasrec", ("equivalent", "better"), seq_len=100)
    content = quality(rows)
    assert versus.judged(content) == ["matched"]
    assert scorecard.table(content, "paper").rows == []
    found = card(content)
    assert {comparator for _, comparator in found} == {"SASRec"}
    assert found["Better NDCG@10, seen items kept", "SASRec"].text == "0 of 1"
    assert found["Better NDCG@10, seen items excluded", "SASRec"].text == "1 of 1"


def test_models_below_one_without_training_are_counted():
    content = quality(both("matched", "mamba4rec", "sasrec", ("better", "better")))
    means = {"mamba4rec": (0.3, 0.3), "sasrec": (0.1, 0.3), "markov": (0.2, 0.2)}
    content.frames["summary"] = pd.DataFrame([
        {"track": "matched", "dataset": "toy", "seq_len": 50, "seen_items": seen_items, "metric": "ndcg@10", "ties": "conservative",
         "model": model, "mean": mean, "budget": None if model == "markov" else "9 steps"}
        for model, values in means.items() for seen_items, mean in zip(("kept", "excluded"), values, strict=True)
    ])  # fmt: skip
    assert scorecard.table(content, "matched").notes[-1] == (
        "By their means below the best model that needs no training: SASRec at 1 of 1 (0)."
    )


# --- quality and cost ---------------------------------------------------------------------------------------------------


def test_better_and_cheaper_is_counted_only_where_both_are_known():
    rows = comparison("sasrec", ("better", "inconclusive"))
    rows += comparison("sasrec", ("better", "better"), seq_len=100)
    rows += comparison("sasrec", ("better", "better"), seq_len=200)  # its cost is not known
    rows += comparison("sasrec", ("better", "better"), seq_len=400, seeds=1)  # too few seeds
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]
    costs += [cost("mamba4rec", 3.0, seq_len=100), cost("sasrec", 2.0, seq_len=100)]
    costs += [cost("mamba4rec", 1.0, seq_len=400), cost("sasrec", 4.0, seq_len=400)]
    assert said(tables(rows, costs)) == [
        "- **Quality: Mamba4Rec ranks better in 3 of 3 (2) comparisons of track matched; worse in 0 (0).**"
        " Track matched, 3 places on 1 dataset: better than SASRec in 3 of 3 (2), inconclusive in 0 (1);"
        " held together (Holm over the 3 of each masking) better in 3 of 3 (2).",
        "- **Cost: on m (a CPU: a GPU may say otherwise), up to L = 400, beyond the quartiles, its training step costs more in 1 of 3 (less in 2) comparisons of track matched.**"
        " Track matched on m, 3 places: training step 0.250 to 1.50 times SASRec's.",
        "- **Both at once: on m better and with a shorter training step in 1 of 2 (0) comparisons of track matched.** With a shorter step:"
        " track matched than SASRec in 1 of 2 (0).",
    ]
    found = card(tables(rows, costs))
    assert found["m: 3 places: Training step", "SASRec"].text == "0.250 to 1.50"  # also few seeds
    assert found["m: 3 places: Better and with a shorter step at once", "SASRec"].text == "1 of 2 (0)"  # fmt: skip
    gpu = {"machine_name": "gpu", "device": "A GPU", "device_kind": "cuda"}
    costs += [cost(m, v, **gpu) for m, v in (("mamba4rec", 1.0), ("sasrec", 4.0))]
    costs += [cost(m, v, metric="peak_allocated_bytes", **gpu) for m, v in (("mamba4rec", 3.0), ("sasrec", 2.0))]  # fmt: skip
    *_, cheaper, at_once = said(tables(rows, costs))
    assert (
        "; on gpu (A GPU), up to L = 50, beyond the quartiles, its training step costs more in 0 of 1 (less in 1) comparisons of track matched;"
        " its peak memory of training costs more in 1 of 1 comparisons of track matched.**"
        in cheaper
    )
    assert cheaper.endswith("  - Track matched on gpu (A GPU), 1 place: training step 0.250 times SASRec's; peak memory of training 1.50 times SASRec's.")  # fmt: skip
    assert "Both at once: on m better and with a shorter training step in 1 of 2 (0) comparisons of track matched; on gpu (A GPU) better and with a shorter training step in 1 of 1 (0) comp" in at_once  # fmt: skip
    found = {key[0]: cell for key, cell in card(tables(rows, costs)).items() if "gpu" in key[0]}
    assert {key: (cell.text, cell.mark) for key, cell in found.items()} == {
        "gpu (A GPU): 1 place: Training step": ("0.250", "best"),
        "gpu (A GPU): 1 place: Peak memory of training": ("1.50", ""),
        "gpu (A GPU): 1 place: Better and with a shorter step at once": ("1 of 1 (0)", ""),
    }


def test_where_it_is_worse_is_said():
    rows = comparison("sasrec", ("worse", "inconclusive"))
    rows += comparison("gru4rec", ("better", "better"))
    (quality,) = said(tables(rows, []))
    assert quality == (
        "- **Quality: Mamba4Rec ranks better in 1 of 2 (1) comparisons of track matched; worse in 1 (0).** Track matched, 1 place on 1 dataset:"
        " better than SASRec in 0 of 1 (0), than GRU4Rec in 1 of 1 (1), worse in 1 (0), inconclusive in 0 (1);"
        " held together (Holm over the 2 of each masking) better in 1 of 2 (1)."
    )


def test_a_step_within_the_quartiles_is_not_cheaper():
    rows = comparison("sasrec", ("better", "better"))
    for q75, counted in ((0.999, "1 of 1 (1)"), (1.01, "0 of 1 (0)")):
        costs = [cost("mamba4rec", 0.95, q75=q75), cost("sasrec", 1.01, q25=1.0)]
        content = tables(rows, costs)
        less = " (less in 1)" if counted[0] == "1" else ""
        assert f"costs more in 0 of 1{less} comparisons of" in said(content)[1]
        assert f"with a shorter training step in {counted} comparisons of" in said(content)[2]
        assert ("With a shorter step: " in said(content)[2]) == (counted[0] == "1")
        cell = card(content)["m: 1 place: Training step", "SASRec"]
        assert (cell.text, cell.mark) == ("0.941", "best" if counted[0] == "1" else "")


@pytest.mark.parametrize(("n_items", "known"), [(300, True), (400, False)])
def test_windows_stand_in_only_over_an_equal_catalogue(n_items, known):
    window = {**WINDOWS, "n_items": n_items}
    costs = [cost("mamba4rec", 1.0, **window), cost("sasrec", 2.0, **window)]
    content = tables(comparison("sasrec", ("better", "better")), costs)
    assert len(said(content)) == 1 + 2 * known
    found = texts(content, "Training step")
    assert list(found.values()) == ["0.500"] * known
    assert list(found) == [("m: 1 place by full windows: Training step", "SASRec")] * known


def test_places_measured_otherwise_are_told_apart():
    """One place on its dataset, one only by full windows; what the dataset lacks is not filled up by windows."""
    rows = comparison("sasrec", ("better", "better")) + comparison("sasrec", ("better", "better"), seq_len=100)  # fmt: skip
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]
    for seq_len in (50, 100):
        costs += [cost(m, v, **WINDOWS, seq_len=seq_len) for m, v in (("mamba4rec", 6.0), ("sasrec", 2.0))]  # fmt: skip
        costs += [cost(m, v, **WINDOWS, seq_len=seq_len, phase="inference", metric="batch_s") for m, v in (("mamba4rec", 8.0), ("sasrec", 2.0))]  # fmt: skip
    found = card(tables(rows, costs))
    over = "m: 2 places, 1 of them by full windows: "
    assert found[f"{over}Training step", "SASRec"].text == "0.500 to 3.00"
    assert found[f"{over}Inference batch", "SASRec"].text == "4.00"


def test_of_two_curves_the_larger_batch_is_met():
    larger = {**WINDOWS, "fixed": "256 sequences a batch, 300 items", "sequences": 256}
    costs = [cost("mamba4rec", 1.0, **WINDOWS), cost("sasrec", 2.0, **WINDOWS)]
    costs += [{**cost(m, v, **larger), "path": f"larger/{m}"} for m, v in (("mamba4rec", 9.0), ("sasrec", 3.0))]  # fmt: skip
    content = tables(comparison("sasrec", ("better", "better")), costs)
    assert list(texts(content, "Training step").values()) == ["3.00"]
    assert list(texts(content, "step at once").values()) == ["0 of 1 (0)"]


def test_a_job_of_another_batch_than_the_trainings_is_no_cost_of_theirs():
    """Measurements stay when the batch of a track changes; trainings are replaced."""
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]
    stale = [{**cost(m, v, batch_size=8192), "path": f"stale/{m}"} for m, v in (("mamba4rec", 9.0), ("sasrec", 3.0))]  # fmt: skip
    rows = comparison("sasrec", ("better", "better"))
    assert card(tables(rows, [*stale, *costs])) == card(tables(rows, costs))
    half = [{**row, "precision": "bf16"} for row in costs]
    assert len(said(tables(rows, half))) == 1  # of quality alone


@pytest.mark.parametrize("left", NO_COST)
def test_without_a_usable_cost_only_quality_is_told(left):
    content = without_cost(left)
    assert len(said(content)) == 1
    assert {key[0].partition(",")[0] for key in card(content)} == {"Better NDCG@10", "Difference"}


# --- quality and the training that it takes -----------------------------------------------------------------------------


def test_the_training_until_a_quality_is_told_by_place():
    """SASRec's .0990: Mamba4Rec is there after 200, 300 and 200 steps of .2 s, SASRec after 400, 300 and 400 of .2 s."""
    looks = {**LOOKS, "gru4rec": ([0.01, 0.0995], [0.01], [0.01])}
    content = trained(looks, [cost("mamba4rec", 0.2), *PRICES[1:]])
    found = {key[1]: cell for key, cell in card(content).items() if "Training until 99 %" in key[0]}
    ratio = (200 + 300 + 200) / (400 + 300 + 400)
    assert (found["SASRec"].text, found["SASRec"].detail) == (f"{ratio:.3f}", "both at 1 of 1")
    assert found["SASRec"].mark == ""  # its slowest seed takes as long as SASRec's fastest
    cell = found["GRU4Rec"]
    assert (cell.text, cell.detail, cell.mark) == ("only Mamba4Rec", "at 1 of 1", "")
    faster = trained(looks, [cost("mamba4rec", 0.05), *PRICES[1:]])
    assert said(faster)[2] == (
        "- **Both at once: on m better and with a shorter training step in 2 of 2 (2) comparisons of track matched, better and sooner at 99 % of"
        " the best other model's validation NDCG@10 in 2 of 2 (2) comparisons of track matched (1 against one that gets there too).**\n"
        "  - With a shorter step: track matched than SASRec in 1 of 1 (1), than GRU4Rec in 1 of 1 (1).\n"
        "  - Sooner at 99 %: track matched than SASRec in 1 of 1 (1), than GRU4Rec in 1 of 1 (1); of all 2, every seed of both gets there in 1"
        " (Mamba4Rec sooner in 1), of it alone in 1, of the other alone in 0, of neither in 0."
    )
    found = {key[1]: cell for key, cell in card(faster).items() if "Training until 99 %" in key[0]}
    assert [found[name].mark for name in ("SASRec", "GRU4Rec")] == ["best", "best"]


def test_sooner_but_not_better_does_not_count():
    content = trained(costs=[cost("mamba4rec", 0.05), *PRICES[1:]])
    frame = content.frames["comparisons"]
    masked = (frame.model_b == "sasrec") & (frame.seen_items == "excluded")
    content.frames["comparisons"] = frame.assign(verdict=frame.verdict.mask(masked, "equivalent"))
    found = {key[1]: cell.text for key, cell in card(content).items() if "sooner at 99 %" in key[0]}  # fmt: skip
    assert found == {"SASRec": "1 of 1 (0)", "GRU4Rec": "1 of 1 (1)"}


def test_a_training_whose_seeds_do_not_get_there_counts_as_not_sooner():
    looks = {**LOOKS, "mamba4rec": LOOKS["gru4rec"], "gru4rec": ([0.01],) * 3}
    content = trained(looks, [cost("mamba4rec", 0.05), *PRICES[1:]])
    found = {key[1]: cell for key, cell in card(content).items() if "Training until 99 %" in key[0]}
    assert [(found[name].text, found[name].detail) for name in ("SASRec", "GRU4Rec")] == [("only SASRec", "at 1 of 1"), ("never both", "neither at 1 of 1")]  # fmt: skip
    sooner = {
        key[1]: cell.text for key, cell in card(content).items() if "sooner at 99 %" in key[0]
    }
    assert sooner == {
        "SASRec": "0 of 1 (0)",
        "GRU4Rec": "0 of 1 (0)",
    }  # nobody gets there: not sooner


def test_the_share_of_the_goal_matters():
    """At 95 % the focal model takes 100, 100 and 200 steps, SASRec 300 and more; at 99 % their slowest and fastest meet."""
    content = trained(LOOKS, [cost("mamba4rec", 0.2), *PRICES[1:]])
    found = {key[0].partition("sooner at ")[2]: cell.text for key, cell in card(content).items() if "sooner" in key[0] and key[1] == "SASRec"}  # fmt: skip
    assert found == {"95 % at once": "1 of 1 (1)", "99 % at once": "0 of 1 (0)"}


def test_a_seed_that_did_not_train_is_told_beside_the_counts():
    content = tables(comparison("sasrec", ("better",) * 2), [])
    about = {"dataset": "toy", "seq_len": 50, "split": "test", "ties": "conservative", "metric": "ndcg@10", "seen_items": "kept", "trained": True}  # fmt: skip
    content.frames["effectiveness"] = pd.DataFrame([
        {**about, "track": track, "model": model, "seed": seed, "value": value}
        for track, model, values in (("matched", "sasrec", (0.1, 0.04)), ("matched", "mamba4rec", (0.1, 0.06)), ("tuned", "gru4rec", (0.1, 0.01)))
        for seed, value in enumerate(values)
    ])  # fmt: skip
    (apart,) = (n for n in scorecard.table(content, "matched").notes if n.startswith("Seeds far apart"))  # fmt: skip
    assert "SASRec on toy, L = 50: 0.100, 0.040." in apart and "Rec on" not in apart.partition("SASRec")[2]  # fmt: skip


def test_budgets_and_fewer_predictions_are_told():
    content = tables([*comparison("sasrec", ("better",) * 2), *comparison("bert4rec", ("better",) * 2)], [])  # fmt: skip
    frame = content.frames["experiments"]
    content.frames["experiments"] = frame.assign(still_improving=frame.model != "sasrec")
    notes = " ".join(scorecard.table(content, "matched").notes)
    n = len(frame)
    assert f"Ended by their budget: {(frame.model != 'sasrec').sum()} of {n} trainings on toy." in notes  # fmt: skip
    assert "BERT4Rec predicts only those it masks" in notes
    notes = " ".join(scorecard.table(tables(comparison("sasrec", ("better",) * 2), []), "matched").notes)  # fmt: skip
    assert "BERT4Rec" not in notes and "budget" not in notes
