"""The answer at a glance, from tables whose answer is known."""

import pytest
from frames import (
    NO_COST,
    PRICES,
    VALIDATIONS,
    WINDOWS,
    comparison,
    cost,
    pair,
    tables,
    trained,
    verdicts,
    without_cost,
)

from seqbench.report import scorecard, versus

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


def texts(content, name):
    """Texts of the cells whose row ends so, by row and comparator."""
    return {key: cell.text for key, cell in card(content).items() if key[0].endswith(name)}


# --- quality ------------------------------------------------------------------------------------------------------------


def test_places_are_counted_by_verdict_from_the_focal_models_side():
    rows = pair("matched", "mamba4rec", "sasrec", ("better", "inconclusive"))
    rows += pair("matched", "sasrec", "mamba4rec", ("worse", "better"), seq_len=100)
    rows += pair("matched", "gru4rec", "mamba4rec", ("equivalent", "worse"))
    content = verdicts(rows)
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
        "Mamba4Rec against each other model, track matched: 2 conditions on 1 dataset with at least 3 seeds"
    )


def test_what_is_not_better_is_told_by_verdict():
    rows = pair("matched", "mamba4rec", "sasrec", ("better", "better"))
    rows += pair("matched", "mamba4rec", "sasrec", ("inconclusive", "better"), seq_len=100)
    cell = card(verdicts(rows))["Better NDCG@10, seen items kept", "SASRec"]
    assert (cell.text, cell.detail, cell.mark) == ("1 of 2", "inconclusive at 1", "")


def test_baselines_and_few_seeds_are_not_counted():
    rows = pair("matched", "mamba4rec", "popularity", ("better", "better"))
    rows += pair("paper", "mamba4rec", "sasrec", ("better", "better"), seeds=2)
    rows += pair("matched", "mamba4rec", "sasrec", ("better", "better"), seeds=2)
    rows += pair("matched", "mamba4rec", "sasrec", ("equivalent", "better"), seq_len=100)
    content = verdicts(rows)
    assert versus.judged(content) == ["matched"]
    assert scorecard.table(content, "paper").rows == []
    found = card(content)
    assert {comparator for _, comparator in found} == {"SASRec"}
    assert found["Better NDCG@10, seen items kept", "SASRec"].text == "0 of 1"
    assert found["Better NDCG@10, seen items excluded", "SASRec"].text == "1 of 1"


# --- quality and cost ---------------------------------------------------------------------------------------------------


def test_better_and_cheaper_is_counted_only_where_both_are_known():
    rows = comparison("sasrec", ("better", "inconclusive"))
    rows += comparison("sasrec", ("better", "better"), seq_len=100)
    rows += comparison("sasrec", ("better", "better"), seq_len=200)  # its cost is not known
    rows += comparison("sasrec", ("better", "better"), seq_len=400, seeds=1)  # too few seeds
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]
    costs += [cost("mamba4rec", 3.0, seq_len=100), cost("sasrec", 2.0, seq_len=100)]
    costs += [cost("mamba4rec", 1.0, seq_len=400), cost("sasrec", 4.0, seq_len=400)]
    found = card(tables(rows, costs))
    assert (
        found["m: 3 conditions: Training step", "SASRec"].text == "0.250 to 1.50"
    )  # also few seeds
    assert found["m: 3 conditions: Better and with a shorter step at once", "SASRec"].text == "1 of 2 (0)"  # fmt: skip
    gpu = {"machine_name": "gpu", "device": "A GPU", "device_kind": "cuda"}
    costs += [cost(m, v, **gpu) for m, v in (("mamba4rec", 1.0), ("sasrec", 4.0))]
    costs += [cost(m, v, metric="peak_allocated_bytes", **gpu) for m, v in (("mamba4rec", 3.0), ("sasrec", 2.0))]  # fmt: skip
    found = {key[0]: cell for key, cell in card(tables(rows, costs)).items() if "gpu" in key[0]}
    assert {key: (cell.text, cell.mark) for key, cell in found.items()} == {
        "gpu (A GPU): 1 condition: Training step": ("0.250", "best"),
        "gpu (A GPU): 1 condition: Peak memory of training": ("1.50", ""),
        "gpu (A GPU): 1 condition: Better and with a shorter step at once": ("1 of 1 (0)", ""),
    }


