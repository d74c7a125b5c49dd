"""The same events, written in another way that changes none of them, give the same prepared arrays and ids."""

import bz2
import csv
import gzip
import io
import json
import lzma
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzzing import drawing
from hypothesis import given
from hypothesis import strategies as st

from seqbench.data import prepare
from seqbench.data.ids import MISSING

pytestmark = pytest.mark.slow
NAMES = {"user": "Who", "item": "what", "time": "when"}
T = 1_400_000_000


def ids():
    """Plain numbers, words, and words with whatever a quote may hold but line breaks and blanks around."""
    odd = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=6)  # fmt: skip
    odd = odd.filter(lambda one: one == one.strip() and one.lower() not in MISSING and not one.startswith("#"))  # fmt: skip
    return st.one_of(st.integers(1, 40).map(str), st.from_regex("[a-z]{1,3}-[0-9]{2}", fullmatch=True), odd)  # fmt: skip


@st.composite
def events(draw):
    """Rows of user, item, time and a column that nobody reads; whole seconds, or halves; ties."""
    users = draw(st.lists(ids(), min_size=1, max_size=4, unique=True))
    items = draw(st.lists(ids(), min_size=2, max_size=6, unique=True))
    halves = draw(st.booleans())
    rows = []
    for user in users:
        for _ in range(draw(st.integers(4, 7))):
            time = T + draw(st.integers(0, 12)) / (2 if halves else 1)
            rows.append((user, draw(st.sampled_from(items)), f"{time:.1f}" if halves else f"{time:.0f}"))  # fmt: skip
    rows = draw(st.permutations(rows))
    return [(*row, draw(st.sampled_from(["", "5", "a b"]))) for row in rows]


@st.composite
def spellings(draw):
    """How a table is written as text."""
    return {
        "delimiter": draw(st.sampled_from([",", ";", "\t", "|", "\x01"])),
        "end": draw(st.sampled_from(["\n", "\r\n"])),
        "last": draw(st.booleans()),
        "mark": draw(st.booleans()),
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
        "order": draw(st.permutations(range(4))),
        "blanks": draw(st.sampled_from(["", "", " ", "\u00a0"])),
        "empty": draw(st.booleans()),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8", "utf-16", "utf-32"])),
        "pack": draw(st.sampled_from(sorted(PACKS))),
        "by_number": draw(st.booleans()),
    }


def text_of(rows, delimiter=",", end="\n", last=True, mark=False, quoting=csv.QUOTE_MINIMAL, order=(0, 1, 2, 3), blanks="", empty=False):  # fmt: skip
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting)
    head = [*NAMES.values(), "rest"]
    for k, row in enumerate([head, *rows]):
        # Around a number only blanks that every parser knows.
        padded = [f"{cell}{' ' * len(blanks) if at == 2 else blanks}" for at, cell in enumerate(row)] if k else row  # fmt: skip
        writer.writerow([padded[at] for at in order])
    text = out.getvalue()
    if empty:
        text += end
    return ("\ufeff" if mark else "") + (text if last else text.removesuffix(end))


def zipped(content):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/a.csv", content)
    return out.getvalue()


def tarred(content):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("a.csv")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def by_arrow(codec):
    def pack(content):
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as stream:
            stream.write(content)
        return sink.getvalue().to_pybytes()

    return pack


