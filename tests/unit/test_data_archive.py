"""Containers are read in memory, one member, up to a limit."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import pyarrow as pa
import pytest

from seqbench.core.errors import UserError
from seqbench.data import containers
from seqbench.data.containers import is_packed, read_content

LIMIT = 10_000


def zip_of(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_plain_gzip_and_zip_give_the_same(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"1,2\n")
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"1,2\n"))
    zip_of(tmp_path / "a.zip", {"folder/a.csv": b"1,2\n"})
    for name in ("a.csv", "a.gz", "a.zip"):
        assert read_content(tmp_path / name, None, LIMIT) == b"1,2\n"


def test_only_the_wanted_member_is_read(tmp_path):
    files = {"ml-1m/movies.dat": b"m", "ml-1m/ratings.dat": b"r", "ml-1m/README": b"x" * 20_000}
    assert read_content(zip_of(tmp_path / "a.zip", files), "ratings.dat", LIMIT) == b"r"


def test_paths_that_climb_out_write_nothing(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    path = zip_of(inner / "a.zip", {"../evil.txt": b"e", "/tmp/evil.txt": b"e", "u.data": b"ok"})
    assert read_content(path, "u.data", LIMIT) == b"ok"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip", "inner"]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, lambda content: compressed("zstd"), lambda content: compressed("lz4")])  # fmt: skip
@pytest.mark.parametrize("rest", [b"garbage", b"second"])
def test_a_damaged_second_stream_is_never_left_out(tmp_path, pack, rest):
    """As of an archive that was packed in parts: without its end it would read as a shorter file."""
    if rest == b"second":
        rest = bytearray(pack(PLAIN))
        rest[2] ^= 0xFF
    (tmp_path / "a.bin").write_bytes(pack(PLAIN) + rest)
    with pytest.raises(UserError, match=r"a\.bin is damaged"):
        read_content(tmp_path / "a.bin", None, LIMIT)


@pytest.mark.parametrize("files", [{}, {"b.txt": b""}, {"x/u.data": b"", "y/u.data": b""}])
def test_missing_or_ambiguous_member(tmp_path, files):
    path = zip_of(tmp_path / "a.zip", files | {"other": b""})
    with pytest.raises(
        UserError, match=r"a\.zip must hold one file u\.data, but [02] match.*other"
    ):
        read_content(path, "u.data", LIMIT)


def test_zip_bomb_by_its_declared_size(tmp_path):
    path = zip_of(tmp_path / "a.zip", {"u.data": bytes(LIMIT + 1)})
    with pytest.raises(UserError, match=r"u\.data unpacks to more than the allowed 10,000 bytes"):
        read_content(path, "u.data", LIMIT)


def test_zip_bomb_that_lies_about_its_size(tmp_path):
    path = zip_of(tmp_path / "a.zip", {"u.data": bytes(5_000_000)})
    honest, lie = (5_000_000).to_bytes(4, "little"), (100).to_bytes(4, "little")
    raw = path.read_bytes()
    assert raw.count(honest) == 2  # local header and directory
    path.write_bytes(raw.replace(honest, lie))
    with pytest.raises(UserError):  # zipfile stops at the declared size and misses the checksum
        read_content(path, "u.data", LIMIT)


def test_gzip_bomb(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    with pytest.raises(UserError, match="unpacks to more than the allowed 10,000 bytes"):
        read_content(tmp_path / "a.gz", None, LIMIT)


def test_large_plain_file(tmp_path):
    (tmp_path / "a.csv").write_bytes(bytes(LIMIT + 1))
    with pytest.raises(UserError, match="more than the allowed"):
        read_content(tmp_path / "a.csv", None, LIMIT)


def test_damaged_containers(tmp_path):
    buffer = io.BytesIO()
    zip_of(buffer, {"u.data": bytes(range(256)) * 20})
    damaged = {
        "cut.zip": buffer.getvalue()[:-40],
        "cut.gz": gzip.compress(bytes(range(256)) * 20)[:-20],
        "not.gz": b"\x1f\x8b" + b"junk" * 10,
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name} is damaged"):
            read_content(tmp_path / name, "u.data", LIMIT)


PLAIN = b"1,2\n" * 20


def tar_of(files, mode="w", changes=None):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for key, value in (changes or {}).get(name, {}).items():
                setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def zip_bytes(files):
    buffer = io.BytesIO()
    zip_of(buffer, files)
    return buffer.getvalue()


def compressed(codec):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(PLAIN)
    return sink.getvalue().to_pybytes()


READ = {
    "a.gz": gzip.compress(PLAIN),
    "two.gz": gzip.compress(PLAIN[:40]) + gzip.compress(PLAIN[40:]),
    "a.bz2": bz2.compress(PLAIN),
    "a.xz": lzma.compress(PLAIN),
    "a.zst": compressed("zstd"),
    "a.lz4": compressed("lz4"),
    "a.tar": tar_of({"x/a.csv": PLAIN}),
    "a.tar.gz": tar_of({"a.csv": PLAIN}, "w:gz"),
    "a.tar.xz": tar_of({"a.csv": PLAIN}, "w:xz"),
    "a.csv.gz in a zip": zip_bytes({"a.csv.gz": gzip.compress(PLAIN)}),
    "macOS.zip": zip_bytes(
        {"a.csv": PLAIN, "__MACOSX/._a.csv": b"\x00\x05", "x/.DS_Store": b"\x00", "._b": b""}
    ),
    "macOS.tar": tar_of({"._a.csv": b"\x00", "a.csv": PLAIN}),
    "utf-16": PLAIN.decode().encode("utf-16"),
    "utf-16-be": b"\xfe\xff" + PLAIN.decode().encode("utf-16-be"),
    "utf-32": PLAIN.decode().encode("utf-32"),
    "utf-16.gz": gzip.compress(PLAIN.decode().encode("utf-16")),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_read(tmp_path, name):
    (tmp_path / name).write_bytes(READ[name])
    assert read_content(tmp_path / name, None, 3 * LIMIT) == PLAIN
    assert is_packed(tmp_path / name)


def test_text_is_taken_as_it_is(tmp_path):
    for content in (b"", b"a", b"BZh9 is a name\n1\n", b"\xef\xbb\xbfa,b\n", b"PK,b\n"):
        (tmp_path / "a.csv").write_bytes(content)
        assert read_content(tmp_path / "a.csv", None, LIMIT) == content
        assert not is_packed(tmp_path / "a.csv")


REFUSED = {
    "a.7z": (b"7z\xbc\xaf\x27\x1c\x00\x04", "is a 7-Zip archive, which is not read; unpack it"),
    "a.rar": (b"Rar!\x1a\x07\x01\x00", "is a RAR archive, which is not read; unpack it"),
    "a.xlsx": (zip_bytes({"[Content_Types].xml": b"", "xl/a.xml": b""}), "Excel workbook, which is not read; save the sheet"),
    "a.html": (b"\n <!DOCTYPE html><p>sign in", "is a web page or XML, no table"),
    "a.json": (b'{"user": 1}\n', "is JSON, which is not read; write the interactions as CSV or Parquet"),
    "a.npy": (b"\x93NUMPY\x01\x00", "is a NumPy array, which is not read"),
    "utf-16 without a mark": (("1,2\n" * 9).encode("utf-16-le"), "holds zero bytes: no text, or UTF-16 that does not say so; save it as UTF-8"),
    "half.utf-16": (b"\xff\xfe1\x00\x00\xd8", "is no sound UTF-16"),
    "too deep": (gzip.compress(gzip.compress(gzip.compress(gzip.compress(PLAIN)))), "holds more than 3 containers in each other"),
    "link.tar": (tar_of({"a.csv": b""}, changes={"a.csv": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}}), "must hold a single file, but 0 match; it holds nothing"),
    "hard.tar": (tar_of({"a.csv": b""}, changes={"a.csv": {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}}), "but 0 match"),
    "device.tar": (tar_of({"a.csv": b""}, changes={"a.csv": {"type": tarfile.CHRTYPE}}), "but 0 match"),
    "bomb.bz2": (bz2.compress(bytes(5_000_000)), "unpacks to more than the allowed 10,000 bytes"),
    "bomb.xz": (lzma.compress(bytes(5_000_000)), "unpacks to more than the allowed 10,000 bytes"),
    "bomb.tar.gz": (tar_of({"a": bytes(5_000_000)}, "w:gz"), "unpacks to more than the allowed"),
    "bomb in a bomb": (zip_bytes({"a.gz": gzip.compress(bytes(1_000_000))}), "unpacks to more than the allowed"),
    "cut.bz2": (bz2.compress(PLAIN)[:-9], "is damaged or not readable here"),
    "cut.xz": (lzma.compress(PLAIN)[:-9], "is damaged or not readable here"),
    "cut.zst": (compressed("zstd")[:-9], None),
    "cut.tar": (tar_of({"a.csv": PLAIN})[:520], "is damaged or not readable here"),
    "negative.tar": (b"", "is damaged or not readable here (an entry of negative size)"),
}  # fmt: skip


def negative_tar():
    """An entry whose size is negative, behind which reading would begin again with itself."""
    header = bytearray(tar_of({"a.csv": b""})[:512])
    header[124:136] = b"\xff" * 10 + (-512 & 0xFFFF).to_bytes(2, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\x00 " % sum(header)
    return tar_of({"b.csv": PLAIN})[:1024] + bytes(header) * 4


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_in_one_line(tmp_path, name):
    content, said = REFUSED[name]
    (tmp_path / name).write_bytes(content or negative_tar())
    with pytest.raises(UserError) as caught:
        read_content(tmp_path / name, None, LIMIT)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / name)) and "\n" not in message
    assert said is None or said in message


def test_links_in_a_zip_are_no_files(tmp_path):
    entry = zipfile.ZipInfo("a.csv")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(UserError, match="it holds nothing"):
        read_content(tmp_path / "a.zip", None, LIMIT)


def test_what_unpacks_to_far_more_than_data_do_is_refused_long_before_the_memory_is_full(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(containers, "ALWAYS_ALLOWED_BYTES", 10_000)
    (tmp_path / "a.bz2").write_bytes(bz2.compress(bytes(10_000_000)))
    with pytest.raises(UserError, match="more than the allowed 10,0"):
        read_content(tmp_path / "a.bz2", None)
