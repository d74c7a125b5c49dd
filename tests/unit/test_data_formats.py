"""Parsers, column mappings, and bad rows named by file, line and value."""

import numpy as np
import pytest

from seqbench.core.errors import UserError
from seqbench.data.formats import read_interactions
from seqbench.data.layouts import layout_of


def parse(content, format_name="delimited", **overrides):
    return read_interactions(content, layout_of(format_name, overrides), "a.csv")


def rows(parsed):
    """[(user id, item id, time)] as parsed."""
    users = [parsed.user_ids[code] for code in parsed.users]
    items = [parsed.item_ids[code] for code in parsed.items]
    times = parsed.time if parsed.time is not None else [None] * len(users)
    return list(zip(users, items, times, strict=True))


@pytest.mark.parametrize(
    ("format_name", "content"),
    [
        ("movielens", b"7::B1::5::100\n8::B2::3::90\n"),
        ("ml-100k", b"7\tB1\t5\t100\n8\tB2\t3\t90\n"),
        ("amazon-ratings", b"7,B1,5.0,100\n8,B2,3.0,90\n"),
        (
            "inter",
            b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
            b"7\tB1\t5\t100.0\n8\tB2\t3\t9.0e1\n",
        ),
        (
            "inter",
            b"timestamp:float\titem_id:token\tuser_id:token\n100\tB1\t7\n90\tB2\t8\n",
        ),
    ],
)
def test_publishers_formats(format_name, content):
    assert rows(parse(content, format_name)) == [("7", "B1", 100), ("8", "B2", 90)]


def test_columns_by_name_in_any_place():
    content = b"when,what,rating,who\n100,B1,5,7\n90,B2,3,8\n"
    columns = {"user": "who", "item": "what", "time": "when"}
    assert rows(parse(content, columns=columns)) == [("7", "B1", 100), ("8", "B2", 90)]


def test_columns_by_number_without_header_and_time():
    parsed = parse(b"7 B1\n8 B2\n", columns={"user": 0, "item": 1}, delimiter=" ", header=False)
    assert rows(parsed) == [("7", "B1", None), ("8", "B2", None)]


def test_a_mapping_replaces_the_formats_own():
    parsed = parse(b"7::B1::5::100\n", "movielens", columns={"user": 1, "item": 0})
    assert rows(parsed) == [("B1", "7", None)]


def test_position_column():
    parsed = parse(b"user,item,n\n7,B1,4\n", columns={"position": "n"})
    assert parsed.position.tolist() == [4] and parsed.time is None


def test_text_quirks():
    content = '\ufeffuser,item,"t"\r\n"a,b",é,1\r\n\r\n00,nano,2\r\n'.encode()
    assert rows(parse(content, columns={"time": "t"})) == [("a,b", "é", 1), ("00", "nano", 2)]


TITLED = {"columns": {"user": "user", "item": "item", "time": "t"}}
STRAY = 'user,item,title,t\nu1,i1,"Alien,10\nu1,i2,x,11\nu2,i2,y" z,12\nu2,i3,w,14\n'
STRAY_ROWS = [("u1", "i1", 10), ("u1", "i2", 11), ("u2", "i2", 12), ("u2", "i3", 14)]


@pytest.mark.parametrize("delimiter", ["\t", ";", "::"])
def test_a_stray_quote_joins_no_lines(delimiter):
    """Where only commas may be quoted across lines, quotes that would do so are part of a title."""
    content = STRAY.replace(",", delimiter).encode()
    parsed = parse(content, delimiter=delimiter, **TITLED)
    assert rows(parsed) == STRAY_ROWS


@pytest.mark.parametrize("title", ['"Alien', 'He said "Go"', '"Heroes" (live)', '"', '""'])
def test_a_stray_quote_in_the_first_or_last_line(title):
    content = f"1\ti1\t{title}\t9\n2\ti2\t{title}\t8\n".encode()
    parsed = parse(content, delimiter="\t", header=False, columns={"user": 0, "item": 1, "time": 3})
    assert rows(parsed) == [("1", "i1", 9), ("2", "i2", 8)]
    parsed = parse(f"user\titem\ttitle\n1\t5\t{title}".encode(), delimiter="\t")
    assert rows(parsed) == [("1", "5", None)]


def test_quotes_enclose_values_whatever_the_delimiter():
    content = b'"user";"item";"t"\n"7";"a;b";"9"\n"8";"say ""x""";"8"\n'
    parsed = parse(content, delimiter=";", columns={"time": "t"})
    assert rows(parsed) == [("7", "a;b", 9), ("8", 'say "x"', 8)]


