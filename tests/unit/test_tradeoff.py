"""Quality and cost together, from tables whose answer is known."""

import pandas as pd
import pytest
from builders import SEEDS, THREE, curves_of, grid, measurement, training, write_grid
from test_glance import cells

from seqbench import collect, reach, tradeoff, versus
from seqbench.collect import Tables


def cost(model, median, **changes):
    """A row of `efficiency`: a training step on a dataset, unless it is said otherwise."""
    base = {"track": "matched", "machine_name": "m", "device": "cpu", "device_kind": "cpu", "dataset": "toy", "seq_len": 50,
            "n_items": 300, "curve": None, "fixed": None, "sequences": None, "phase": "train", "metric": "step_s", "backend": "numba", "batch_size": 2048, "precision": "fp32"}  # fmt: skip
    row = base | changes
    job = f"{row['dataset']}/L{row['seq_len']}/{row['machine_name']}"
    quartiles = {"q25": 0.99 * median, "q75": 1.01 * median}
    return quartiles | row | {"model": model, "median": median, "path": f"{job}/{model}"}


def comparison(rival, verdicts, seq_len=50, seeds=3):
    return [
        {"track": "matched", "dataset": "toy", "seq_len": seq_len, "metric": "ndcg@10", "masking": masking, "verdict": verdict,
         "model_a": "mamba4rec", "model_b": rival, "mean_a": 0.1, "mean_b": 0.08, "difference": 0.02, "ci_low": 0.01,
         "ci_high": 0.04, "trained_seeds": seeds}
        for masking, verdict in zip(("unmasked", "seen-masked"), verdicts, strict=True)
    ]  # fmt: skip


def tables(comparisons, costs, crossovers=()):
    models = {"mamba4rec", *(row["model_b"] for row in comparisons)}
    experiments = [
        {"model": m, "track": "matched", "dataset": "toy", "seq_len": row["seq_len"], "kind": "train", "status": "ok", "trained": True,
         "batch_targets": 2048, "precision": "fp32"}
        for m in models for row in comparisons or [{"seq_len": 50}]
    ]  # fmt: skip
    rows = {"comparisons": comparisons, "efficiency": costs, "crossovers": crossovers, "experiments": experiments}  # fmt: skip
    frames = {name: pd.DataFrame(list(found)) for name, found in rows.items()}
    return Tables(frames | {"summary": pd.DataFrame()}, {"toy": {"n_items": 300}}, {})


WINDOWS = {
    "dataset": "full-length",
    "curve": "batch",
    "fixed": "8 sequences a batch, 300 items",
    "sequences": 8,
}


def test_better_and_cheaper_is_counted_only_where_both_are_known():
    rows = comparison("sasrec", ("better", "inconclusive"))
    rows += comparison("sasrec", ("better", "better"), seq_len=100)
    rows += comparison("sasrec", ("better", "better"), seq_len=200)  # its cost is not known
    rows += comparison("sasrec", ("better", "better"), seq_len=400, seeds=1)  # too few seeds
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]
    costs += [cost("mamba4rec", 3.0, seq_len=100), cost("sasrec", 2.0, seq_len=100)]
    costs += [cost("mamba4rec", 1.0, seq_len=400), cost("sasrec", 2.0, seq_len=400)]
    assert tradeoff.sentences(tables(rows, costs)) == [
        "Better and cheaper at once, track matched: Mamba4Rec has a better NDCG@10, seen items ranked (masked), and a shorter training"
        " step than SASRec at 1 of 2 (0 of 2) of the places where quality and cost are known, counted by machine.",
        "On m at these places its training step takes 0.500 to 1.50 times as long as SASRec's.",
    ]
    costs += [cost(m, v, machine_name="gpu", device="A GPU", device_kind="cuda") for m, v in (("mamba4rec", 1.0), ("sasrec", 4.0))]  # fmt: skip
    first, *each = tradeoff.sentences(tables(rows, costs))
    assert "than SASRec at 2 of 3 (0 of 3)" in first
    assert each[1] == "On gpu (A GPU) at these places its training step takes 0.250 times as long as SASRec's."  # fmt: skip


def test_a_step_within_the_quartiles_is_not_cheaper():
    rows = comparison("sasrec", ("better", "better"))
    for q75, counted in ((0.999, "1 of 1 (1 of 1)"), (1.01, "0 of 1 (0 of 1)")):
        costs = [cost("mamba4rec", 0.95, q75=q75), cost("sasrec", 1.01, q25=1.0)]
        content = tables(rows, costs)
        assert f"than SASRec at {counted} of the places" in tradeoff.sentences(content)[0]
        (cell,) = cells(tradeoff.multiples(content)).values()
        assert (cell.text, cell.mark) == ("0.941", "best" if counted[0] == "1" else "")


@pytest.mark.parametrize(("n_items", "known"), [(300, True), (400, False)])
def test_windows_stand_in_only_over_an_equal_catalogue(n_items, known):
    window = {**WINDOWS, "n_items": n_items}
    costs = [cost("mamba4rec", 1.0, **window), cost("sasrec", 2.0, **window)]
    said = tradeoff.sentences(tables(comparison("sasrec", ("better", "better")), costs))
    assert len(said) == 2 * known
    if known:
        assert "than SASRec at 1 of 1 (1 of 1)" in said[0]
        assert said[1].startswith("On m at these places (full windows as long) its training step takes 0.500 times")  # fmt: skip


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
    first, said = tradeoff.sentences(content)
    assert "at 0 of 1 (0 of 1)" in first and "takes 3.00 times as long" in said
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


