"""Ids: none is made of a spelling of nothing, and what only looks alike is named."""

import pytest

from seqbench.core.errors import UserError
from seqbench.data import ids, open_dataset, prepare
from seqbench.data.formats import read_interactions
from seqbench.data.ids import Rule, lookalikes, whole
from seqbench.data.layouts import layout_of

NOTHING = [
    "", " ", "\t", "NaN", "nan", "NULL", "null", "None", "NONE", "<NA>", "\\N", "NA", "N/A", "#N/A", "nil", "NaT", "<null>", "(null)",
    "undefined", " NULL ", "\u00a0", "\ufeff", " \u200b", "-", "--", "?", "\u2014", "''", "[]", "n.a.", "#REF!", "#VALUE!", "\\\\N",
]  # fmt: skip
T = 1_400_000_000


def parse(rows, **rule):
    text = "user,item\n" + "".join(f'"{user}","{item}"\n' for user, item in rows)
    return read_interactions(text.encode(), layout_of("delimited", {}), "a.csv", Rule(**rule))


def pairs(parsed):
    known = parsed.known
    users, items = parsed.users[known], parsed.items[known]
    return [(parsed.user_ids[u], parsed.item_ids[i]) for u, i in zip(users, items, strict=True)]


@pytest.mark.parametrize("word", NOTHING)
@pytest.mark.parametrize("field", ["user", "item"])
def test_what_stands_for_nothing_is_refused_with_its_line_or_dropped_with_a_count(word, field):
    bad = (word, "5") if field == "user" else ("1", word)
    given = [("1", "5"), bad, ("2", "6"), bad]
    with pytest.raises(UserError, match=rf"a\.csv, line 3: {field} is empty or missing \(.*missing: drop"):  # fmt: skip
        parse(given)
    dropped = parse(given, missing="drop")
    assert pairs(dropped) == [("1", "5"), ("2", "6")]
    assert dropped.known.tolist() == [0, 2]  # rows of the file
    assert dropped.seen[field].missing == {ids.bare(word): 2}


def test_a_name_like_none_is_kept_where_it_is_one():
    assert pairs(parse([("1", "None"), ("2", "NA")], missing="keep")) == [
        ("1", "None"),
        ("2", "NA"),
    ]
    with pytest.raises(UserError, match=r"line 2: item is empty or missing \(''\)$"):
        parse([("1", "")], missing="keep")


def test_blanks_around_an_id_are_taken_off_and_counted():
    parsed = parse(
        [("u1", "5"), ("u1", " 5"), (" u1", "5\u00a0"), ("u1", "a b"), ("\ufeff u1\u200e", "5")]
    )
    assert pairs(parsed) == [("u1", "5")] * 3 + [("u1", "a b"), ("u1", "5")]
    assert (parsed.seen["user"].blanks, parsed.seen["item"].blanks) == (2, 2)


@pytest.mark.parametrize("word", ["1.23457E+11", "1.23457e+06", "1e+17", "2.5E12"])
@pytest.mark.parametrize("form", ["text", "number"])
def test_a_number_that_has_lost_its_digits_is_refused(word, form):
    with pytest.raises(UserError, match=r"line 3: item is in scientific notation \(.*; write it in full$"):  # fmt: skip
        parse([("1", "5"), ("1", word)], form=form)


@pytest.mark.parametrize(("word", "number"), [("1e+05", "100000"), ("1.5E1", "15"), ("1.25e+2", "125")])  # fmt: skip
def test_scientific_notation_with_all_digits_is_a_number_if_that_is_said(word, number):
    with pytest.raises(UserError, match=r"write it in full, or say `ids: \{form: number\}`"):
        parse([("1", "5"), ("1", word)])
    assert pairs(parse([("1", "5"), ("1", word)], form="number")) == [("1", "5"), ("1", number)]


@pytest.mark.parametrize("word", ["1e5", "12e3", "a1e+5", "1.2.3e4", "3e", "e+5"])
def test_what_may_be_a_name_is_no_scientific_notation(word):
    assert pairs(parse([("1", word)])) == [("1", word)]


@pytest.mark.parametrize("sign", ["\x00", "\x07", "\x1b", "\x7f", "\x9b"])
def test_control_characters_are_refused_with_their_line(sign):
    with pytest.raises(UserError, match=r"a\.csv, line 3: user holds a control character"):
        parse([("1", "5"), (f"1{sign}", "5")])


NUMBERS = [("1", "5"), ("1.0", "05"), ("01", "5.00"), ("+1", "5e0"), ("2", "6")]


def test_forms_of_a_number_are_named_as_text_and_one_as_numbers():
    parsed = parse(NUMBERS)
    assert len(parsed.user_ids) == 5 and parsed.seen["user"].alike == 3
    assert parsed.seen["user"].example == ("1", "1.0")
    parsed = parse(NUMBERS, form="number")
    assert pairs(parsed) == [("1", "5")] * 4 + [("2", "6")]
    assert parsed.seen["item"].rewritten == 3 and parsed.seen["item"].alike == 0