def test_line_breaks_in_quoted_values_between_commas():
    content = b'user,item,title,t\n1,5,"two\nlines, \r\n""or\xff"" more",9\n\n2,6,"x",8\n'
    assert rows(parse(content, **TITLED)) == [("1", "5", 9), ("2", "6", 8)]


def test_line_breaks_in_quoted_values_at_the_border_of_two_blocks():
    text = "word\n" * 2000
    content = b"user,item,title,t\n" + b"".join(
        b'%d,5,"%s",9\n' % (k, text.encode()) for k in range(400)
    )
    assert rows(parse(content, **TITLED)) == [(str(k), "5", 9) for k in range(400)]


def test_missing_last_newline_and_repeats():
    parsed = parse(b"user,item\n1,5\n1,5\n1,6", header=True)
    assert rows(parsed) == [("1", "5", None), ("1", "5", None), ("1", "6", None)]
    assert parsed.users.tolist() == [0, 0, 0] and parsed.items.tolist() == [0, 0, 1]


def test_fractions_of_seconds_are_kept_for_the_order():
    parsed = parse(b"user,item,t\n1,5,1.5\n1,6,2\n", columns={"time": "t"})
    assert parsed.time.dtype == np.float64 and parsed.time.tolist() == [1.5, 2.0]


def test_many_blocks_number_ids_by_first_appearance():
    n = 300_000  # several megabytes: more than one block of the parser
    content = b"".join(b"u%d,i%d\n" % (k % 1000, k % 777) for k in range(n))
    parsed = parse(content, header=False, columns={"user": 0, "item": 1})
    assert parsed.user_ids == [f"u{k}" for k in range(1000)]
    assert np.array_equal(parsed.users, np.arange(n) % 1000)
    assert np.array_equal(parsed.items, np.arange(n) % 777)


TIMED = {"columns": {"time": "t"}}


