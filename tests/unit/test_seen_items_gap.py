"""What masking adds while models train: from curves whose gap is known."""

import pytest
from builders import THREE, curve, grid, plan, training, write_training
from test_answers import tables_of

from seqbench.report import seen_items_gap, versus

pytestmark = pytest.mark.slow


def shaped(entry, share):
    """A training's curve with this gap by step."""
    points = curve(entry["model"], entry["seed"])
    for point in points:
        ranked = point["valid"]["kept"]
        point["valid"]["excluded"] = {k: (1 + share(point["step"])) * v for k, v in ranked.items()}  # fmt: skip
    return points


def told(results, share, **values):
    """The point of track `matched`, whose trainings have this gap by model, step and seed."""
    wanted = plan()
    own = [e for e in wanted["trainings"] if e["model"] in THREE]

    def change():
        for entry in own:
            gap = lambda step, e=entry: share(e["model"], step, e["seed"])  # noqa: E731
            write_training(results, entry, values={"curve": shaped(entry, gap), **values})

    tables = tables_of(results, wanted, change)
    return list(seen_items_gap.brief(tables, versus.judged(tables)))


def falling(model, step, seed):
    """From 50 % at the first look, step 100, to 20 % at the chosen one, step 700, and 5 % more by seed."""
    return 0.5 - 0.3 * (step - 100) / 600 + 0.05 * seed


def test_the_gap_at_the_chosen_step_is_told_by_dataset_and_where_it_closes(tmp_path):
    gap = lambda m, step, s: 0.005 if m == "gru4rec" and step == 700 else falling(m, step, s)  # noqa: E731
    (point,) = told(tmp_path, gap)
    assert point.lead == (
        "Masking what a user has seen adds to validation NDCG@10, at the chosen step, 0 to 30 % on toy (track matched); the gap closes in"
        " 3 of 9 trainings."
    )
    assert point.details == [
        "It is narrower at the chosen step than at the first look on toy in 9 of 9, 0 to 30 % in the 9 that validation ended."
    ]


def test_a_gap_that_widens_or_stays_is_not_said_to_narrow_nor_a_budget_to_be_validation(tmp_path):
    gap = lambda m, step, s: {"sasrec": step / 1000, "gru4rec": 0.4}.get(m, falling(m, step, s))  # noqa: E731
    (point,) = told(tmp_path, gap, still_improving=True)
    assert point.lead.endswith("20 to 70 % on toy (track matched); the gap closes in none of 9 trainings.")  # fmt: skip
    assert point.details == ["It is narrower at the chosen step than at the first look on toy in 3 of 9."]  # fmt: skip


def test_a_look_without_quality_has_no_gap(tmp_path):
    """Nothing is divided by zero where a model ranks no item among the first ten."""
    wanted = plan()

    def change():
        for entry in wanted["trainings"]:
            if entry["model"] == "sasrec":
                points = shaped(entry, lambda _: 0.3)
                points[0]["valid"] = {seen_items: dict.fromkeys(row, 0.0) for seen_items, row in points[0]["valid"].items()}  # fmt: skip
                write_training(tmp_path, entry, values={"curve": points})

    tables = tables_of(tmp_path, wanted, change)
    found = seen_items_gap.shares(tables, track="matched")
    assert set(found[found.model == "sasrec"].share.round(6)) == {0.3}
    assert set(found[found.model == "mamba4rec"].share.round(6)) == {0.2}
    assert list(seen_items_gap.gaps(tables, "toy", "matched", 50))[1] == pytest.approx(("sasrec", 0.3, 0.3))  # fmt: skip


def test_nothing_is_told_without_curves(tmp_path):
    tables = tables_of(tmp_path, grid([training(model="popularity")]))
    assert not list(seen_items_gap.brief(tables, ["matched"]))