def test_a_step_within_the_quartiles_is_not_cheaper():
    rows = comparison("sasrec", ("better", "better"))
    for q75, counted in ((0.999, "1 of 1 (1)"), (1.01, "0 of 1 (0)")):
        costs = [cost("mamba4rec", 0.95, q75=q75), cost("sasrec", 1.01, q25=1.0)]
        content = tables(rows, costs)
        assert (
            card(content)["m: 1 condition: Better and with a shorter step at once", "SASRec"].text
            == counted
        )
        cell = card(content)["m: 1 condition: Training step", "SASRec"]
        assert (cell.text, cell.mark) == ("0.941", "best" if counted[0] == "1" else "")


@pytest.mark.parametrize(("n_items", "known"), [(300, True), (400, False)])
def test_windows_stand_in_only_over_an_equal_catalogue(n_items, known):
    window = {**WINDOWS, "n_items": n_items}
    costs = [cost("mamba4rec", 1.0, **window), cost("sasrec", 2.0, **window)]
    content = tables(comparison("sasrec", ("better", "better")), costs)
    found = texts(content, "Training step")
    assert list(found.values()) == ["0.500"] * known
    assert (
        list(found)
        == [("m: 1 condition by synthetic full-length batches: Training step", "SASRec")] * known
    )


def test_places_measured_otherwise_are_told_apart():
    """One condition on its dataset, one only by full-length batches; what the dataset lacks is not filled up by windows."""
    rows = comparison("sasrec", ("better", "better")) + comparison("sasrec", ("better", "better"), seq_len=100)  # fmt: skip
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]
    for seq_len in (50, 100):
        costs += [cost(m, v, **WINDOWS, seq_len=seq_len) for m, v in (("mamba4rec", 6.0), ("sasrec", 2.0))]  # fmt: skip
        costs += [cost(m, v, **WINDOWS, seq_len=seq_len, phase="inference", metric="batch_s") for m, v in (("mamba4rec", 8.0), ("sasrec", 2.0))]  # fmt: skip
    found = card(tables(rows, costs))
    over = "m: 2 conditions, 1 of them by synthetic full-length batches: "
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
    assert not texts(tables(rows, half), "Training step")


@pytest.mark.parametrize("left", NO_COST)
def test_without_a_usable_cost_only_quality_is_told(left):
    content = without_cost(left)
    assert {key[0].partition(",")[0] for key in card(content)} == {"Better NDCG@10", "Difference"}


# --- quality and the training that it takes -----------------------------------------------------------------------------


def test_the_training_until_a_quality_is_told_by_place():
    """SASRec's .0990: Mamba4Rec is there after 200, 300 and 200 steps of .2 s, SASRec after 400, 300 and 400 of .2 s."""
    looks = {**VALIDATIONS, "gru4rec": ([0.01, 0.0995], [0.01], [0.01])}
    content = trained(looks, [cost("mamba4rec", 0.2), *PRICES[1:]])
    found = {key[1]: cell for key, cell in card(content).items() if "Training until 99 %" in key[0]}
    ratio = (200 + 300 + 200) / (400 + 300 + 400)
    assert (found["SASRec"].text, found["SASRec"].detail) == (f"{ratio:.3f}", "both at 1 of 1")
    assert found["SASRec"].mark == ""  # its slowest seed takes as long as SASRec's fastest
    cell = found["GRU4Rec"]
    assert (cell.text, cell.detail, cell.mark) == ("only Mamba4Rec", "at 1 of 1", "")
    faster = trained(looks, [cost("mamba4rec", 0.05), *PRICES[1:]])
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
    looks = {**VALIDATIONS, "mamba4rec": VALIDATIONS["gru4rec"], "gru4rec": ([0.01],) * 3}
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
    content = trained(VALIDATIONS, [cost("mamba4rec", 0.2), *PRICES[1:]])
    found = {key[0].partition("sooner at ")[2]: cell.text for key, cell in card(content).items() if "sooner" in key[0] and key[1] == "SASRec"}  # fmt: skip
    assert found == {"95 % at once": "1 of 1 (1)", "99 % at once": "0 of 1 (0)"}


def test_fewer_predictions_are_told_where_a_comparator_makes_them():
    for comparator, told in (("sasrec", False), ("bert4rec", True)):
        content = tables(comparison(comparator, ("better",) * 2), [])
        notes = scorecard.table(content, "matched").notes
        assert any("BERT4Rec" in note for note in notes) == told