@pytest.mark.parametrize(
    ("content", "overrides", "message"),
    [
        (b"user,item,t\n1,5,9\n\n2,6,soon\n", TIMED, "line 4: time is not a number ('soon')"),
        (b"user,item,t\n1,5,9\n2,6,\n", TIMED, "line 3: time is not a number ('')"),
        (b"user,item,t\n1,5,nan\n", TIMED, "line 2: time is not a number ('nan')"),
        (b"user,item,t\n1,5,inf\n", TIMED, "line 2: time is not a number ('inf')"),
        (b"user,item,t\n,5,9\n", TIMED, "line 2: user is empty or missing ('')"),
        (b"user,item,t\n1,NaN,9\n", TIMED, "line 2: item is empty or missing ('NaN')"),
        (b"user,item,t\n1,5\n", TIMED, "line 2: 2 columns, expected 3"),
        (b"user,item,t\n1,5,9,9\n", TIMED, "line 2: 4 columns, expected 3"),
        (
            b"user,item\n1,\xff\n",
            {},
            "line 2: item is not UTF-8 text (b'\\xff'); save the file as UTF-8",
        ),
        (
            b"user,item,t,x\n1,5,9,ok\n2,6,soon,ok\n3,7,9,\xe9\n",
            TIMED,
            "line 3: time is not a number ('soon')",
        ),
        (
            b"user,item,t\n1,5,2024-01-31\n",
            TIMED,
            "line 2: time is not a number ('2024-01-31'); write dates as Unix seconds",
        ),
        (b"user,item\n1,5\nuser,item\n2,6\n", {}, "line 3: repeats the header; take it out"),
        (
            b"1,5\n2,6\n",
            {"columns": {"user": 0, "item": 1}},
            "line 1: column 0 for user is named '1', which looks like a value; say `header: false`",
        ),
        (
            b"user,item,user\n1,5,2\n",
            {},
            "2 columns are named 'user'; give user by its 0-based number",
        ),
        (
            b"user;item\n1;5\n",
            {},
            'its columns are between semicolons, not commas: say `delimiter: ";"`',
        ),
        (
            b"user\titem\n1\t5\n",
            {},
            'its columns are between tabs, not commas: say `delimiter: "\\t"`',
        ),
        (b"user,item\n1,5\n", {"delimiter": "\n"}, "must be one character"),
        (
            b"user,item\n1,5\n",
            {"delimiter": "\u00a7"},
            "must be one character, or one repeated: an ASCII one",
        ),
        (b"user,item\n1,5\n", {"delimiter": "\\x01"}, '(a tab is "\\t")'),
        (STRAY.encode(), TITLED, "a.csv, line 2: ',' expected after '\"'; close the quote"),
        (b'user,item,t\n1,5,9\n2,"6,9\n3,7,9\n', TIMED, "line 3: unexpected end of data; close"),
        (b'user,item,x\n1,5,"9\n2,6,9\n3,7,9', {}, "line 2: unexpected end of data; close"),
        (
            b"userId,movie_id\n1,5\n",
            {"header": False, "columns": {"user": 0, "item": 1}},
            "line 1: holds names, userId, movie_id, which would be taken for a user and an item; say `header: true`",
        ),
        (
            b"a,b,c\n1,5,9\n",
            {"header": False, "columns": {"user": 0, "item": 1, "time": 2}},
            "line 1: time is not a number ('c'); write a plain one; say `header: true` if the first line holds names",
        ),
        (b"# exported\nuser,item\n1,5\n", {}, "take the comment lines before the names out"),
        (b"user,item\n", {}, "a.csv holds no rows"),
        (
            b"user,item\r1,5\r",
            {},
            "a.csv, line 1: not delimited text: its lines end with carriage returns alone; end",
        ),
        (b"", {}, "a.csv is empty"),
        (b"\n1,2\n", {}, "begins with an empty line"),
        (b"who,item\n1,5\n", {}, "no column 'user' for user; it has who, item"),
        (b"1,5\n", {"header": False}, "no column 'user' for user; it has no header and 2 columns"),
        (b"user,item\n1,5\n", {"columns": {"item": "user"}}, "name the same column"),
        (b"user,item\n1,5\n", {"columns": {"when": 2}}, "columns: 'when' is unknown; allowed: "),
        (b"user,item\n1,5\n", {"delimiter": ", "}, "delimiter: ', ' must be one character"),
    ],
)
def test_bad_input_is_named(content, overrides, message):
    with pytest.raises(UserError) as caught:
        parse(content, **overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_id_with_a_line_break_is_refused():
    """Prepared data list their ids by line."""
    with pytest.raises(UserError, match=r"a\.csv: the item id 'a\\nb' holds a line break"):
        parse(b'user,item\n1,"a\nb"\n1,c\n')


@pytest.mark.parametrize("fraction", [b"9007199254740992.5", b"1.5"])
def test_large_numbers_beside_fractions_are_refused(fraction):
    """As floats 2^53 and 2^53 + 1 are one."""
    text = b"user,item,t\n1,a,9007199254740993\n"
    assert parse(text, **TIMED).time.tolist() == [9007199254740993]
    with pytest.raises(UserError, match="column time holds both fractions and numbers above 2"):
        parse(text + b"1,b," + fraction + b"\n", **TIMED)


def test_bad_row_of_a_two_character_delimiter():
    with pytest.raises(UserError, match="line 2: 3 columns, expected 4"):
        parse(b"1::5::3::9\n1::5::3\n", "movielens")


def test_bad_row_deep_in_the_file():
    content = b"1,5,9\n" * 400_000 + b"1,5,x\n"
    with pytest.raises(UserError, match="line 400001: time is not a number"):
        parse(content, header=False, columns={"user": 0, "item": 1, "time": 2})


def test_unknown_format():
    with pytest.raises(
        UserError, match=r"format: 'parquet' is unknown; allowed: movielens, .*inter"
    ):
        layout_of("parquet", {})


INTER = "user_id:token\titem_id:token\ttimestamp:float\n1\t5\t9\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (INTER.replace("\ttimestamp:float", "").replace("\t9", ""), "say `columns: {user: user_id, item: item_id, time: <name>}`, or `columns: {user: user_id, item: item_id}` to take the order of the lines"),
        (INTER.replace("\t", " "), "its columns are between blanks, not tabs: say `delimiter: \" \"`"),
        (INTER.replace("\t", ","), "its columns are between commas, not tabs: say `delimiter: \",\"`"),
        (INTER.replace("user_id", "uid"), "has no column 'user_id' for user; it has uid, item_id, timestamp; name the columns with `columns:"),
    ],
)  # fmt: skip
def test_what_recbole_files_lack_is_named_with_the_remedy(content, said):
    with pytest.raises(UserError) as caught:
        parse(content.encode(), "inter")
    assert said in str(caught.value)


def test_the_remedies_of_recbole_files_read_them():
    expected = [("1", "5", None)]
    pair = {"user": "user_id", "item": "item_id"}
    no_time = INTER.replace("\ttimestamp:float", "").replace("\t9", "").encode()
    assert rows(parse(no_time, "inter", columns=pair)) == expected
    blanks = INTER.replace("\t", " ").encode()
    assert rows(parse(blanks, "inter", delimiter=" ")) == [("1", "5", 9)]


