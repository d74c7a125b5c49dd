"""The download code against a server that fails, truncates, stalls, lies and resumes."""

import hashlib
import random
import threading
from dataclasses import replace

import pytest
from data_server import serve

from seqbench.core.errors import UserError
from seqbench.data.download import Policy, Refused, fetch

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FAST = Policy(attempts=3, backoff_s=0.01, stall_s=60.0)  # a busy machine may be slow to answer
IMPATIENT = replace(FAST, stall_s=1.0)  # where the server stalls
LIMIT = 10**6


def get(url, target, sha256=SHA256, limit=LIMIT, policy=FAST):
    fetch(url + "/x.zip", target, limit, sha256, policy)


def test_plain_download_leaves_only_the_file(tmp_path):
    with serve(CONTENT) as (server, url):
        get(url, tmp_path / "data" / "x.zip")
    assert (tmp_path / "data" / "x.zip").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["x.zip"]
    assert len(server.requests) == 1


def test_server_errors_are_retried(tmp_path):
    with serve(CONTENT, 500, 503) as (server, url):
        get(url, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_gives_up_after_the_attempts(tmp_path):
    raises = pytest.raises(Refused, match=r"HTTP 500 \(3 attempts\)")
    with serve(CONTENT, 500, 500, 500, 500) as (server, url), raises:
        get(url, tmp_path / "x.zip")
    assert len(server.requests) == 3
    assert list(tmp_path.iterdir()) == []


def test_missing_file_is_not_retried(tmp_path):
    with serve(CONTENT, 404) as (server, url), pytest.raises(Refused, match="HTTP 404"):
        get(url, tmp_path / "x.zip")
    assert len(server.requests) == 1


@pytest.mark.parametrize("behaviour", ["truncate", "stall"])
def test_broken_transfer_is_resumed_where_it_broke(tmp_path, behaviour):
    with serve(CONTENT, behaviour) as (server, url):
        get(url, tmp_path / "x.zip", policy=IMPATIENT)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    assert [header for _, header in server.requests] == [None, "bytes=150000-"]
    assert server.sent_bytes == len(CONTENT)  # nothing came twice


def test_a_connection_that_gets_on_may_drop_more_often_than_the_attempts(tmp_path):
    with serve(CONTENT, *["truncate"] * 6) as (server, url):
        get(url, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    assert len(server.requests) == 7
    assert server.sent_bytes == len(CONTENT)


def test_a_connection_that_never_gets_on_is_given_up(tmp_path):
    with serve(CONTENT, *["stall"] * 30) as (_, url):  # half of 1 byte is none
        (tmp_path / "x.zip.part").write_bytes(CONTENT[:-1])
        with pytest.raises(Refused, match=r"no answer within 1 s \(3 attempts\)"):
            get(url, tmp_path / "x.zip", policy=IMPATIENT)
    assert (tmp_path / "x.zip.part").read_bytes() == CONTENT[:-1]  # kept for the next time


def test_part_of_an_earlier_run_is_resumed(tmp_path):
    (tmp_path / "x.zip.part").write_bytes(CONTENT[:200_000])
    with serve(CONTENT) as (server, url):
        get(url, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    assert server.sent_bytes == 100_000


def test_complete_part_needs_no_more_bytes(tmp_path):
    (tmp_path / "x.zip.part").write_bytes(CONTENT)
    with serve(CONTENT) as (server, url):
        get(url, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    assert server.sent_bytes == 0


def test_part_longer_than_the_file_starts_over(tmp_path):
    (tmp_path / "x.zip.part").write_bytes(CONTENT + b"more")
    with serve(CONTENT) as (_, url):
        get(url, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == CONTENT


def test_part_of_another_version_starts_over(tmp_path):
    (tmp_path / "x.zip.part").write_bytes(bytes(100_000))
    with serve(CONTENT) as (server, url):
        get(url, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    assert [header for _, header in server.requests] == ["bytes=100000-", None]


def test_server_that_ignores_range(tmp_path):
    (tmp_path / "x.zip.part").write_bytes(CONTENT[:200_000])
    with serve(CONTENT, "no-range") as (server, url):
        get(url, tmp_path / "x.zip", sha256=None)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    assert server.sent_bytes == len(CONTENT)


def test_server_that_answers_another_range(tmp_path):
    (tmp_path / "x.zip.part").write_bytes(CONTENT[:200_000])
    with serve(CONTENT, "other-range") as (server, url):
        get(url, tmp_path / "x.zip", sha256=None)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    assert [header for _, header in server.requests] == ["bytes=200000-", None]


def test_wrong_checksum_never_becomes_the_file(tmp_path):
    raises = pytest.raises(Refused, match=f"SHA-256 is {SHA256}, expected {'0' * 64}")
    with serve(CONTENT) as (_, url), raises as caught:
        get(url, tmp_path / "x.zip", sha256="0" * 64)
    assert caught.value.sha256 == SHA256
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip.unverified"]


@pytest.mark.parametrize("behaviour", ["ok", "no-length"])
def test_size_limit(tmp_path, behaviour):
    raises = pytest.raises(Refused, match="more than the allowed 1,000")
    with serve(CONTENT, behaviour) as (_, url), raises:
        get(url, tmp_path / "x.zip", limit=1000)
    assert list(tmp_path.iterdir()) == []


def test_dead_host(tmp_path):
    with serve(CONTENT) as (_, url):
        pass  # its port is closed now
    with pytest.raises(Refused, match=r"[Rr]efused.*\(3 attempts\)"):
        get(url, tmp_path / "x.zip")


def test_unwritable_folder_is_a_user_error(tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot write .*data: File exists"):
        get("http://127.0.0.1:9", tmp_path / "data" / "x.zip")


def test_two_processes_download_once(tmp_path):
    with serve(CONTENT) as (server, url):
        threads = [threading.Thread(target=get, args=(url, tmp_path / "x.zip")) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    assert server.sent_bytes == len(CONTENT)
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_progress_is_plain_lines_outside_a_terminal(tmp_path, capsys):
    with serve(CONTENT, 500) as (_, url):
        get(url, tmp_path / "x.zip")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"{url}/x.zip: HTTP 500; trying again in 0.01 s",
        "x.zip: 0.3 MiB of 0.3 MiB (100%)",
    ]


def test_progress_is_a_bar_in_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with serve(CONTENT) as (_, url):
        get(url, tmp_path / "x.zip")
    text = capsys.readouterr().err
    assert text.startswith("\r") and text.endswith(f"[{'#' * 30}]\n")


@pytest.mark.parametrize("behaviour", ["endless", "no-length"])
def test_a_server_that_never_ends_is_stopped_at_the_limit(tmp_path, behaviour):
    raises = pytest.raises(Refused, match="sends more than the allowed 10,000")
    with serve(CONTENT, behaviour) as (_, url), raises:
        get(url, tmp_path / "x.zip", limit=10_000)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_sends_a_byte_now_and_then_is_given_up(tmp_path):
    slow = replace(FAST, slow_s=0.0, least_bytes_per_s=1e9)
    with serve(CONTENT, "drip", "drip") as (server, url):
        with pytest.raises(
            Refused, match=r"sends less than 1,000,000,000 bytes/s; get the file by"
        ):
            get(url, tmp_path / "x.zip", policy=slow)
        assert len(server.requests) == 1


def test_a_head_without_end_is_no_answer(tmp_path):
    policy = replace(FAST, attempts=1, stall_s=0.5)
    with serve(CONTENT, "slow-head") as (_, url), pytest.raises(Refused, match="no answer within"):
        get(url, tmp_path / "x.zip", policy=policy)


@pytest.mark.parametrize("length", ["abc", "-5", "1e3", "\u0661".encode().decode("latin-1")])
def test_a_length_that_is_none_does_not_matter(tmp_path, length):
    with serve(CONTENT, f"Content-Length: {length}") as (_, url):
        get(url, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == CONTENT


@pytest.mark.parametrize("behaviour", ["bytes", "redirect"])
def test_an_answer_that_is_none_is_one_line(tmp_path, behaviour):
    with serve(CONTENT, *[behaviour] * 60) as (_, url), pytest.raises(Refused) as caught:
        get(url, tmp_path / "x.zip")
    assert "\n" not in str(caught.value)
