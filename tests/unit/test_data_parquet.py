"""Parquet gives what the same rows give as text; what has no meaning as an id or a time is named."""

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqbench.core.errors import UserError
from seqbench.data import open_dataset, prepare
from seqbench.data.formats import read_interactions
from seqbench.data.ids import Rule
from seqbench.data.layouts import layout_of

T = 1_400_000_000
TIMED = {"columns": {"user": "user", "item": "item", "time": "t"}}


def parse(table, rule=Rule(), **overrides):  # noqa: B008 (frozen)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(table), sink, row_group_size=2)
    layout = layout_of(overrides.pop("format", "delimited"), overrides)
    return read_interactions(sink.getvalue().to_pybytes(), layout, "a.parquet", rule)


def rows(parsed):
    users = [parsed.user_ids[code] for code in parsed.users]
    items = [parsed.item_ids[code] for code in parsed.items]
    times = parsed.time.tolist() if parsed.time is not None else [None] * len(users)
    return list(zip(users, items, times, strict=True))


USERS = {
    "text": ["7", "8", "7"],
    "large": pa.array(["7", "8", "7"], pa.large_string()),
    "whole": [7, 8, 7],
    "float": [7.0, 8.0, 7.0],
    "coded": pa.array(["7", "8", "7"]).dictionary_encode(),
    "bytes": pa.array([b"7", b"8", b"7"]),
    "blanks": ["7 ", "8", " 7"],
}


@pytest.mark.parametrize("kind", USERS)
def test_ids_of_every_type(kind):
    parsed = parse({"item": ["a", "b", "c"], "user": USERS[kind], "t": [3, 2, 1]}, **TIMED)
    assert rows(parsed) == [("7", "a", 3), ("8", "b", 2), ("7", "c", 1)]
    assert parsed.user_ids == ["7", "8"]


SECONDS = [T, T + 1, T + 2]
MOMENTS = [datetime.datetime.fromtimestamp(t, datetime.UTC) for t in SECONDS]
TIMES = {
    "whole": SECONDS,
    "float": [float(t) for t in SECONDS],
    **{unit: pa.array(MOMENTS, pa.timestamp(unit, "UTC")) for unit in ("s", "ms", "us", "ns")},
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_of_every_type_are_seconds(kind):
    parsed = parse({"user": [1, 1, 2], "item": [1, 2, 3], "t": TIMES[kind]}, **TIMED)
    assert parsed.time.tolist() == SECONDS


def test_days_are_seconds_too():
    days = pa.array([datetime.date(1970, 1, 2)] * 3)
    assert (
        parse({"user": [1, 1, 2], "item": [1, 2, 3], "t": days}, **TIMED).time.tolist()
        == [86400] * 3
    )


def test_columns_by_number_and_formats_of_publishers():
    table = {"a": ["u", "u"], "b": ["x", "y"], "c": [5, 5], "d": [3, 4]}
    assert rows(parse(table, format="amazon-ratings")) == [("u", "x", 3), ("u", "y", 4)]


def test_missing_ids_follow_the_rule():
    table = {"user": pa.array([1, None, 2]), "item": ["a", "b", "NULL"]}
    with pytest.raises(UserError, match=r"a\.parquet, row 2: user is empty or missing"):
        parse(table)
    parsed = parse(table, Rule("drop"))
    assert parsed.known.tolist() == [0]
    assert (parsed.seen["user"].missing, parsed.seen["item"].missing) == ({"": 1}, {"NULL": 1})
    floats = {"user": [1.0, float("nan"), 2.0], "item": ["a", "b", "c"]}
    assert parse(floats, Rule("drop")).known.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"user": [[1], [2]]}, "column 'user' for user holds list<element: int64>; write text or numbers"),
        ({"user": [True, False]}, "column 'user' for user holds bool"),
        ({"t": ["1", "2"]}, "column 't' for time holds string; write numbers or timestamps"),
        ({"t": [1, None]}, "row 2: time is missing or no finite number"),
        ({"t": [1.0, float("inf")]}, "row 2: time is missing or no finite number"),
        ({"t": pa.array([1, 2**64 - 1], pa.uint64())}, "is damaged or no Parquet that is read here"),
        ({"user": pa.array([b"\xff", b"a"])}, "is damaged or no Parquet that is read here"),
        ({"item": ["a\nb", "c"]}, "the item id 'a\\nb' holds a line break"),
    ],
)  # fmt: skip
def test_what_is_no_id_or_time_is_named(changes, said):
    with pytest.raises(UserError) as caught:
        parse({"user": [1, 2], "item": ["a", "b"], "t": [1, 2], **changes}, **TIMED)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_no_column_and_no_rows():
    with pytest.raises(
        UserError, match="has no column 'user' for user; it has who, item; name the"
    ):
        parse({"who": [1], "item": [2]})
    with pytest.raises(UserError, match="holds no rows"):
        parse({"user": pa.array([], pa.int64()), "item": pa.array([], pa.int64())})


def test_damage_is_named():
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"user": [1] * 99, "item": [2] * 99}), sink)
    content = sink.getvalue().to_pybytes()
    for broken in (
        b"PAR1",
        content[:-9],
        content[:30] + bytes(20) + content[50:],
        b"PAR1" + bytes(200) + b"PAR1",
    ):
        with pytest.raises(UserError, match=r"a\.parquet is damaged or no Parquet"):
            read_interactions(broken, layout_of("delimited", {}), "a.parquet")


def test_a_few_bytes_that_declare_any_number_of_rows_are_refused(monkeypatch):
    monkeypatch.setattr("seqbench.data.parquet.MOST_ROWS", 1000)
    with pytest.raises(UserError, match="unpacks to more than the allowed"):
        parse({"user": np.zeros(1001, int), "item": np.zeros(1001, int)})


def test_text_and_parquet_give_the_same_data(tmp_path):
    drawn = np.random.default_rng(0)
    table = pa.table({
        "user": drawn.integers(20, size=600), "item": drawn.integers(30, size=600),
        "time": T + np.sort(drawn.integers(10**5, size=600)),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "own.parquet")
    lines = ["user,item,time", *(",".join(map(str, row.values())) for row in table.to_pylist())]
    (tmp_path / "own.csv").write_text("\n".join(lines))
    infos = []
    for kind in ("csv", "parquet"):
        local = {
            "path": str(tmp_path / f"own.{kind}"),
            "columns": {"user": "user", "item": "item", "time": "time"},
        }
        definition = {"source": "file", "k_core": 3, "local": local}
        infos.append(
            prepare("own", definition, tmp_path, tmp_path / kind)
            | dict.fromkeys(("provenance", "sha256"))
        )
    assert infos[0] == infos[1]
    times = [open_dataset(tmp_path / kind).times.tolist() for kind in ("csv", "parquet")]
    assert times[0] == times[1]


@pytest.mark.parametrize(("kind", "least"), [(pa.float64(), 2.0**53), (pa.float32(), 2.0**24)])
def test_long_numbers_that_were_kept_as_floats_have_lost_digits(kind, least):
    users = pa.array([1.0, least, None], kind)
    with pytest.raises(UserError, match=r"user ids are floating-point numbers of [\d,]+ and more"):
        parse({"user": users, "item": ["a", "b", "c"]}, Rule("drop"))
    users = pa.array([1.0, least - 1, None], kind)
    assert parse({"user": users, "item": ["a", "b", "c"]}, Rule("drop")).user_ids[1] == f"{least - 1:.0f}"  # fmt: skip
