"""The tables of the front page, from records whose numbers are known."""

import numpy as np
import pytest
from builders import (
    REPORT,
    SEEDS,
    THREE,
    curve,
    curves_of,
    grid,
    measurement,
    samples,
    times,
    training,
    write_grid,
    write_measurement,
    write_training,
)

from seqbench.analysis import collect
from seqbench.core.metrics import per_user
from seqbench.report import glance

pytestmark = pytest.mark.slow


def tables_of(results, wanted, change=lambda: None):
    write_grid(results, wanted)
    change()
    entries = collect.load(wanted, results)
    return collect.build(entries, {"toy": collect.read_dataset(results, "toy")}, REPORT)


def cells(table):
    """Cells by heading, first cell and column."""
    found, heading = {}, ""
    for row in table.rows:
        if len(row) == 1:
            heading = row[0].text
            continue
        for column, cell in zip(table.columns[1:], row[1:], strict=True):
            found[heading, row[0].text, column.text] = cell
    return found


def narrowing(model, seed):
    """A curve whose gap between maskings goes from 50 % at the first look to 20 % at the chosen step, step 700."""
    points = curve(model, seed)
    for point in points:
        share = {100: 1.5, 700: 1.2}.get(point["step"], 1.3)
        ranked = point["valid"]["kept"]
        point["valid"]["excluded"] = {name: share * value for name, value in ranked.items()}
    return points


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    trainings = [training(model=m, seed=s) for m in THREE for s in SEEDS]
    trainings += [training(model="popularity"), training(model="bert4rec")]
    trainings += [training(model=m, seed=s, track="tuned") for m in THREE for s in SEEDS]
    jobs = [measurement(models=THREE), measurement(models=THREE, seq_len=200), *curves_of()]
    other = [measurement("full-length", THREE, "matched", length, 1000, "length-at-constant-batch", 32) for length in (100, 200)]  # fmt: skip
    wanted = grid(trainings, [*jobs, *other])
    change = lambda: write_training(  # noqa: E731
        results, training(model="gru4rec"), values={"curve": narrowing("gru4rec", 0)}
    )
    return tables_of(results, wanted, change)


PLACE = "toy, L = 50"


def test_quality_has_the_best_without_training_and_both_maskings(made):
    found = cells(glance.quality(made, "matched"))
    assert {key[:2] for key in found} == {(PLACE, row) for row in ("kept", "excluded", "validation: gain by masking")}  # fmt: skip
    for seen_items, row in (("kept", "kept"), ("excluded", "excluded")):
        mean = np.mean([per_user(samples("sasrec", s)[f"test/{seen_items}/rank"], "ndcg@10").mean() for s in SEEDS])  # fmt: skip
        assert found[PLACE, row, "SASRec"].value == pytest.approx(mean)
    few = {key[2]: cell.detail for key, cell in found.items() if cell.detail.endswith("1 seed")}
    assert set(few) == {"BERT4Rec"}
    assert found[PLACE, "kept", "Best without training"].text.startswith("Popularity 0.")


def test_a_lead_is_bold_only_over_models_with_enough_seeds(made):
    marks = {
        track: {key[2]: cell.mark for key, cell in cells(glance.quality(made, track)).items() if cell.mark in ("best", "lead")}
        for track in ("matched", "tuned")
    }  # fmt: skip
    assert marks == {"matched": {"Mamba4Rec": "lead"}, "tuned": {"Mamba4Rec": "best"}}


def test_a_model_alone_leads_nobody(tmp_path):
    content = tables_of(tmp_path, grid([training(seed=s) for s in SEEDS]))
    found = cells(glance.quality(content, "matched"))
    assert found[PLACE, "kept", "SASRec"].mark == "lead"


def test_a_gap_goes_from_the_first_look_to_the_chosen_step(made):
    found = cells(glance.quality(made, "matched"))
    assert found[PLACE, "validation: gain by masking", "SASRec"].text == "20 → 20 %"
    # One of three seeds narrows from 50 % to 20 %, the others stay at 20 %.
    assert found[PLACE, "validation: gain by masking", "GRU4Rec"].text == "30 → 20 %"


def test_versus_reads_every_difference_from_the_focal_models_side(made):
    rows = made.frames["summary"]
    rows = rows[(rows.track == "matched") & (rows.metric == "ndcg@10") & (rows.ties == "conservative")]  # fmt: skip
    mean = dict(zip(zip(rows.model, rows.seen_items, strict=True), rows["mean"], strict=True))
    keys = {"SASRec": "sasrec", "GRU4Rec": "gru4rec", "BERT4Rec": "bert4rec"}
    table = glance.versus(made, "matched")
    for column, cell in zip(table.columns[1:], table.rows[0][1:], strict=True):
        seen_items = {"Seen items kept": "kept", "Seen items excluded": "excluded"}[column.over]
        expected = mean["mamba4rec", seen_items] - mean[keys[column.text], seen_items]
        assert cell.value == pytest.approx(expected)


def test_cost_shows_the_longest_history_and_both_ends_of_every_curve(made):
    table = glance.cost(made, "matched", "test-machine", "cpu")
    found = cells(table)
    assert table.caption.startswith("Cost on test-machine, track matched: ")
    assert list(dict.fromkeys(key[0] for key in found)) == [
        "toy, L = 200, 2,048 targets a step, 256 users a batch, fp32, 1 thread",
        "full windows of L = 50 over 1,000 items, 400 targets a step, 8 users a batch, fp32, 1 thread",
        "full windows of L = 3,200 over 1,000 items, 25,600 targets a step, 8 users a batch, fp32, 1 thread",
        "full windows of L = 100 over 1,000 items, 3,200 targets a step, 32 users a batch, fp32, 1 thread",
        "full windows of L = 200 over 1,000 items, 6,400 targets a step, 32 users a batch, fp32, 1 thread",
    ]
    for seq_len, sequences, heading in ((100, 32, 3), (50, 8, 1)):
        job = measurement(
            "full-length", THREE, "matched", seq_len, 1000, "length-at-constant-batch", sequences
        )
        name = list(dict.fromkeys(key[0] for key in found))[heading]
        step = next(c for k, c in found.items() if k[0] == name and k[2] == "SASRec" and k[1].startswith("Training step"))  # fmt: skip
        assert step.value == pytest.approx(np.median(times(job, 1)["train/step_s"]))
        assert step.detail.startswith("IQR ")


def test_a_cost_that_was_not_measured_has_no_row(made):
    rows = {key[1] for key in cells(glance.cost(made, "matched", "test-machine", "cpu"))}
    assert not any("nergy" in row for row in rows) and len(rows) >= 4


def test_inference_alone_is_named_as_such(tmp_path):
    wanted = grid([], [measurement(models=("sasrec",))])
    job = wanted["measurements"][0]
    change = lambda: write_measurement(  # noqa: E731
        tmp_path, job, arrays={"inference/batch_s": np.ones((3, 10))}
    )
    content = tables_of(tmp_path, wanted, change)
    (heading,) = {key[0] for key in cells(glance.cost(content, "matched", "test-machine", "cpu"))}
    assert heading == "toy, L = 50, 256 users a batch, fp32, 1 thread"