@pytest.mark.parametrize(
    "word", ["a", "1.5", "1_0", "0x1", "\u0661", "1e99999", "1e-5", "inf", "1,5"]
)
def test_what_is_no_whole_number_is_refused_where_numbers_are_asked_for(word):
    with pytest.raises(
        UserError, match=r"line 3: item is no whole number .* ids.form: number asks"
    ):
        parse([("1", "5"), ("1", word)], form="number")


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", "0"), ("-0.0", "0"), ("-07", "-7"), ("9007199254740993.0", "9007199254740993"), ("1" * 60 + ".0", "1" * 60),
     ("12e3", "12000"), ("1.5e1", "15"), ("10e-1", "1"), (".0", "0"), (".", None), ("", None), ("e5", None)],
)  # fmt: skip
def test_whole_numbers_are_exact(text, number):
    assert whole(text) == number


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "1.0"), ("7", "007"), ("abc", "ABC"), ("a b", "a  b"), ("\u00e9", "e\u0301"), ("5", "\uff15"), ("ab", "a\u200bb"), ("5", "'5'"),
     ("1234", "1,234"), ("1234567", "1'234'567"), ("1234", "1\u202f234"), ("1", "1,0"), ("5", "\u201c5\u201d"), ("5", "\u00ab5\u00bb"), ("5", "#5"), ("x y", "x\u00a0y")],
)  # fmt: skip
def test_ids_that_only_look_alike(one, other):
    assert lookalikes(["x", one, "y", other]) == (1, (one, other))


def test_plain_ids_are_not_touched():
    parsed = parse([("10", "a"), ("2", "b"), ("10", "b")])
    assert parsed.users.tolist() == [0, 1, 0] and parsed.user_ids == ["10", "2"]
    assert all(seen == ids.Seen() for seen in parsed.seen.values())


def log(tmp_path, capsys, rows, **given):
    path = tmp_path / "own.csv"
    path.write_text(
        "user,item,time\n" + "".join(f"{u},{i},{T + k}\n" for k, (u, i) in enumerate(rows))
    )
    local = {"path": str(path), "columns": {"user": "user", "item": "item", "time": "time"}}
    definition = {"source": "file", "k_core": 1, "local": local, "ids": given}
    info = prepare("own", definition, tmp_path, tmp_path / "out")
    return info, capsys.readouterr().err


PLAIN = [(u, i) for u in "123" for i in "5678"]


def test_what_was_seen_stands_in_the_log_and_in_dataset_json(tmp_path, capsys):
    rows = [*PLAIN, ("\\N", "5"), ("1", " 6"), ("1.0", "7"), ("1", "a"), ("1", "A")]
    info, said = log(tmp_path, capsys, rows, missing="drop")
    nothing = {"missing": {}, "blanks": 0, "rewritten": 0, "alike": 0}
    assert info["ids"] == {
        "missing": "drop",
        "form": "text",
        "dropped_rows": 1,
        "user": nothing | {"missing": {"\\N": 1}, "alike": 1},
        "item": nothing | {"blanks": 1, "alike": 1},
    }
    assert r"own: user is missing in some rows, which are left out: '\\N' in 1" in said
    assert "own: blanks around 1 item ids are taken off" in said
    assert (
        "own: warning: 1 user ids are written like others, as '1' and '1.0', and count as others"
        in said
    )
    assert "`datasets.own.ids: {form: number}` makes them one" in said
    assert (
        "as 'a' and 'A', and count as others; if they are the same, make them alike in the file"
        in said
    )


def test_a_user_with_a_good_part_of_all_rows_is_named(tmp_path, capsys):
    rows = [(u, i) for u in range(40) for i in "5678"]
    assert "warning" not in log(tmp_path, capsys, rows)[1]
    _, said = log(tmp_path, capsys, [*rows, *[("-1", "5")] * 30])
    assert "own: warning: user '-1' has 30 of 190 rows; if it stands for nobody, take these" in said


def test_dropped_rows_leave_the_numbers_of_the_others_as_in_the_file(tmp_path, capsys):
    info, _ = log(tmp_path, capsys, [("NULL", "5"), *PLAIN], missing="drop")
    assert sorted(open_dataset(tmp_path / "out").rows.tolist()) == list(range(1, 13))
    assert info["n_interactions"] == 12
    with pytest.raises(UserError, match="line 2: user is empty or missing"):
        log(tmp_path, capsys, [("NULL", "5"), *PLAIN])
    with pytest.raises(UserError, match=r"no row of .*own\.csv has both a user and an item"):
        log(tmp_path, capsys, [("NULL", "5")], missing="drop")


@pytest.mark.parametrize(
    ("given", "said"),
    [({"missing": "skip"}, "ids.missing = 'skip': is unknown; allowed: refuse, drop, keep"), ({"kind": 1}, "ids.kind = 1: is unknown; allowed: missing, form")],
)  # fmt: skip
def test_rules_that_are_none(tmp_path, capsys, given, said):
    with pytest.raises(UserError, match=said):
        log(tmp_path, capsys, PLAIN, **given)
