"""Quality and cost together, from tables whose answer is known."""

import pandas as pd
import pytest
from builders import REPORT, SEEDS, THREE, curves_of, grid, measurement, training, write_grid
from test_glance import cells

from seqbench.analysis import collect
from seqbench.analysis.collect import Tables
from seqbench.report import reach, tradeoff, versus

pytestmark = pytest.mark.slow


def cost(model, median, **changes):
    """A row of `efficiency`: a training step on a dataset, unless it is said otherwise."""
    base = {"track": "matched", "machine_name": "m", "device": "cpu", "device_kind": "cpu", "dataset": "toy", "seq_len": 50,
            "n_items": 300, "curve": None, "fixed": None, "sequences": None, "threads": 1, "phase": "train", "metric": "step_s", "backend": "numba", "batch_size": 2048, "precision": "fp32"}  # fmt: skip
    row = base | changes
    job = f"{row['dataset']}/L{row['seq_len']}/{row['machine_name']}"
    quartiles = {"q25": 0.99 * median, "q75": 1.01 * median}
    return quartiles | row | {"model": model, "median": median, "path": f"{job}/{model}"}


def comparison(comparator, verdicts, seq_len=50, seeds=3):
    return [
        {"track": "matched", "dataset": "toy", "seq_len": seq_len, "metric": "ndcg@10", "seen_items": seen_items, "verdict": verdict,
         "model_a": "mamba4rec", "model_b": comparator, "mean_a": 0.1, "mean_b": 0.08, "difference": 0.02, "ci_low": 0.01,
         "ci_high": 0.04, "p_margin": 0.001, "trained_seeds": seeds}
        for seen_items, verdict in zip(("kept", "excluded"), verdicts, strict=True)
    ]  # fmt: skip


def tables(comparisons, costs, crossovers=()):
    models = {"mamba4rec", *(row["model_b"] for row in comparisons)}
    experiments = [
        {"model": m, "track": "matched", "dataset": "toy", "seq_len": row["seq_len"], "kind": "train", "status": "ok", "trained": True,
         "targets_per_step": 2048, "precision": "fp32", "hyperparameters": "{}", "still_improving": False, "path": f"{m}/L{row['seq_len']}"}
        for m in models for row in comparisons or [{"seq_len": 50}]
    ]  # fmt: skip
    rows = {"comparisons": comparisons, "efficiency": costs, "crossovers": crossovers, "experiments": experiments}  # fmt: skip
    frames = {name: pd.DataFrame(list(found)) for name, found in rows.items()}
    return Tables(
        frames
        | {
            "summary": pd.DataFrame(),
            "contrasts": pd.DataFrame(),
            "curves": pd.DataFrame(),
            "effectiveness": pd.DataFrame(),
        },
        {"toy": {"n_items": 300}},
        REPORT,
    )


WINDOWS = {
    "dataset": "full-length",
    "curve": "length-at-constant-batch",
    "fixed": "8 sequences a batch, 300 items",
    "sequences": 8,
}


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
    assert windows[0].text == "full windows of L = 50"
    assert (windows[-1].text, windows[-1].detail) == ("SASRec", "Mamba4Rec ×2.00")


NO_COST = ("nothing", "another curve", "failures")


def without_cost(left):
    """Tables of one comparison without a cost that could be used: what is left of it."""
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]
    if left == "another curve":
        costs = [{**row, "curve": "catalogue-size"} for row in costs]
    content = tables(comparison("sasrec", ("better", "better")), [] if left == "nothing" else costs)
    if left == "failures":
        content.frames["efficiency"]["median"] = float("nan")
    return content


@pytest.mark.parametrize("left", NO_COST)
def test_without_a_usable_cost_nothing_is_said_and_nothing_breaks(left):
    content = without_cost(left)
    assert tradeoff.choice(content, "matched").rows == tradeoff.multiples(content).rows == []
    assert list(reach.sentences(content)) == [] and reach.table(content, "matched").rows == []


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
    assert [row[0].text for row in table.rows] == ["toy, L = 50", "full windows of L = 3,200"]
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


def test_multiples_are_ranges_on_the_data_and_ends_of_the_curve(made):
    table = tradeoff.multiples(made)
    ratios = versus.ratios(made)
    found = cells(table)
    assert {key[1].split(": ")[0] for key in found} == {
        "toy, L = 50", "full windows of L = 50, 8 sequences a batch, 1,000 items",
        "full windows of L = 3,200, 8 sequences a batch, 1,000 items",
    }  # fmt: skip
    assert not any("memory" in key[1] for key in found)  # resident memory is not the model's
    for (_, row, column), cell in found.items():
        part = ratios[
            (ratios.comparator == column.lower()) & ratios.what.isin(["step_s", "batch_s"])
        ]
        part = part[part.phase == ("train" if "training step" in row else "inference")]
        part = (
            part[part.curve.isna()]
            if row.startswith("toy")
            else part[part.curve == "length-at-constant-batch"]
        )
        length = int(row.partition("L = ")[2].split(":")[0].partition(", ")[0].replace(",", "") if row.startswith("toy") else {"5": "50", "3": "3200"}[row.partition("L = ")[2][0]])  # fmt: skip
        (ratio,) = part[part.seq_len == length].ratio
        assert cell.value == pytest.approx(ratio)
        (high,) = part[part.seq_len == length].ratio_high
        assert (cell.mark == "best") == (high < 1)


def test_several_places_are_a_range():
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]
    costs += [cost("mamba4rec", 3.0, seq_len=100), cost("sasrec", 2.0, seq_len=100)]
    found = cells(tradeoff.multiples(tables([], costs)))
    (cell,) = found.values()
    assert next(iter(found))[1] == "2 places: training step, 2,048 targets"
    assert (cell.text, cell.mark) == ("0.500 to 1.50", "")


def test_whose_steps_predict_fewer_targets_is_told_where_it_matters():
    for comparator, told in (("sasrec", False), ("bert4rec", True)):
        found = tradeoff.multiples(tables([], [cost("mamba4rec", 1.0), cost(comparator, 2.0)]))
        assert any("predicts only a part" in note for note in found.notes) == told
