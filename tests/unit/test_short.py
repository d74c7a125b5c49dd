"""The answer in a sentence and a table, from tables whose answer is known."""

import pandas as pd
import pytest
from frames import (
    NO_COST,
    PRICES,
    VALIDATIONS,
    WINDOWS,
    comparison,
    cost,
    crossing,
    pair,
    published_value,
    tables,
    trained,
    verdicts,
    without_cost,
)

from seqbench.report import published_values, short, time_to_quality

pytestmark = pytest.mark.slow

GPU = {"machine_name": "gpu", "device": "A GPU", "device_kind": "cuda"}
MEMORY = {"metric": "peak_allocated_bytes"}
LONG = {**WINDOWS, "seq_len": 8192}


def costs(values, **changes):
    return [cost(model, value, **changes) for model, value in values.items()]


def by_part(content):
    """Texts of the cells by heading and row; the columns' names once."""
    table, found, over = short.table(content), {}, ""
    for row in table.rows:
        if len(row) == 1:
            over = row[0].text
        else:
            found[over, row[0].text] = [cell.text for cell in row[1:]]
    return [column.text for column in table.columns[1:]], found


def test_who_is_never_beaten_in_both_is_said_in_one_breath():
    rows = [
        *comparison("sasrec", ("better", "better")),
        *comparison("bert4rec", ("better", "inconclusive")),
        *comparison("gru4rec", ("better", "inconclusive")),
    ]
    own = {"mamba4rec": 3.0, "sasrec": 2.0, "bert4rec": 1.0, "gru4rec": 4.0}
    better, at_once = short.answer(tables(rows, costs(own)))
    assert str(better) == (
        "- **Quality,** in brackets with seen items excluded: Mamba4Rec ranks better in NDCG@10 than SASRec in 1 of 1 (1), than"
        " BERT4Rec in 1 of 1 (0), than GRU4Rec in 1 of 1 (0) comparisons, worse in none."
    )
    assert str(at_once) == (
        "- **Quality and cost at once,** up to L = 50: better with a shorter training step on m (a CPU) than SASRec and BERT4Rec in none of 2"
        " comparisons, than GRU4Rec in 1 of 1 (0)."
    )
    faster = costs({"mamba4rec": 1.0, "sasrec": 2.0}, **GPU)
    _, at_once = short.answer(tables(rows, [*costs(own), *faster]))
    assert str(at_once).endswith("; on gpu (A GPU) than SASRec in 1 of 1 (1).")
    windows = costs({"mamba4rec": 1.0, "sasrec": 2.0}, **GPU, **WINDOWS)
    _, at_once = short.answer(tables(rows, [*costs(own), *windows]))
    assert str(at_once).endswith("; on gpu (A GPU), by synthetic full-length batches, than SASRec in 1 of 1 (1).")  # fmt: skip


def test_from_which_length_on_a_step_stays_shorter_is_said_beside_where_quality_ends():
    rows = [*comparison("sasrec", ("better", "worse")), *comparison("gru4rec", ("better", "better"))]  # fmt: skip
    ends = ("sasrec", "mamba4rec")
    curves = [
        crossing("sasrec", ends, 967, curve="length-at-constant-tokens"),
        crossing("sasrec", ends, 1045),
    ]
    curves += [crossing("gru4rec", ("gru4rec", "mamba4rec"), 2611, curve="length-at-constant-tokens"), crossing("gru4rec", ("gru4rec",) * 2)]  # fmt: skip
    found = costs({"mamba4rec": 3.0, "sasrec": 2.0, "gru4rec": 2.0})
    better, _, longer = short.answer(tables(rows, found, curves))
    assert str(better).endswith("than SASRec in 1 of 1 (0), than GRU4Rec in 1 of 1 (1) comparisons, worse in 0 of 2 (1).")  # fmt: skip
    assert str(longer) == (
        "- **Longer histories,** quality measured up to L = 50: on synthetic full-length batches its training step stays shorter on m (a CPU) than SASRec's from"
        " L = 967 or 1,045 on, GRU4Rec's from L = 2,611 on along 1 of 2 curves."
    )


def test_the_table_has_a_row_per_track_machine_and_kind_of_length():
    rows = [
        *comparison("sasrec", ("better", "better")),
        *comparison("gru4rec", ("worse", "better")),
    ]
    rows += comparison("sasrec", ("better", "inconclusive"), seq_len=100)
    found = [*costs({"mamba4rec": 3.0, "sasrec": 2.0, "gru4rec": 4.0})]
    found += costs({"mamba4rec": 2.0, "sasrec": 2.0}, seq_len=100)
    found += costs({"mamba4rec": 1.0, "sasrec": 4.0}, **LONG)
    found += costs({"mamba4rec": 1.0, "sasrec": 8.0}, **WINDOWS)  # not beyond the conditions
    found += costs({"mamba4rec": 5.0, "sasrec": 4.0}, **GPU, **MEMORY)
    found += costs({"mamba4rec": 5.0, "sasrec": 4.0}, metric="peak_rss_bytes")  # says nothing
    names, parts = by_part(tables(rows, found))
    step = "Its training step, as a multiple of the other's"
    assert names == ["SASRec", "GRU4Rec"]
    assert parts == {
        ("Conditions where it ranks better (NDCG@10)", "matched"): ["2 of 2 (1)", "0 of 1 (1)"],
        (step, "matched, L ≤ 100 (2 conditions), m (a CPU)"): ["1.00 to 1.50", "0.750"],
        (step, "matched, L = 8,192 (synthetic full-length batches), m (a CPU)"): ["0.250", "–"],
        (
            "Its peak memory of training, as a multiple of the other's",
            "matched, L ≤ 50 (1 condition), gpu (A GPU)",
        ): ["1.25", "–"],
        ("Better and with a shorter training step", "matched, m (a CPU)"): [
            "0 of 2 (0)",
            "0 of 1 (1)",
        ],
    }
    marks = [cell.mark for row in short.table(tables(rows, found)).rows for cell in row[1:]]
    assert marks.count("best") == 2  # shorter than GRU4Rec's, and on windows than SASRec's
    (worse,) = (c for row in short.table(tables(rows, found)).rows for c in row if c.detail)
    assert worse.detail == "worse in 1 of 1 (0)"


