"""Data are looked at in blocks: any size of blocks gives the same result, and memory grows with the data alone."""

import re
import tracemalloc

import numpy as np
import pytest

from seqbench.data import filtering, formats, prepare
from seqbench.data.formats import Interactions
from seqbench.data.pipeline import arrange, repeats
from seqbench.data.split import temporal


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few events and a few lines."""

    def shrink():
        monkeypatch.setattr(filtering, "BLOCK_EVENTS", 7)
        monkeypatch.setattr(filtering, "MOST_BLOCKS", 10**9)
        monkeypatch.setattr(formats, "BLOCK_BYTES", 300)

    return shrink


def interactions(n=2000, n_users=40, n_items=30, seed=0):
    """Rows in no order, many of them at the same time."""
    rng = np.random.default_rng(seed)
    users, items = (rng.integers(0, size, n).astype(np.int32) for size in (n_users, n_items))
    ids = [
        [f"{letter}{k}" for k in range(size)] for letter, size in (("u", n_users), ("i", n_items))
    ]
    return Interactions(users, items, *ids, 10**9 + rng.integers(0, n // 8, n), None)


def test_blocks_hold_every_user_once(monkeypatch):
    rng = np.random.default_rng(0)
    for size, most in ((1, 10**9), (10, 10**9), (10, 3), (10**6, 3)):
        monkeypatch.setattr(filtering, "BLOCK_EVENTS", size)
        monkeypatch.setattr(filtering, "MOST_BLOCKS", most)
        offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 30, 100))])
        found = list(filtering.blocks(offsets))
        assert [first for first, _ in found[1:]] == [last for _, last in found[:-1]]
        assert (found[0][0], found[-1][1]) == (0, 100)
        events = [offsets[last] - offsets[first] for first, last in found if last > first + 1]
        assert all(n <= max(size, offsets[-1] // most) for n in events)
        if most == 3:
            assert len(found) <= 2 * most + 1
    assert list(filtering.blocks(np.array([0]))) == []


def test_counts_equal_those_of_numpy(monkeypatch):
    codes = np.random.default_rng(0).integers(0, 50, 1000).astype(np.int32)
    monkeypatch.setattr(filtering, "BLOCK_EVENTS", 33)
    assert np.array_equal(filtering.counts(codes, 60), np.bincount(codes, minlength=60))


@pytest.mark.parametrize("time", ["unix", "rank", "none"])
def test_blocks_sort_as_all_rows_at_once(small_blocks, time):
    parsed = interactions()
    small_blocks()
    arrays, ids, _ = arrange(parsed, 1, time, "file")
    users = np.array([ids["user_ids"].index(one) for one in parsed.user_ids])[parsed.users]
    order = np.argsort(users, kind="stable") if time == "none" else np.lexsort((parsed.time, users))
    assert np.array_equal(arrays["rows"], order)
    assert [ids["item_ids"][k - 1] for k in arrays["items"]] == [
        parsed.item_ids[k] for k in parsed.items[order]
    ]
    assert ("times" in arrays) == (time == "unix")
    if time == "unix":
        assert np.array_equal(arrays["times"], parsed.time[order])


@pytest.mark.parametrize(
    "changes",
    [{}, {"k_core": 3}, {"order": "seed:1"}, {"order": "float32"}, {"split": "temporal"},
     {"ids": {"missing": "drop"}}, {"ids": {"form": "number", "missing": "drop"}}],
)  # fmt: skip
def test_a_file_gives_the_same_folder_in_blocks(tmp_path, small_blocks, changes):
    rng = np.random.default_rng(2)
    n = 1500
    cells = rng.integers(0, 30, n), rng.integers(0, 25, n), 10**9 + rng.integers(0, 300, n)
    lines = [f"{u},{i},{t}" for u, i, t in zip(*cells, strict=True)]
    if "ids" in changes:
        lines[::50] = [",5,1000000000"] * len(lines[::50])
    path = tmp_path / "own.csv"
    path.write_text('"user","item","time"\n' + "\n".join(lines))
    local = {"path": str(path), "columns": {"user": "user", "item": "item", "time": "time"}}
    block = {"source": "file", "k_core": 2, "local": local} | changes
    whole = prepare("own", block, tmp_path, tmp_path / "whole")
    small_blocks()
    assert prepare("own", block, tmp_path, tmp_path / "parts")["sha256"] == whole["sha256"]


def test_lines_are_counted_across_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 1000):
        monkeypatch.setattr(formats, "BLOCK_BYTES", size)
        for _ in range(20):
            content = bytes(rng.choice(list(b"ab\r\n\n"), rng.integers(0, 60)).astype(np.uint8))
            assert formats._count_lines(content) == len(re.findall(rb"[^\r\n]+", content))


def test_what_trains_of_users_of_any_split():
    offsets, times = np.array([0, 3, 4, 9]), np.array([1, 5, 9, 8, 1, 2, 3, 6, 9])
    split = temporal(offsets, times, 4, 7)
    assert split.trains.tolist() == [True, False, False, False, True, True, True, False, False]


def peak_of(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_sorting_needs_a_few_times_its_result(monkeypatch):
    """The result is 20 bytes an event; sorting all at once took 80 beside the rows, and looking for repeats 24."""
    monkeypatch.setattr(filtering, "BLOCK_EVENTS", 2**12)
    parsed = interactions(400_000, 4000, 1000)
    n = len(parsed.users)
    assert peak_of(lambda: arrange(parsed, 5, "unix", "file")) < 42 * n
    arrays, _, _ = arrange(parsed, 5, "unix", "file")
    assert peak_of(lambda: repeats(arrays["items"], arrays["offsets"])) < 3 * n