def test_a_job_of_another_batch_than_the_trainings_is_no_cost_of_theirs():
    """Measurements stay when the batch of a track changes; trainings are replaced."""
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]
    stale = [{**cost(m, v, batch_size=8192), "path": f"stale/{m}"} for m, v in (("mamba4rec", 9.0), ("sasrec", 3.0))]  # fmt: skip
    rows = comparison("sasrec", ("better", "better"))
    assert tradeoff.sentences(tables(rows, [*stale, *costs])) == tradeoff.sentences(tables(rows, costs))  # fmt: skip
    half = [{**row, "precision": "bf16"} for row in costs]
    assert tradeoff.sentences(tables(rows, half)) == []


@pytest.mark.parametrize("left", ["nothing", "another curve", "failures"])
def test_without_a_usable_cost_nothing_is_said_and_nothing_breaks(left):
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]
    if left == "another curve":
        costs = [{**row, "curve": "catalogue"} for row in costs]
    costs = [] if left == "nothing" else costs
    content = tables(comparison("sasrec", ("better", "better")), costs)
    if left == "failures":
        content.frames["efficiency"]["median"] = float("nan")
    assert tradeoff.sentences(content) == []
    assert tradeoff.choice(content, "matched").rows == tradeoff.multiples(content).rows == []
    content.frames["curves"] = pd.DataFrame()
    assert list(reach.sentences(content)) == [] and reach.table(content, "matched").rows == []


def crossing(rival, ends, x=None, bracketed=False, extrapolated=False):
    return {"track": "matched", "machine_name": "m", "device_kind": "cpu", "curve": "batch", "phase": "train",
            "fixed": "8 sequences a batch", "metric": "step_s", "model_a": "mamba4rec", "model_b": rival, "x": x, "low": 200.0, "high": 8192.0,
            "bracketed": bracketed, "extrapolated": extrapolated, "x_max": 8192.0, "cheaper_min": ends[0],
            "cheaper_max": ends[1]}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (crossing("sasrec", ("sasrec", "mamba4rec"), 1044.8), "than SASRec's from about L = 1,045 on"),
        (crossing("sasrec", ("sasrec", "mamba4rec"), 700, bracketed=True),
         "than SASRec's from somewhere between L = 200 and 8,192 on"),
        (crossing("sasrec", ("sasrec", "sasrec")), "than SASRec's at no length up to 8,192"),
        (crossing("sasrec", ("mamba4rec", "mamba4rec")), "than SASRec's at every length up to 8,192"),
        (crossing("sasrec", ("sasrec", "mamba4rec"), 9000, extrapolated=True), None),
        (crossing("gru4rec", ("mamba4rec", "mamba4rec")), None),
    ],
)  # fmt: skip
def test_where_it_becomes_cheaper_is_read_from_the_crossings(row, said):
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]
    _, text = tradeoff.sentences(tables(comparison("sasrec", ("better", "better")), costs, [row]))
    if said:
        assert text.endswith(f"On full windows, 8 sequences a batch, it is shorter {said}. Quality was measured up to L = 50 only.")  # fmt: skip
    else:
        assert text.endswith("times as long as SASRec's.")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    trainings = [training(model=m, seed=s) for m in THREE for s in SEEDS]
    wanted = grid([*trainings, training(model="popularity")], [measurement(models=THREE), *curves_of()])  # fmt: skip
    write_grid(results, wanted)
    facts = {"toy": collect.read_dataset(results, "toy")}
    return collect.build(collect.load(wanted, results), facts, 0.01)


def test_a_choice_names_who_ranks_best_and_who_is_cheapest(made):
    table = tradeoff.choice(made, "matched")
    assert [column.text for column in table.columns[1:]] == [
        "Seen items ranked", "Seen items masked", "Fastest training step", "Fastest inference batch"
    ]  # fmt: skip
    assert [row[0].text for row in table.rows] == ["toy, L = 50", "full windows of L = 3,200"]
    assert table.rows[0][1].text == "Mamba4Rec" and table.rows[0][1].mark == "best"
    assert {cell.text for cell in table.rows[1][1:3]} == {"not measured"}
    rows = versus.costs(made)
    for at, row in ((50, table.rows[0]), (3200, table.rows[1])):
        own = rows[(rows.seq_len == at) & (rows.what == "step_s")]
        own = own[own.curve.isna()] if at == 50 else own[own.curve == "batch"]
        medians = own.set_index("model")["median"]
        assert row[3].value == pytest.approx(medians.min())
        names = {"mamba4rec": "Mamba4Rec", "sasrec": "SASRec", "gru4rec": "GRU4Rec"}
        assert row[3].text == names[medians.idxmin()]
        assert ("×" in row[3].detail) == (medians.idxmin() != "mamba4rec")


def test_who_cannot_be_told_apart_stands_beside_the_best(made):
    frame = made.frames["comparisons"].copy()
    frame.loc[frame.masking == "seen-masked", "verdict"] = "inconclusive"
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
        part = ratios[(ratios.rival == column.lower()) & ratios.what.isin(["step_s", "batch_s"])]
        part = part[part.phase == ("train" if "training step" in row else "inference")]
        part = part[part.curve.isna()] if row.startswith("toy") else part[part.curve == "batch"]
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
    for rival, told in (("sasrec", False), ("bert4rec", True)):
        found = tradeoff.multiples(tables([], [cost("mamba4rec", 1.0), cost(rival, 2.0)]))
        assert any("predicts only those it masks" in note for note in found.notes) == told
