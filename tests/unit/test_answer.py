"""The answer: every variant has its literal and every literal its variant, and the leaderboard says what its table says."""

import re

import boards
import pytest
from boards import MISSING, answer_row, baseline, board_row, tables

from seqbench.analysis import advice, warnings
from seqbench.analysis.answers import VARIANTS, slots
from seqbench.report import answer
from seqbench.report import format as fmt

EVERY = [(place, variant) for place, variants in VARIANTS.items() for variant in variants]


def numbers(place, variant):
    """Numbers for every slot of a variant."""
    return {slot: (3, kind) for slot, kind in zip("abc", slots(place, variant), strict=False)}


# --- sentences ----------------------------------------------------------------------------------------------------------


def test_every_variant_has_a_literal_and_every_literal_a_variant():
    assert set(answer.literals()["answers"]) == {f"{p}.{v}" for p, v in EVERY}
    shown = {f"{p}.{v}" for p, v in EVERY if p in answer.VERDICTS}
    assert set(answer.literals()["tones"]) == shown
    assert {*answer.VERDICTS, *answer.BELOW.values(), *answer.SENTENCES} == set(VARIANTS)


@pytest.mark.parametrize(("place", "variant"), EVERY)
def test_every_literal_is_rendered_with_its_slots(place, variant):
    literal = answer.literals()["answers"][f"{place}.{variant}"]
    assert len(set(re.findall(r"\{([abc]|length)\}", literal))) <= 3
    found = answer.said(
        answer_row(place, variant, **numbers(place, variant)), {"test-machine": "Test CPU"}
    )
    assert (found.place, found.variant) == (place, variant)
    assert "{" not in found.text and len(found.text.split()) <= 25
    assert (found.question != "") == (place in answer.VERDICTS)


def test_a_number_is_read_as_its_row_says():
    row = answer_row("crossing", "from", a=(1044.8, "length"), b=(8192.0, "length"), c=(0.313, "ratio"))  # fmt: skip
    text = answer.said(row, {}).text
    assert [n for n in re.findall(r"[\d.,]*\d", text)] == ["1,000", "8,192", "0.31"]


@pytest.mark.parametrize("place", sorted(set(VARIANTS) - {"caution"}))
def test_without_a_comparator_nothing_is_said_of_it(place):
    row = answer_row(place, "alone") | {"comparator": None, "machine_name": None}
    assert "alone" in VARIANTS[place]
    found, named = answer.said(row, {}), answer.said(row | {"comparator": "sasrec"}, {})
    assert found.text == named.text and "sasrec" not in found.about.lower()
    assert not re.search(r"  | ,| \.|, $| $", f"{found.text}|{found.about}|")


NOWHERE = ("unmeasured", "alone")
COST = [
    (p, v)
    for p, v in EVERY
    if p in ("step", "crossing", "inference", "memory") and v not in NOWHERE
]


@pytest.mark.parametrize(("place", "variant"), COST)
def test_a_sentence_about_cost_names_its_machines(place, variant):
    row = answer_row(place, variant, **numbers(place, variant)) | {"machine_b": "gpu-box"}
    text = answer.said(row, {"test-machine": "Test CPU", "gpu-box": "Test GPU"}).text
    assert "Test CPU" in text and ("Test GPU" in text) == (variant == "two")


def test_a_caution_says_which_value_was_published():
    row = answer_row("caution", "below_published", a=(0.76, "percent")) | {"basis": "HR@10, seen items kept"}  # fmt: skip
    assert "76 % of its published HR@10, seen items kept" in answer.said(row, {}).text


def test_a_caution_names_the_focal_model_beside_the_furthest():
    row = answer_row("caution", "both_below_published", a=(0.76, "percent"), b=(0.86, "percent"))
    text = answer.said(row | {"comparator": "bert4rec", "basis": "HR@10, x", "basis_b": "HR@10, y"}, {}).text  # fmt: skip
    assert "BERT4Rec reaches 76 % of its published value (HR@10, x)" in text
    assert "Mamba4Rec 86 % of its own (HR@10, y)" in text


def test_small_letters_below_a_verdict_say_how_far_it_goes():
    rows = [answer_row("better", "some", a=(3, "count"), b=(7, "count")), answer_row("faster", "unclear")]  # fmt: skip
    more = [answer_row("conditions", "several", a=(1, "count"), b=(4, "count"), c=(4, "count"))]
    more.append(answer_row("inference", "from", a=(2451.2, "length")))
    better, faster = answer.verdicts(tables(answers=rows + more))
    assert "matched, seen items kept" in better.about and "1 of 4 datasets" in better.about
    assert "inference: from L of about 2,500" in faster.about
    plain = answer.verdicts(tables(answers=[*rows, answer_row("inference", "unmeasured")]))
    assert [a.about for a in plain] == ["NDCG@10 against every trained model", "training step against SASRec, Test CPU, 2 CPUs"]  # fmt: skip


def test_there_are_at_most_five_sentences_and_the_others_give_way():
    firsts = [(place, variants[0]) for place, variants in VARIANTS.items()]
    rows = [answer_row(*first, **numbers(*first)) for first in firsts]
    said = [s.place for s in answer.sentences(tables(answers=rows))]
    assert said == ["quality", "step", "crossing", "memory", "caution"]
    calm = [r for r in rows if r["place"] != "caution"] + [answer_row("caution", "none")]
    said = [s.place for s in answer.sentences(tables(answers=calm))]
    assert said == ["quality", "others", "step", "crossing", "memory"]


def test_without_answers_nothing_is_said():
    empty = tables()
    assert answer.verdicts(empty) == [] and answer.sentences(empty) == []
    assert answer.views(empty) == []