def test_of_several_curves_the_largest_batch_ends_the_row():
    larger = {**LONG, "fixed": "256 sequences a batch, 300 items", "sequences": 256}
    found = [*costs({"mamba4rec": 1.0, "sasrec": 1.0}), *costs({"mamba4rec": 1.0, "sasrec": 2.0}, **LONG)]  # fmt: skip
    found += [{**row, "path": f"larger/{row['model']}"} for row in costs({"mamba4rec": 3.0, "sasrec": 1.0}, **larger)]  # fmt: skip
    _, parts = by_part(tables(comparison("sasrec", ("better", "better")), found))
    assert [cells for (_, row), cells in parts.items() if "8,192" in row] == [["3.00"]]


def test_tracks_are_added_in_the_sentence_and_apart_in_the_table():
    rows = pair("tuned", "mamba4rec", "sasrec", ("better", "worse"))
    rows += pair("matched", "mamba4rec", "sasrec", ("better", "better"))
    rows += pair("paper", "mamba4rec", "sasrec", ("better", "better"), seeds=2)  # not judged
    _, parts = by_part(verdicts(rows))
    assert parts == {
        ("Conditions where it ranks better (NDCG@10)", "matched"): ["1 of 1 (1)"],
        ("Conditions where it ranks better (NDCG@10)", "tuned"): ["1 of 1 (0)"],
    }
    assert [track for _, track in parts] == ["matched", "tuned"]
    assert [point.lead for point in short.answer(verdicts(rows))] == [
        "Quality,"
    ]  # nothing is known of cost


def test_sooner_is_counted_where_the_time_is_known():
    content = trained(VALIDATIONS, [cost("mamba4rec", 0.05), *PRICES[1:]])
    _, parts = by_part(content)
    title = f"Better and sooner at {time_to_quality.goal(time_to_quality.SHARES[-1])}"
    assert parts[title, "matched, m (a CPU)"] == ["1 of 1 (1)", "1 of 1 (1)"]


def test_what_a_count_does_not_show_is_remarked_only_where_it_is_so():
    """BERT4Rec's fewer predictions."""
    rows = [*comparison("sasrec", ("better", "better")), *comparison("bert4rec", ("better", "better"))]  # fmt: skip
    content = tables(rows, costs({"mamba4rec": 1.0, "sasrec": 2.0}))
    assert len(short.table(content).notes) == 2
    content = tables(rows, costs({"mamba4rec": 1.0, "bert4rec": 2.0}))
    assert short.table(content).notes[2:] == [
        "A training step of BERT4Rec predicts only a part of the targets that the others predict."
    ]


@pytest.mark.parametrize("left", NO_COST)
def test_without_a_usable_cost_there_is_quality_alone(left):
    content = without_cost(left)
    assert [point.lead for point in short.answer(content)] == ["Quality,"]
    assert [over for over, _ in by_part(content)[1]] == [
        "Conditions where it ranks better (NDCG@10)"
    ]
    assert short.caution(content) == "What it holds for: quality was measured up to L = 50."


def test_where_nothing_is_judged_nothing_is_said():
    content = tables(comparison("sasrec", ("better", "better"), seeds=2), costs({"mamba4rec": 1.0, "sasrec": 2.0}))  # fmt: skip
    assert short.answer(content) == [] and short.caution(content) == ""
    assert short.table(content).rows == short.table(content).notes == []
    empty = tables([], [])
    assert short.answer(empty) == short.table(empty).rows == [] and short.caution(empty) == ""


def test_what_it_holds_for_names_budgets_weak_models_and_a_lone_cpu(monkeypatch):
    content = tables(comparison("sasrec", ("better", "better")), costs({"mamba4rec": 1.0, "sasrec": 2.0}))  # fmt: skip
    ended = content.frames["experiments"].drop_duplicates().assign(still_improving=[True, False])
    content.frames["experiments"] = ended
    content.frames["summary"] = pd.DataFrame(
        [{"track": "matched", "dataset": "toy", "seq_len": 50, "model": "sasrec", "seen_items": "kept", "metric": "ndcg@10",
          "ties": "conservative", "mean": 0.1, "ci_low": 0.09, "ci_high": 0.11, "trained_seeds": 3, "budget": "9 steps"}]
    )  # fmt: skip
    monkeypatch.setattr(published_values, "read", lambda: [{**published_value(), "hr@10": None}])
    assert short.caution(content) == (
        "What it holds for: quality was measured up to L = 50; in track matched 1 of 2 trainings on toy ended by their budget; below 90 % of what others"
        " published of them: SASRec on toy, L = 50; cost was measured on a CPU only."
    )


def test_how_many_verdicts_hold_together_is_noted_by_track():
    content = verdicts(
        pair("matched", "mamba4rec", "sasrec", ("better", "better"))
        + pair("matched", "mamba4rec", "sasrec", ("better", "better"), seq_len=100)
    )
    frame = content.frames["comparisons"]
    kept = frame.seen_items == "kept"
    content.frames["comparisons"] = frame.assign(
        p_margin=0.001 + 0.029 * (kept & (frame.seq_len == 100)) + 0.039 * ~kept
    )
    (note,) = (n for n in short.table(content).notes if "Holm" in n)
    assert note.endswith("2 of 2 (0) of track matched.")