@pytest.mark.parametrize("written", ["\t", "\\t"])
def test_a_tab_may_be_written_in_single_quotes_too(written):
    assert rows(parse(b"user\titem\n1\t5\n", delimiter=written)) == [("1", "5", None)]


def test_names_of_columns_may_have_blanks_around_them():
    assert rows(parse(b"user, item \n1, 5 \n")) == [("1", "5", None)]
    assert rows(parse(b"0,1\n7,5\n", columns={"user": 0, "item": 1})) == [("7", "5", None)]


def test_what_is_no_utf8_in_a_column_that_nobody_reads_does_not_matter():
    content = b"user,item,t,title\n1,5,9,Am\xe9lie\n2,6,8,ok\n"
    assert rows(parse(content, **TIMED)) == [("1", "5", 9), ("2", "6", 8)]


REVIEWERS, PRODUCTS = ("A3R5OBKS7OM2IR", "A1V6B6TNIC10QE"), ("B000GKXY4S", "0439893577")
AMAZON = "".join(f"{u},{i},5.0,1400000000\n" for u in REVIEWERS for i in PRODUCTS).encode()
AMAZON_2018 = "".join(f"{i},{u},5.0,1400000000\n" for u in REVIEWERS for i in PRODUCTS).encode()


def test_both_orders_of_amazons_ratings():
    assert rows(parse(AMAZON, "amazon-ratings")) == rows(parse(AMAZON_2018, "amazon-ratings-2018"))


@pytest.mark.parametrize(
    ("content", "format_name", "overrides"),
    [
        (AMAZON_2018, "amazon-ratings", {}),
        (AMAZON, "amazon-ratings-2018", {}),
        (b"i1,u1,5,9\ni2,u1,5,9\n", "amazon-ratings", {}),
        (b"customer_id,itemId\n1,5\n", "delimited", {"columns": {"user": "itemId", "item": "customer_id"}}),
        (b"user,item\nitem_1,user_1\nitem_2,user_1\n", "delimited", {}),
    ],
)  # fmt: skip
def test_exchanged_columns_are_refused(content, format_name, overrides):
    with pytest.raises(UserError, match=r"a\.csv: users and items look exchanged: .* `format: amazon-ratings-2018`"):  # fmt: skip
        parse(content, format_name, **overrides)


@pytest.mark.parametrize(
    "content",
    [b"user,item\nB000000001,5\n", b"user,item\n1234567890,A1\n", b"user,item\nu1,i1\n", b"user,item\na1,b1\n"],
)  # fmt: skip
def test_ids_that_only_might_be_products_pass(content):
    assert len(parse(content).users) == 1


def test_a_long_text_is_no_fault():
    content = b'user,item,title\n1,5,"' + b"a\n" * 100_000 + b'"\n2,6,x\n'
    assert rows(parse(content)) == [("1", "5", None), ("2", "6", None)]


@pytest.mark.parametrize(
    "again", ["user,item,time", "User, Item, TIME", "item,user,time", '"user","item","time"', "\ufeffuser,item,time"]
)  # fmt: skip
@pytest.mark.parametrize("timed", [True, False])
def test_a_header_in_another_spelling_among_the_rows_is_no_event(again, timed):
    """Files that were put behind each other."""
    columns = {"user": "user", "item": "item"} | ({"time": "time"} if timed else {})
    content = f"user,item,time\n1,5,9\n{again}\n2,6,9\n".encode()
    with pytest.raises(UserError, match="line 3: repeats the header; take it out"):
        parse(content, "delimited", columns=columns)


@pytest.mark.parametrize(
    "time", ["1_000", "\u0661\u0662", "1,000", "1 000", "1e400", "nan", "12:30"]
)
def test_what_other_programs_take_for_a_number_is_named_with_its_line(time):
    content = f"user;item;time\n1;5;9\n1;6;{time}\n".encode()
    with pytest.raises(UserError, match="line 3: time is not a number"):
        parse(content, "delimited", delimiter=";", columns={"user": "user", "item": "item", "time": "time"})  # fmt: skip


def test_a_mark_between_files_that_were_put_behind_each_other_is_no_part_of_an_id():
    assert rows(parse("user,item\n1,5\n\ufeff1,6\n".encode(), "delimited")) == [("1", "5", None), ("1", "6", None)]  # fmt: skip


def test_a_line_for_spreadsheets_is_named():
    with pytest.raises(UserError, match="take this line, which is meant for a spreadsheet, out"):
        parse(b"sep=;\nuser;item\n1;5\n", "delimited")
