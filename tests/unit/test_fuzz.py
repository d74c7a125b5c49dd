"""Whatever stands in a file of data or of configuration: it is read, or refused in one line. No other error, ever."""

import bz2
import copy
import gzip
import io
import json
import lzma
import string
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from fuzzing import drawing, one_line
from hypothesis import given
from hypothesis import strategies as st

from seqbench.config import load
from seqbench.core.errors import UserError
from seqbench.core.yaml_files import parsed
from seqbench.data import open_dataset, prepare
from seqbench.data.containers import read_content
from seqbench.data.formats import read_interactions
from seqbench.data.ids import RULES, Rule
from seqbench.data.layouts import LAYOUTS, layout_of

pytestmark = pytest.mark.slow
fuzzed = drawing(100)


# --- containers ----------------------------------------------------------------------------------------------------


def _zip(name, content, how):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def _tar(name, content, kind=tarfile.GNU_FORMAT, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=kind) as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _by_arrow(content, codec):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def _parquet(**options):
    sink = pa.BufferOutputStream()
    table = {"user": ["a", "b", None] * 9, "item": list(range(27)), "t": np.arange(27) / 7}
    pq.write_table(pa.table(table), sink, **options)
    return sink.getvalue().to_pybytes()


LINES = b"user,item,t\n" + b"".join(b"%d,%d,9\n" % (k % 7, k) for k in range(40))
PACKED = [
    LINES, gzip.compress(LINES), bz2.compress(LINES), lzma.compress(LINES), _by_arrow(LINES, "zstd"), _by_arrow(LINES, "lz4"),
    *(_zip("a.csv", LINES, how) for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)),
    *(_tar("a.csv", LINES, kind) for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)),
    _tar("b" * 200, LINES), _tar("é" * 90, LINES, tarfile.PAX_FORMAT), _tar("a.csv", LINES, mode="w:gz"),
    LINES.decode().encode("utf-16"), LINES.decode().encode("utf-32"),
]  # fmt: skip
PARQUETS = [_parquet(), _parquet(compression="NONE", use_dictionary=False), _parquet(row_group_size=5, compression="zstd")]  # fmt: skip


