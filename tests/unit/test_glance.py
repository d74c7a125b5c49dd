"""The tables of the front page, from records whose numbers are known."""

import numpy as np
import pytest
from builders import (
    ENVIRONMENT,
    HASH,
    SEEDS,
    THREE,
    curves_of,
    grid,
    measurement,
    samples,
    times,
    training,
    write_grid,
    write_training,
)

from seqbench import collect, glance, pool, views
from seqbench.metrics import per_user


def tables_of(results, wanted):
    write_grid(results, wanted)
    entries = collect.load(wanted, results)
    return collect.build(entries, {"toy": collect.read_dataset(results, "toy")}, 0.01)


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


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    trainings = [training(model=m, seed=s) for m in THREE for s in SEEDS]
    trainings += [training(model="popularity"), training(model="bert4rec")]
    jobs = [measurement(models=THREE), measurement(models=THREE, seq_len=200), *curves_of()]
    return tables_of(tmp_path_factory.mktemp("results"), grid(trainings, jobs))


def test_quality_has_a_row_per_place_and_the_best_without_training(made):
    found = cells(glance.quality(made, "unmasked"))
    assert {key[:2] for key in found} == {("Track matched", "toy, L = 50")}
    at = ("Track matched", "toy, L = 50")
    mean = np.mean([per_user(samples("sasrec", s)["test/unmasked/rank"], "ndcg@10").mean() for s in SEEDS])  # fmt: skip
    assert found[*at, "SASRec"].value == pytest.approx(mean)
    assert found[*at, "SASRec"].detail.startswith("[") and "seed" not in found[*at, "SASRec"].detail
    assert found[*at, "BERT4Rec"].detail.endswith(", 1 seed")
    assert found[*at, "Best without training"].text.startswith("Popularity 0.")
    marks = {key[2]: cell.mark for key, cell in found.items() if cell.mark}
    assert set(marks) == {"Mamba4Rec"}
    assert marks["Mamba4Rec"] == "lead"  # BERT4Rec has one seed: not established over it


def test_each_masking_has_its_own_values(made):
    ranked, masked = (
        cells(glance.quality(made, m))["Track matched", "toy, L = 50", "SASRec"].value
        for m in views.MASKINGS
    )
    assert ranked < masked


def test_gaps_are_those_of_the_curves(made):
    found = cells(glance.gaps(made))
    # The stand-ins' masked validation is 1.2 times the other, at every step.
    assert {cell.text for cell in found.values()} == {"20 → 20 %"}


def test_cost_shows_the_longest_history_and_both_ends_of_the_curve(made):
    found = cells(glance.cost(made))
    headings = list(dict.fromkeys(key[0] for key in found))
    workloads = [heading.split(", ", 2)[2] for heading in headings]
    assert all(heading.startswith("test-machine, track matched, ") for heading in headings)
    assert workloads == [
        "toy, L = 200, 2,048 targets a step, 256 users a batch",
        "full windows of L = 50 over 1,000 items, 400 targets a step, 8 users a batch",
        "full windows of L = 3,200 over 1,000 items, 25,600 targets a step, 8 users a batch",
    ]
    entry = measurement(models=THREE, seq_len=200)
    median = np.median(times(entry, 1)["train/step_s"])
    step = next(cell for key, cell in found.items() if key[0] == headings[0] and key[2] == "SASRec" and key[1].startswith("Training step"))  # fmt: skip
    assert step.value == pytest.approx(median)
    assert step.detail.startswith("IQR ")


def test_a_cost_that_was_not_measured_has_no_row(made):
    assert not any("nergy" in key[1] for key in cells(glance.cost(made)))


def test_repeats_on_another_machine_are_held_beside_each_other(tmp_path):
    wanted = grid([training(seed=s) for s in SEEDS])
    content = tables_of(tmp_path, wanted)
    other = {"machine": "f" * 12, "machine_name": "other"}
    for seed in (0, 1):
        arrays = samples("sasrec", seed)
        arrays["test/unmasked/rank"] = arrays["test/unmasked/rank"] + np.int32(1 + seed)
        entry = training(seed=seed)
        write_training(tmp_path / "other", entry, arrays=arrays, environment=ENVIRONMENT | other)
    machines = {"test-machine": collect.published(tmp_path), "other": collect.published(tmp_path / "other")}  # fmt: skip
    found = pool.pool(machines, {name: {"toy": {"hash": HASH}} for name in machines})
    table = glance.repeats(content, found)
    differences = [row[3].value for row in table.rows if len(row) > 1]
    ranks = [samples("sasrec", s)["test/unmasked/rank"] for s in (0, 1)]
    expected = [
        per_user(r + 1 + s, "ndcg@10").mean() - per_user(r, "ndcg@10").mean()
        for s, r in enumerate(ranks)
    ]
    assert differences == pytest.approx(expected)
    spread = np.sqrt(np.mean(np.square(expected)) / 2)
    note = glance.repeated(content, found)
    assert note == table.notes[0]
    assert note.startswith("2 trainings of test-machine were repeated on other: there test NDCG@10 differs by −")  # fmt: skip
    assert f"one run between machines is {spread:.4f}, between seeds of these models 0." in note
    origin = cells(glance.origins(found))["Track matched", "toy, L = 50", "SASRec"]
    assert origin.text == "test-machine (0, 1, 2)"


def test_nothing_repeated_is_nothing_said(tmp_path):
    content = tables_of(tmp_path, grid([training(seed=s) for s in SEEDS]))
    found = pool.pool({"m": collect.published(tmp_path)}, {"m": {"toy": {"hash": HASH}}})
    assert glance.repeated(content, found) == "" and not glance.repeats(content, found).rows