def halves(pack):
    """Two streams in one file, as `cat a.gz b.gz` makes them."""
    return lambda content: pack(content[: len(content) // 2]) + pack(content[len(content) // 2 :])


PACKS = {
    "none": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zstd": by_arrow("zstd"), "lz4": by_arrow("lz4"),
    "zip": zipped, "tar": tarred, "tar.gz": lambda content: gzip.compress(tarred(content)), "gz in zip": lambda content: zipped(gzip.compress(content)),
    **{f"two {name}": halves(pack) for name, pack in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zstd", by_arrow("zstd")), ("lz4", by_arrow("lz4")))},
}  # fmt: skip


def prepared(content, local=None, name="a.csv", **changes):
    """Arrays and ids of a file, by name."""
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / name, Path(folder) / "out"
        file.write_bytes(content)
        local = {"path": str(file), "columns": NAMES, **(local or {})}
        prepare(
            "own", {"source": "file", "k_core": 1, "local": local, **changes}, Path(folder), out
        )
        found = {file.name: np.load(file) for file in out.glob("*.npy")}
        found |= {file.name: file.read_bytes() for file in out.glob("*.txt")}
        assert "items.npy" in found and "item_ids.txt" in found
        return found


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.array_equal(found[name], value), name


@drawing(60)
@given(rows=events(), how=spellings())
def test_text(rows, how):
    pack, encoding, by_number = PACKS[how.pop("pack")], how.pop("encoding"), how.pop("by_number")
    if encoding != "utf-8":
        how["mark"] = False  # the encoder writes it
    local = {"delimiter": how["delimiter"]}
    if by_number:
        local["columns"] = {field: how["order"].index(k) for k, field in enumerate(NAMES)}
    content = pack(text_of(rows, **how).encode(encoding))
    assert_same(prepared(content, local), prepared(text_of(rows).encode()))


@drawing(30)
@given(rows=events(), codec=st.sampled_from(["NONE", "snappy", "gzip", "zstd"]), coded=st.booleans(), groups=st.integers(1, 9), numbers=st.booleans(), data=st.data())  # fmt: skip
def test_parquet(rows, codec, coded, groups, numbers, data):
    columns = {name: [row[k] for row in rows] for k, name in enumerate([*NAMES.values(), "rest"])}
    stamps = data.draw(st.sampled_from(["number", "s", "ms", "us", "ns"]))
    times = np.array([float(t) for t in columns["when"]])
    if stamps == "number" or (stamps == "s" and (times % 1).any()):
        columns["when"] = times if (times % 1).any() else times.astype(np.int64)
    else:
        per_s = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[stamps]
        columns["when"] = pa.array((times * 2).astype(np.int64) * per_s // 2).cast(pa.timestamp(stamps))  # fmt: skip
    for name in ("Who", "what"):
        if numbers and all(one.isascii() and one.isdigit() for one in columns[name]):
            columns[name] = [int(one) for one in columns[name]]
    order = data.draw(st.permutations(list(columns)))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({name: columns[name] for name in order}), sink, compression=codec, use_dictionary=coded, row_group_size=groups)  # fmt: skip
    found = prepared(sink.getvalue().to_pybytes(), name="a.parquet")
    assert_same(found, prepared(text_of(rows).encode()))


@drawing(30)
@given(rows=events(), unit=st.sampled_from(["unix-ms", "unix-us", "unix-ns"]))
def test_units(rows, unit):
    digits = {"unix-ms": 3, "unix-us": 6, "unix-ns": 9}[unit]
    scaled = [(u, i, f"{int(float(t) * 2)}{'0' * digits}", rest) for u, i, t, rest in rows]
    scaled = [(u, i, str(int(t) // 2), rest) for u, i, t, rest in scaled]
    found = prepared(text_of(scaled).encode(), {"time": unit})
    assert_same(found, prepared(text_of(rows).encode()))


@drawing(30)
@given(rows=events())
def test_formats(rows):
    """The layouts of publishers, as far as their delimiters can be in no id."""
    plain = [row for row in rows if not set(" :,\t\"'") & set("".join(row[:2]))]
    if len(plain) < 4:
        return
    expected = prepared(text_of(plain).encode())
    inter = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + "".join(
        f"{u}\t{i}\t3\t{t}\n" for u, i, t, _ in plain
    )
    layouts = {
        "inter": inter,
        "movielens": "".join(f"{u}::{i}::3::{t}\n" for u, i, t, _ in plain),
        "ml-100k": "".join(f"{u}\t{i}\t3\t{t}\n" for u, i, t, _ in plain),
        "amazon-ratings": "".join(f"{u},{i},3,{t}\n" for u, i, t, _ in plain),
        "amazon-ratings-2018": "".join(f"{i},{u},3,{t}\n" for u, i, t, _ in plain),
    }
    for name, text in layouts.items():
        with tempfile.TemporaryDirectory() as folder:
            file, out = Path(folder) / "a.txt", Path(folder) / "out"
            file.write_text(text)
            local = {"path": str(file), "format": name}
            prepare("own", {"source": "file", "k_core": 1, "local": local}, Path(folder), out)
            found = {f.name: np.load(f) for f in out.glob("*.npy")}
            found |= {f.name: f.read_bytes() for f in out.glob("*.txt")}
        assert_same(found, expected)


@drawing(30)
@given(rows=events(), seed=st.randoms(use_true_random=False))
def test_order_of_lines(rows, seed):
    """Where no two events of a user share their time, the order of the lines says nothing."""
    seen, distinct = set(), []
    for row in rows:
        if (row[0], float(row[2])) not in seen:
            seen.add((row[0], float(row[2])))
            distinct.append(row)
    if len(distinct) < 4:
        return
    try:
        expected = prepared(text_of(distinct).encode())
    except Exception as error:
        assert "datasets.own" in str(error)
        return
    other = distinct.copy()
    seed.shuffle(other)
    found = prepared(text_of(other).encode())
    del found["rows.npy"], expected["rows.npy"]
    assert_same(found, expected)


def test_a_comparison_that_can_fail():
    one = prepared(b"Who,what,when\n" + b"".join(b"1,%d,14000000%02d\n" % (k, k) for k in range(6)))
    two = prepared(b"Who,what,when\n" + b"".join(b"1,%d,14000000%02d\n" % (k, 9 - k) for k in range(6)))  # fmt: skip
    with pytest.raises(AssertionError):
        assert_same(one, two)
    assert json.dumps(sorted(one)) == json.dumps(sorted(two))
