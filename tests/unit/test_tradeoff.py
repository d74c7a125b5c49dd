"""Quality and cost together, from tables whose answer is known."""

import pytest
from builders import REPORT, SEEDS, THREE, curves_of, grid, measurement, training, write_grid
from frames import NO_COST, WINDOWS, comparison, cost, tables, without_cost

from seqbench.analysis import collect
from seqbench.analysis.collect import Tables
from seqbench.report import time_to_quality, tradeoff, versus

pytestmark = pytest.mark.slow


def test_of_two_curves_the_larger_batch_is_met():
    larger = {
        **WINDOWS,
        "fixed": "256 sequences a batch, 300 items",
        "sequences": 256,
        "machine_name": "m",
    }
    costs = [cost("mamba4rec", 1.0, **WINDOWS), cost("sasrec", 2.0, **WINDOWS)]
    costs += [{**cost(m, v, **larger), "path": f"larger/{m}"} for m, v in (("mamba4rec", 9.0), ("sasrec", 3.0))]  # fmt: skip
    content = tables(comparison("sasrec", ("better", "better")), costs)
    (row,) = tradeoff.choice(content, "matched").rows
    assert (row[-1].text, row[-1].detail) == ("SASRec", "Mamba4Rec ×3.00")


def test_of_two_catalogues_one_is_met_and_nothing_is_divided_across():
    costs = [cost(m, v, **WINDOWS) for m, v in (("mamba4rec", 4.0), ("sasrec", 2.0))]
    smaller = {
        **WINDOWS,
        "n_items": 30,
        "fixed": "8 sequences a batch, 30 items",
        "machine_name": "m",
        "seq_len": 50,
    }
    costs += [{**cost(m, v, **smaller), "path": f"smaller/{m}"} for m, v in (("mamba4rec", 3.0), ("sasrec", 0.1))]  # fmt: skip
    found = tables(comparison("sasrec", ("better", "better"), seq_len=20), costs)
    windows = tradeoff.choice(found, "matched").rows[-1]
    assert windows[0].text == "synthetic full-length batches of L = 50"
    assert (windows[-1].text, windows[-1].detail) == ("SASRec", "Mamba4Rec ×2.00")


@pytest.mark.parametrize("left", NO_COST)
def test_without_a_usable_cost_nothing_is_said_and_nothing_breaks(left):
    content = without_cost(left)
    assert tradeoff.choice(content, "matched").rows == []
    assert time_to_quality.table(content, "matched").rows == []


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    trainings = [training(model=m, seed=s) for m in THREE for s in SEEDS]
    wanted = grid([*trainings, training(model="popularity")], [measurement(models=THREE), *curves_of()])  # fmt: skip
    write_grid(results, wanted)
    facts = {"toy": collect.read_dataset(results, "toy")}
    return collect.build(collect.load(wanted, results), facts, REPORT)


def test_a_choice_names_who_ranks_best_and_who_is_cheapest(made):
    table = tradeoff.choice(made, "matched")
    assert [column.text for column in table.columns[1:]] == [
        "Seen items kept", "Seen items excluded", "Fastest training step", "Fastest inference batch", "Soonest at 99 %"
    ]  # fmt: skip
    assert [row[0].text for row in table.rows] == [
        "toy, L = 50",
        "synthetic full-length batches of L = 3,200",
    ]
    assert table.rows[0][1].text == "Mamba4Rec" and table.rows[0][1].mark == "best"
    assert {cell.text for cell in table.rows[1][1:3]} == {"not measured"}
    rows = versus.costs(made)
    for at, row in ((50, table.rows[0]), (3200, table.rows[1])):
        own = rows[(rows.seq_len == at) & (rows.what == "step_s")]
        own = own[own.curve.isna()] if at == 50 else own[own.curve == "length-at-constant-batch"]
        medians = own.set_index("model")["median"]
        assert row[3].value == pytest.approx(medians.min())
        names = {"mamba4rec": "Mamba4Rec", "sasrec": "SASRec", "gru4rec": "GRU4Rec"}
        assert row[3].text == names[medians.idxmin()]
        assert ("×" in row[3].detail) == (medians.idxmin() != "mamba4rec")


def test_who_cannot_be_told_apart_stands_beside_the_best(made):
    frame = made.frames["comparisons"].copy()
    frame.loc[frame.seen_items == "excluded", "verdict"] = "inconclusive"
    changed = Tables({**made.frames, "comparisons": frame}, made.datasets, made.settings)
    row = tradeoff.choice(changed, "matched").rows[0]
    assert row[1].mark == "best"
    assert (row[2].text, row[2].mark) == ("Mamba4Rec, SASRec, GRU4Rec, Popularity", "")


def test_a_choice_without_cost_is_no_table():
    assert tradeoff.choice(tables(comparison("sasrec", ("better",) * 2), []), "matched").rows == []