# --- leaderboard --------------------------------------------------------------------------------------------------------


def only_view(*rows):
    (view,) = answer.views(tables(rows))
    return answer.leaderboard(view)


def cells(table, model):
    """The cells of a model's row by head."""
    (row,) = [row for row in table.rows if row[0].value == model]
    return dict(zip([c.text for c in table.columns], row, strict=True))


def test_rows_stand_by_quality_with_raw_values_behind_them():
    table = only_view(baseline(), board_row("sasrec", ndcg=0.1434), board_row(ndcg=0.1562))
    assert [row[0].value for row in table.rows] == ["mamba4rec", "sasrec", "popularity"]
    found = cells(table, "mamba4rec")["NDCG@10"]
    assert (found.text, found.detail, found.value) == ("0.156", "[0.140, 0.160]", 0.1562)


@pytest.mark.parametrize("column", ["ndcg", "epoch_s", "inference_s", "quality_s"])
def test_a_mark_stands_only_where_the_table_has_one(column):
    plain = only_view(board_row(), board_row("sasrec"))
    marked = only_view(board_row(), board_row("sasrec", **{f"{column}_best": True}))
    assert not [c for row in plain.rows for c in row if c.mark == "best"]
    assert len([c for row in marked.rows for c in row if c.mark == "best"]) == 1


def test_memory_has_a_column_on_a_gpu_only():
    gpu = {"machine_name": "gpu-box", "device_kind": "cuda", "memory_bytes": 3 * 2**30}
    heads = {v.kind: [c.text for c in answer.leaderboard(v).columns] for v in answer.views(tables([board_row(), board_row(**gpu)]))}  # fmt: skip
    assert "GPU memory allocated" in heads["cuda"] and "GPU memory allocated" not in heads["cpu"]


def test_what_is_missing_says_why():
    none = dict.fromkeys(("epoch_s", "inference_s", "quality_s"), MISSING)
    table = only_view(board_row(**none, reached=None), board_row("sasrec", quality_s=MISSING, reached=False), baseline())  # fmt: skip
    assert {cells(table, "mamba4rec")[h].text for h in ("Epoch", "Time to quality")} == {"not measured"}  # fmt: skip
    assert cells(table, "sasrec")["Time to quality"].text == "not reached"
    assert cells(table, "popularity")["Epoch"].text == "–"
    assert cells(only_view(board_row(ndcg=MISSING)), "mamba4rec")["NDCG@10"].text == "not measured"


def test_costs_of_a_column_share_their_unit_and_stand_ins_are_marked():
    table = only_view(board_row(quality_s=374.0), board_row("sasrec", quality_s=714.0, cost_source="synthetic"))  # fmt: skip
    assert cells(table, "mamba4rec")["Time to quality"].text == "6.23 min"
    assert cells(table, "sasrec")["Time to quality"].text == "≈ 11.9 min"


@pytest.mark.parametrize("variant", [*advice.VARIANTS, "unmeasured"])
def test_every_advice_has_its_literal(variant):
    assert set(answer.literals()["advice"]) == {*advice.VARIANTS, "unmeasured"}
    rows = [boards.advice_row(variant)] if variant != "unmeasured" else []
    (view,) = answer.views(tables([board_row()], advice=rows))
    assert view.advice and "{" not in view.advice and len(view.advice.split()) <= 25
    assert (fmt.percent(0.091) in view.advice) == (variant in ("cheaper", "open"))


def test_the_model_to_take_is_marked_and_told_below_the_table():
    rows = [board_row(advised=True), board_row("sasrec")]
    (view,) = answer.views(tables(rows, advice=[boards.advice_row("best")]))
    table = answer.leaderboard(view)
    assert [row[0].detail for row in table.rows] == ["take", ""]
    assert table.notes == [f"Take {view.advice}"]
    assert only_view(board_row()).notes == []


def test_the_default_view_is_that_of_the_answers():
    board = [
        board_row(dataset=d, seq_len=n, machine_name=m, seen_items=s)
        for d in ("beauty", "ml-1m") for n in (50, 200) for m in ("gpu-box", "test-machine") for s in ("excluded", "kept")
    ]  # fmt: skip
    first, *others = answer.views(tables(board, [answer_row()]))
    assert first.state == {"dataset": "ml-1m", "length": "200", "track": "matched", "seen": "kept", "machine": "test-machine"}  # fmt: skip
    assert len(others) == 15


def test_notes_mark_no_row():
    content = tables([board_row(warnings="noisy below_baseline")])
    ((row,),) = [view.rows.itertuples() for view in answer.views(content)]
    assert answer.warnings_of(row) == ["Below a non-parametric baseline"]


def test_every_warning_has_words():
    assert set(warnings.CODES) == set(fmt.WARNINGS)


def test_warnings_of_the_data_are_one_line_a_dataset():
    about = {"dataset": "toy", "seq_len": MISSING, "value": MISSING}
    rows = [about | {"code": "ties", "value": 0.43}, about | {"code": "substitute_file"}, about | {"code": "budget", "seq_len": 50}]  # fmt: skip
    ((name, line),) = answer.about_data(tables(warnings=rows))
    assert name == "toy" and "43 %" in line and line.count("; ") == 1
    assert "unknown" in answer.about_data(tables(warnings=[about | {"code": "ties"}]))[0][1]


def test_without_a_ladder_there_is_no_column_of_time_to_quality():
    none = {"quality_s": MISSING, "reached": None}
    table = only_view(board_row(**none), board_row("sasrec", **none))
    assert "Time to quality" not in cells(table, "mamba4rec")
