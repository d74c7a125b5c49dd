"""Containers are read in memory, one member, up to a limit."""

import gzip
import io
import zipfile

import pytest

from seqbench.core.errors import UserError
from seqbench.data.containers import read_content

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
