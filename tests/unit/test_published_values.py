"""Published values beside ours: like with like, verdicts by the interval, and reasons from the records."""

import pandas as pd
import pytest
import yaml
from builders import SEEDS, grid, training, write_grid, write_training
from frames import published_value

from seqbench.analysis import collect
from seqbench.core.errors import UserError
from seqbench.report import published_values

pytestmark = pytest.mark.slow


def tables_of(results, **values):
    wanted = grid([training(model="sasrec", seed=s) for s in SEEDS])
    path = write_grid(results, wanted)
    for entry in wanted["trainings"]:
        write_training(results, entry, values=values)
    collect.collect(path, results, results / "tables")
    return collect.read(results / "tables")


def ours(tables, seen_items="kept", metric="ndcg@10"):
    rows = tables.frames["summary"]
    keys = (rows.seen_items == seen_items) & (rows.metric == metric) & (rows.ties == "conservative")
    return rows[keys].iloc[0]


@pytest.mark.parametrize(("which", "expected"), [("ci_low", "above"), ("mean", "reached"), ("ci_high", "below")])  # fmt: skip
def test_the_interval_decides(tmp_path, which, expected):
    tables = tables_of(tmp_path)
    published = ours(tables)[which] + {"above": -0.001, "reached": 0, "below": 0.001}[expected]
    (held,) = published_values.held(tables, [published_value(**{"ndcg@10": published})])
    assert held.verdict == expected


def test_like_is_held_against_like(tmp_path):
    tables = tables_of(tmp_path)
    between = (ours(tables).ci_high + ours(tables, "excluded").ci_low) / 2
    assert ours(tables).ci_high < between < ours(tables, "excluded").ci_low
    found = published_values.held(
        tables, [published_value(**{"ndcg@10": between, "seen_items": m}) for m in ("kept", "excluded", "unknown")]
    )  # fmt: skip
    assert [held.verdict for held in found] == ["below", "above", None]


def test_a_wide_interval_alone_reaches_nothing(tmp_path):
    """Seeds of which one did not train have an interval that holds nearly everything."""
    tables = tables_of(tmp_path)
    frame = tables.frames["summary"]
    tables.frames["summary"] = frame.assign(ci_low=0.0, ci_high=1.0)
    mean = ours(tables)["mean"]
    values = [published_value(**{"ndcg@10": factor * mean}) for factor in (1.10, 1.12, 0.5)]
    assert [h.verdict for h in published_values.held(tables, values)] == ["reached", "inconclusive", "reached"]  # fmt: skip


def test_hr_decides_where_only_hr_was_published(tmp_path):
    tables = tables_of(tmp_path)
    value = ours(tables, metric="hr@10")["mean"]
    (held,) = published_values.held(tables, [published_value(**{"ndcg@10": None, "hr@10": value})])
    assert (held.metric, held.verdict) == ("hr@10", "reached")


def test_values_of_models_that_were_not_run_are_left_out(tmp_path):
    tables = tables_of(tmp_path)
    others = [
        published_value(model="bert4rec"),
        published_value(dataset="other"),
        published_value(seq_len=200),
    ]
    assert published_values.held(tables, others) == []
    assert published_values.table(tables, others).rows == []


def test_the_table_shows_kept_and_excluded_and_marks_the_other_one(tmp_path):
    tables = tables_of(tmp_path)
    table = published_values.table(tables, [published_value(seen_items="excluded")])
    (_, row) = table.rows
    assert [cell.mark for cell in row[4:6]] == ["muted", ""]
    assert len(row) == len(table.columns)


def test_every_place_has_its_own_rows(tmp_path):
    tables = tables_of(tmp_path)
    rows = tables.frames["summary"]
    tables.frames["summary"] = pd.concat([rows, rows.assign(seq_len=100)])
    only_hr = published_value(**{"ndcg@10": None})
    found = published_values.table(
        tables, [published_value(), published_value(seen_items="unknown", seq_len=100), only_hr]
    ).rows
    assert [row[0].text for row in found if len(row) == 1] == [
        "toy, L = 50: ours is NDCG@10", "toy, L = 100: ours is NDCG@10"
    ]  # fmt: skip
    assert [len(row) > 1 for row in found] == [False, True, True, False, True]
    assert found[4][6].text == "above" and found[1][6].text == "above"
    assert found[1][4].text[0].isdigit() and found[2][4].text.startswith("HR@10 ")


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, "above"), (0.5, None), (1.0, "below")]
)  # of the way from below the lower of our two intervals to above the higher one
def test_where_a_source_does_not_say_how_it_ranks_both_of_ours_decide(tmp_path, share, expected):
    tables = tables_of(tmp_path)
    low, high = (ours(tables, seen_items) for seen_items in ("kept", "excluded"))
    assert low.ci_high < high.ci_low
    ends = (low.ci_low - 0.001, high.ci_high + 0.001)
    published = published_value(
        seen_items="unknown", **{"ndcg@10": ends[0] + share * (ends[1] - ends[0])}
    )
    (held,) = published_values.held(tables, [published])
    assert held.verdict == expected and held.ours["mean"] == high["mean"]
    row = published_values.table(tables, [published]).rows[1]
    assert (row[1].text, row[6].text) == ("not said", expected or "–")


def test_the_file_of_the_project_is_sound():
    found = published_values.read()
    assert {a["model"] for a in found} == {"mamba4rec", "sasrec", "bert4rec", "gru4rec"}
    assert all(
        a["hr@10"] is None or a["ndcg@10"] is None or a["hr@10"] > a["ndcg@10"] for a in found
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seen_items": "both"}, "published_values[0].seen_items = both: must be one of kept, excluded, unknown"),
        ({"hr@10": 31.2}, "published_values[0].hr@10 = 31.2: must lie between 0 and 1"),
        ({"year": 2024}, "published_values[0].year is unknown"),
        ({"source": ...}, "published_values[0].source is missing"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_one_line(tmp_path, changes, words):
    content = {k: v for k, v in published_value(**changes).items() if v is not ...}
    file = tmp_path / "published_values.yaml"
    file.write_text(yaml.safe_dump({"published_values": [content]}))
    with pytest.raises(UserError) as error:
        published_values.read(file)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_is_far_below_only_where_no_judged_track_is_near(tmp_path, monkeypatch):
    tables = tables_of(tmp_path)
    mean = ours(tables)["mean"]
    rows = tables.frames["summary"]
    tables.frames["summary"] = pd.concat([rows, rows.assign(track="tuned", mean=rows["mean"] * 2)])
    values = [
        published_value(**{"ndcg@10": min(0.99, 1.8 * mean)}),
        published_value(**{"ndcg@10": mean}),
    ]
    monkeypatch.setattr(published_values, "read", lambda: values)
    assert list(published_values.far_below(tables, ["matched"])) == [("sasrec", "toy", 50)]
    assert list(published_values.far_below(tables, ["matched", "tuned"])) == []
