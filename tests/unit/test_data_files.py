"""Where a source's file comes from: local override, data_dir, first URL, mirrors."""

import dataclasses
import hashlib
import io
import random
import re
import zipfile

import pytest
from data_server import serve

from seqbench.config.sources import SOURCES, Origin
from seqbench.core.errors import UserError
from seqbench.data import open_dataset, prepare
from seqbench.data.download import Policy
from seqbench.data.files import locate
from seqbench.data.layouts import LAYOUTS

CONTENT = random.Random(1).randbytes(5000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FAST = Policy(attempts=2, backoff_s=0.01, stall_s=60.0)  # a busy machine may be slow to answer
IMPATIENT = dataclasses.replace(FAST, stall_s=1.0)  # where the server stalls
DEAD = "http://127.0.0.1:9"  # the discard port: nobody listens


@pytest.fixture
def source(monkeypatch):
    """Declare the built-in source ml-1m to come from the given (url, file, sha256, sure)."""

    def declare(*origins):
        made = tuple(
            Origin(url, file, "movielens", 10**6, sha256, sure)
            for url, file, sha256, sure in origins
        )
        changed = dataclasses.replace(SOURCES["ml-1m"], origins=made)
        monkeypatch.setitem(SOURCES, "ml-1m", changed)

    return declare


def find(data_dir, policy=FAST, **local):
    return locate("mine", {"source": "ml-1m"} | local, data_dir, policy)


def test_table_of_sources():
    files = [origin.file for source in SOURCES.values() for origin in source.origins]
    assert len(set(files)) == len(files) == 8
    for source in SOURCES.values():
        assert re.fullmatch("[0-9a-f]{64}", source.origins[0].sha256)
        assert set(source.five_core) == {"users", "items", "interactions"}
        assert source.terms and source.citation and source.time == "unix"
        for origin in source.origins:
            assert origin.url.startswith("https://") and origin.format in LAYOUTS


def test_file_in_data_dir_needs_no_request(tmp_path, source):
    (tmp_path / "a.zip").write_bytes(CONTENT)
    with serve(CONTENT) as (server, url):
        source((url, "a.zip", SHA256, True), (url, "mirror.zip", None, True))
        found = find(tmp_path)
    assert (found.path, found.sha256, found.url) == (tmp_path / "a.zip", SHA256, None)
    assert server.requests == []


def test_mirrors_file_in_data_dir_needs_no_request(tmp_path, source):
    (tmp_path / "mirror.zip").write_bytes(CONTENT)
    with serve(CONTENT) as (server, url):
        source((url, "a.zip", SHA256, True), (url, "mirror.zip", None, True))
        assert find(tmp_path).path == tmp_path / "mirror.zip"
    assert server.requests == []


def test_wrong_file_in_data_dir_is_named_with_both_checksums(tmp_path, source):
    (tmp_path / "a.zip").write_bytes(CONTENT)
    source((DEAD, "a.zip", "0" * 64, True))
    with pytest.raises(UserError, match=f"a.zip has SHA-256 {SHA256}, expected {'0' * 64}"):
        find(tmp_path)


def test_download_from_the_first_url(tmp_path, source):
    with serve(CONTENT) as (_, url):
        source((url + "/a.zip", "a.zip", SHA256, True), (DEAD, "mirror.zip", None, True))
        found = find(tmp_path / "data")
    assert found.url == url + "/a.zip" and found.path.read_bytes() == CONTENT


@pytest.mark.parametrize("script", [(500, 500), (404,), ("stall", "stall")])
def test_second_url_when_the_first_is_dead(tmp_path, source, script):
    with serve(CONTENT[:1], *script) as (_, broken), serve(CONTENT) as (_, url):
        source((broken, "a.zip", SHA256, True), (url + "/b.zip", "b.zip", None, True))
        found = find(tmp_path, IMPATIENT if "stall" in script else FAST)
    assert found.url == url + "/b.zip" and found.path == tmp_path / "b.zip"


def test_wrong_checksum_of_a_sure_pin_goes_on_to_the_mirror(tmp_path, source):
    with serve(b"sign in to this network") as (_, portal), serve(CONTENT) as (_, url):
        source((portal, "a.zip", SHA256, True), (url, "b.zip", None, True))
        assert find(tmp_path).path == tmp_path / "b.zip"
    assert not (tmp_path / "a.zip").exists()


def test_wrong_checksum_of_a_weak_pin_is_for_the_user_to_judge(tmp_path, source):
    with serve(CONTENT) as (_, url), serve(CONTENT) as (mirror, mirror_url):
        source((url, "a.csv", "0" * 64, False), (mirror_url, "b.zip", None, True))
        with pytest.raises(UserError) as caught:
            find(tmp_path)
        assert mirror.requests == []
    message = str(caught.value)
    assert "a checksum that only one registry publishes" in message
    kept = tmp_path / "a.csv.unverified"
    assert f"datasets.mine.local: {{path: {kept}, sha256: {SHA256}" in message
    found = find(
        tmp_path, local={"path": str(kept), "sha256": SHA256, "differs_from_original": "newer"}
    )
    assert (found.format, found.substitute_file) == ("movielens", "newer")


def test_no_source_at_all_is_one_message(tmp_path, source):
    with serve(CONTENT, 404) as (_, url):
        source((DEAD + "/a.zip", "a.zip", SHA256, True), (url + "/b.zip", "b.zip", None, True))
        with pytest.raises(UserError) as caught:
            find(tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    parts = [
        "dataset mine: cannot get a.zip",
        DEAD + "/a.zip: ",
        "efused",
        url + "/b.zip: HTTP 404",
        f"Put a copy at {tmp_path / 'a.zip'}",
        "datasets.mine.local",
        "`make demo` needs no download",
    ]
    assert [part for part in parts if part not in message] == []


def test_local_override(tmp_path, source):
    source((DEAD, "a.zip", "0" * 64, True))
    (tmp_path / "mine.zip").write_bytes(CONTENT)
    local = {
        "path": str(tmp_path / "mine.zip"),
        "sha256": SHA256,
        "differs_from_original": "ranks for times",
    }
    found = find(tmp_path, local=local)
    assert (found.substitute_file, found.url, found.format) == (
        "ranks for times",
        None,
        "movielens",
    )


@pytest.mark.parametrize(
    ("local", "message"),
    [
        ({"path": "nowhere.zip", "sha256": SHA256}, "mine.local.path: nowhere.zip is not a file"),
        ({"path": "a.zip", "sha256": "1" * 64}, f"SHA-256 {SHA256}, declared is {'1' * 64}"),
        ({"path": "a.zip"}, f"mine.local.sha256 is missing.*{SHA256}"),
    ],
)
def test_bad_local_overrides(tmp_path, monkeypatch, local, message):
    monkeypatch.chdir(tmp_path)  # the path is relative to the working directory
    (tmp_path / "a.zip").write_bytes(CONTENT)
    with pytest.raises(UserError, match=message):
        find(tmp_path, local=local)


def test_own_file_needs_no_checksum(tmp_path):
    (tmp_path / "own.csv").write_bytes(CONTENT)
    definition = {"source": "file", "local": {"path": str(tmp_path / "own.csv")}}
    found = locate("own", definition, tmp_path, FAST)
    assert (found.sha256, found.format, found.substitute_file) == (SHA256, "delimited", None)


def zipped(name, text):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README", "terms")
        archive.writestr(name, text)
    return buffer.getvalue()


def test_the_mirrors_container_gives_the_same_data(tmp_path, monkeypatch):
    rng = random.Random(2)
    events = [
        (u, rng.randint(1, 9), 10**9 + rng.randint(0, 50)) for u in range(8) for _ in range(30)
    ]
    dat = "".join(f"{u}::{i}::5::{t}\n" for u, i, t in events)
    head = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    inter = head + "".join(f"{u}\t{i}\t5\t{t}.0\n" for u, i, t in events)
    files = zipped("ml-1m/ratings.dat", dat), zipped("ml-1m/ml-1m.inter", inter)
    infos = []
    with serve(files[0], "ok", 404) as (_, first), serve(files[1]) as (_, mirror):
        sha256 = hashlib.sha256(files[0]).hexdigest()
        origins = (
            Origin(first + "/ml-1m.zip", "ml-1m.zip", "movielens", 10**6, sha256),
            Origin(mirror + "/ml-1m.zip", "recbole-ml-1m.zip", "inter", 10**6),
        )
        counts = {"users": 8, "items": 9, "interactions": 240}
        small = dataclasses.replace(SOURCES["ml-1m"], origins=origins, five_core=counts)
        monkeypatch.setitem(SOURCES, "ml-1m", small)
        for folder in ("a", "b"):
            out = tmp_path / folder
            infos.append(prepare("ml-1m", {"source": "ml-1m"}, out / "data", out / "out"))
    assert [info["provenance"]["url"] for info in infos] == [o.url for o in origins]
    assert infos[0]["hash"] == infos[1]["hash"]
    assert infos[0]["ties"] == infos[1]["ties"] and infos[0]["ties"]["events_tied"] > 0.3
    assert open_dataset(tmp_path / "b/out").times.min() >= 10**9