@st.composite
def damaged(draw, sound):
    """A sound file with some bytes changed, cut, repeated or put in."""
    content = bytearray(draw(st.sampled_from(sound)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        what = draw(st.sampled_from(["flip", "set", "cut", "drop", "repeat", "insert"]))
        n = draw(st.integers(1, 40))
        if what == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "set":
            content[at : at + n] = bytes([draw(st.sampled_from([0, 255, 127, 128, 48]))]) * n
        elif what == "cut":
            del content[at:]
        elif what == "drop":
            del content[at : at + n]
        elif what == "repeat":
            content[at:at] = content[at : at + n] * draw(st.integers(1, 9))
        elif what == "insert":
            content[at:at] = draw(st.binary(max_size=12))
    return bytes(content)


@fuzzed
@given(content=damaged(PACKED), member=st.sampled_from([None, "*.csv", "u.data"]))
def test_containers(content, member):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.bin"
        file.write_bytes(content)
        with one_line("a.bin"):
            assert isinstance(read_content(file, member, 10**6), bytes)


# --- text ----------------------------------------------------------------------------------------------------------

CELLS = st.one_of(
    st.sampled_from(
        ["1", "2", "7.0", "007", "u1", "i1", "", " ", "NULL", "\\N", "<NA>", "nan", "inf", "-1", "1e400", "1e-3", "9" * 25, "0x1",
         "1_0", " 5", "5\u00a0", "é", "\ufeff", "\x00", "\x1f", "\u2028", "\ud800", '"', '""', '"a"', '"a,b"', '"a\nb"', '"a', 'a"',
         "a\rb", "1400000000", "1400000000000", "2024-01-01", "user", "item", "t", "user_id:token", "١"]
    ),
    st.text(st.characters(codec="utf-8"), max_size=6),
)  # fmt: skip
DELIMITERS = [",", "\t", ";", " ", "::", "|", "\\t", "\x01", '"', "\n", "\r", "\x00", "é", ", ", "1", "a", ":"]  # fmt: skip


@st.composite
def tables(draw):
    """Some lines of cells, not always equally many, and the delimiter between most of them."""
    delimiter = draw(st.sampled_from(DELIMITERS))
    width = draw(st.integers(1, 5))
    head = draw(st.sampled_from([["user", "item", "t"], ["user_id:token", "item_id:token", "timestamp:float"], []]))  # fmt: skip
    rows = [head[:width] + ["x"] * (width - len(head))] if head else []
    plain = draw(st.booleans())
    cells = st.sampled_from(["1", "2", "1400000000", "1400000001"]) if plain else CELLS
    for _ in range(draw(st.integers(0, 16 if plain else 8))):
        n = width if draw(st.integers(0, 9)) else draw(st.integers(0, 6))
        rows.append([draw(cells) for _ in range(n)])
    end = draw(st.sampled_from(["\n", "\r\n", "\n", "\n\n", "\r"]))
    text = end.join(delimiter.replace("\\t", "\t").join(row) for row in rows)
    text += draw(st.sampled_from(["", end]))
    content = text.encode("utf-8", "surrogatepass")
    if draw(st.booleans()):
        content = draw(damaged([content or b"a"]))
    return draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"])) + content, delimiter


@st.composite
def layouts(draw, delimiter):
    columns = st.one_of(st.integers(0, 5), st.sampled_from(["user", "item", "t", "x", "user_id"]))
    given = {}
    if draw(st.integers(0, 3)):
        given["delimiter"] = delimiter
    if draw(st.booleans()):
        given["header"] = draw(st.sampled_from([True, False, "typed"]))
    if draw(st.booleans()):
        fields = draw(st.sets(st.sampled_from(["user", "item", "time", "position"])))
        given["columns"] = {field: draw(columns) for field in fields}
    return draw(st.sampled_from([*LAYOUTS])), given


RULE = st.builds(Rule, **{key: st.sampled_from(values) for key, values in RULES.items()})


@fuzzed
@given(data=st.data(), table=tables(), rule=RULE)
def test_text(data, table, rule):
    content, delimiter = table
    name, overrides = data.draw(layouts(delimiter))
    try:
        layout = layout_of(name, overrides)
    except UserError as error:
        assert "\n" not in str(error)
        return
    with one_line("a.csv") if overrides.get("columns") is None else one_line(""):
        found = read_interactions(content, layout, "a.csv", rule)
        check_sound(found, rule)
        if not set(b'"\r\x00') & set(content) and len(layout.delimiter) == 1:
            check_rows(found, content, layout, rule)


@fuzzed
@given(table=tables(), rule=RULE, k=st.sampled_from([1, 1, 2]), time=st.sampled_from(["unix", "unix-ms", "rank", "none"]), order=st.sampled_from(["file", "float32", "seed:1"]), split=st.sampled_from(["leave-one-out", "temporal"]), header=st.booleans())  # fmt: skip
def test_preparing(table, rule, k, time, order, split, header):
    content, delimiter = table
    columns = (
        {"user": "user", "item": "item", "time": "t"}
        if header
        else {"user": 0, "item": 1, "time": 2}
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.csv"
        file.write_bytes(content)
        local = {
            "path": str(file),
            "time": time,
            "delimiter": delimiter,
            "header": header,
            "columns": columns,
        }
        block = {
            "source": "file", "k_core": k, "order": order, "split": split, "ids": vars(rule), "local": local,
        }  # fmt: skip
        with one_line(""):
            prepare("own", block, Path(folder), Path(folder) / "out")
            open_dataset(Path(folder) / "out")


def check_sound(found, rule):
    for codes, ids in ((found.users, found.user_ids), (found.items, found.item_ids)):
        assert len(ids) == len(set(ids)) and codes.max(initial=-1) < len(ids)
        assert set(codes[codes >= 0].tolist()) == set(range(len(ids)))
        assert rule.missing == "drop" or codes.min(initial=0) >= 0
        assert all(one == one.strip() and one.splitlines() == [one] for one in ids)
        for numbers in (found.time, found.position):
            assert numbers is None or (len(numbers) == len(codes) and np.isfinite(numbers).all())


def check_rows(found, content, layout, rule):
    """The same as lines cut at the delimiter say: there are no quotes."""
    lines = [line.split(layout.delimiter) for line in content.decode("utf-8-sig", "replace").split("\n") if line]  # fmt: skip
    names = [cell.split(":")[0].strip() if layout.header == "typed" else cell.strip() for cell in lines[0]]  # fmt: skip
    rows = lines[1:] if layout.header else lines
    assert len(rows) == len(found.users)
    for field, codes, ids in (("user", found.users, found.user_ids), ("item", found.items, found.item_ids)):  # fmt: skip
        column = getattr(layout, field)
        at = column if isinstance(column, int) else names.index(column)
        for row, code in zip(rows, codes.tolist(), strict=True):
            value = row[at].strip()
            assert code < 0 or (ids[code] == value or rule.form == "number")


@fuzzed
@given(content=damaged(PARQUETS), rule=RULE, names=st.sampled_from([{}, {"time": "t"}, {"user": 1, "item": 0}]))  # fmt: skip
def test_parquet(content, rule, names):
    columns = {"columns": {"user": "user", "item": "item", **names}}
    with one_line("a.parquet"):
        if content.startswith(b"PAR1"):
            check_sound(
                read_interactions(content, layout_of("delimited", columns), "a.parquet", rule), rule
            )


# --- configuration -------------------------------------------------------------------------------------------------

SHIPPED = [(load.ROOT / "config" / f"{name}.yaml").read_text() for name in ("quick", "demo", "protocols")]  # fmt: skip
WORDS = [
    "a", "b", "run", "seeds", "1", "010", "1_0", "1e3", "12:30", "yes", "~", "null", "2024-01-01", "'x'", '"\\t"', ".inf", "=", "<<", "*a",
    "&a ", "!!set", "!!binary", "{", "}", "[", "]", ",", ":", ": ", "- ", "? ", "\n", "\n  ", "\n    ", "\t", "#", "|\n", ">\n", "---\n", "%",
    "@", "`", "\x00", "\x85", "\u00e9", '{"a": 1, "a": 2}',
]  # fmt: skip


@st.composite
def configurations(draw):
    if draw(st.booleans()):
        return "".join(draw(st.lists(st.sampled_from(WORDS), max_size=25)))
    text = draw(st.sampled_from(SHIPPED))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from([*WORDS, ""])) + text[at + draw(st.integers(0, 9)) :]  # fmt: skip
    return text


@fuzzed
@given(text=configurations())
def test_yaml(text):
    with one_line("mine.yaml"):
        found = parsed(text, "mine.yaml")
        try:
            expected = json.loads(text)
        except ValueError:
            expected = yaml.safe_load(text)
        assert repr(found) == repr(expected)


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.integers(-2, 70), st.floats(), st.text(max_size=5),
        st.sampled_from(["ml-1m", "matched", "sasrec", "mamba4rec", "~", "$HOME/x", "a\nb", "\x00", "1e3", "", 2**70, "file"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(string.ascii_lowercase, max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)  # fmt: skip


def paths(block, above=()):
    """Every place of a configuration."""
    items = block.items() if isinstance(block, dict) else enumerate(block) if isinstance(block, list) else ()  # fmt: skip
    for key, value in items:
        yield (*above, key)
        yield from paths(value, (*above, key))


WHOLE = load.load([load.ROOT / "config" / "demo.yaml"])
WHOLE["datasets"]["own"] = {
    "source": "file", "seq_lens": [5], "k_core": 5, "order": "file", "split": "temporal", "holdout": 0.1,
    "ids": {"missing": "drop", "form": "number"}, "expect": {"users": 1, "items": 2, "interactions": 3},
    "local": {"path": "x", "sha256": "0" * 64, "format": "inter", "columns": {"user": 0, "item": "b"}, "delimiter": ";",
              "header": False, "time": "rank", "differs_from_original": "no"},
}  # fmt: skip
PLACES = list(paths(WHOLE))


@fuzzed
@given(places=st.lists(st.sampled_from(PLACES), min_size=1, max_size=2), values=st.lists(VALUES, min_size=2, max_size=2), spelled=st.booleans())  # fmt: skip
def test_values_of_a_configuration(places, values, spelled):
    config = copy.deepcopy(WHOLE)
    for place, value in zip(places, values, strict=False):
        block = config
        try:
            for key in place[:-1]:
                block = block[key]
            if spelled and isinstance(block, dict):
                block[f"{place[-1]}x"] = block.pop(place[-1])
            else:
                block[place[-1]] = value
        except (LookupError, TypeError):
            continue  # the first change took the place of the second away
    with one_line("config: "):
        load.validate(config)


def test_the_independent_reading_tells_wrong_rows():
    """What `check_rows` holds readings against can fail."""
    layout = layout_of("delimited", {})
    found = read_interactions(b"user,item\n1,5\n2,6\n", layout, "a.csv")
    with pytest.raises(AssertionError):
        check_rows(found, b"user,item\n1,5\n3,6\n", layout, Rule())
