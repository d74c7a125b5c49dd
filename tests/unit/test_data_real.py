"""The real files, where they lie beside the checkout (or where SEQBENCH_REAL_DATA points)."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from seqbench.core.errors import UserError
from seqbench.data import open_dataset, prepare

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("SEQBENCH_REAL_DATA", ROOT / "../shared/data")).resolve()
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the folder of real data is not here")

TEXT = {"delimiter": " ", "header": False, "columns": {"user": 0, "item": 1}}
BLOCKS = {
    "ml-1m": {
        "source": "ml-1m",
        "local": {
            "path": "ml-1m-ranked.zip",
            "sha256": "9aa443160f8ea15ac8d5a5f896d00aba0bf3441d80d4754e45c02234d6d1395a",
            "time": "rank",
            "differs_from_original": "the time column is the rank within the user",
        },
    },
    "ml-100k": {
        "source": "ml-100k",
        "local": {
            "path": "ml-100k.zip",
            "sha256": "b29b23c0b39779ea013d48c754e110886be41c7a4807aaea91bcb28a64aa06ab",
            "differs_from_original": "same content in a new zip container",
        },
    },
    "amazon-beauty": {
        "source": "amazon-beauty",
        "local": {
            "path": "Amazon_Beauty_2014_5core.csv.gz",
            "sha256": "d5d3799a83b4460e86f98a21d086eb856f36163e2a0be5e4f4fc20aab923533e",
            "format": "delimited",
            "columns": {"time": "timestamp"},
            "differs_from_original": "5-core only, no rating, rows in another order",
        },
    },
    "amazon-video-games": {
        "source": "amazon-video-games",
        "local": {
            "path": "Amazon_Video_Games_2014_5core.csv.gz",
            "sha256": "5961c0ca301939f50ae5f43ec3d814adc60f1229af0c367d4b59bcc217d1ab25",
            "format": "delimited",
            "columns": {"time": "timestamp", "position": "position"},
            "time": "partial",
            "differs_from_original": "5-core only, renumbered ids, two times per user unknown",
        },
    },
    "bert4rec-beauty": {
        "source": "file",
        "local": {"path": "bert4rec_beauty.txt.gz", **TEXT},
        "expect": {"users": 22363, "items": 12101, "interactions": 198502},
    },
    "sasrec-video": {
        "source": "file",
        "local": {"path": "sasrec_Video.txt.gz", **TEXT},
        "expect": {"users": 24303, "items": 10672, "interactions": 231780},
    },
}
COUNTS = {
    "ml-1m": (6040, 3416, 999611),
    "ml-100k": (943, 1349, 99287),
    "amazon-beauty": (22363, 12101, 198502),
    "amazon-video-games": (24303, 10672, 231780),
    "bert4rec-beauty": (22363, 12101, 198502),
    "sasrec-video": (24303, 10672, 231780),
}


def block(name, **changes):
    definition = BLOCKS[name] | changes
    local = definition["local"] | {"path": str(REAL / definition["local"]["path"])}
    return definition | {"local": local}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The folder of a dataset, prepared once."""
    folders = {}

    def folder(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("real") / name
            prepare(name, block(name), REAL, folders[name])
        return folders[name]

    return folder


@pytest.mark.parametrize("name", BLOCKS)
def test_counts_after_the_five_core(prepared, name):
    dataset = open_dataset(prepared(name))
    assert (dataset.n_users, dataset.n_items, len(dataset.items)) == COUNTS[name]
    assert np.diff(dataset.offsets).min() >= 5
    assert np.bincount(dataset.items)[1:].min() >= 5
    assert dataset.info["repeats"] == 0  # the files hold no pair twice


def test_ml_1m_ends_with_the_known_last_two_ratings(prepared):
    folder = prepared("ml-1m")
    dataset = open_dataset(folder)
    users = (folder / "user_ids.txt").read_text().split()
    raw_items = np.array(["", *(folder / "item_ids.txt").read_text().split()])
    with zipfile.ZipFile(REAL / "ml-1m-ranked.zip") as archive:
        lines = archive.read("ml-1m/last_two.dat").decode().split()
    last_two = {}
    for user, item, _, seconds in (line.split("::") for line in lines):
        last_two.setdefault(user, []).append((int(seconds), item))
    ends = dataset.offsets[1:]
    found = raw_items[dataset.items[np.stack([ends - 2, ends - 1], axis=1)]]
    kept = set(raw_items)
    checked = 0
    for user, items in zip(users, found.tolist(), strict=True):
        known = [item for _, item in last_two[user]]  # second-last, last
        if kept.issuperset(known):  # else the 5-core dropped one of them
            assert items == known
            checked += 1
    assert checked > 5900


def test_tie_statistics_of_beauty(prepared):
    ties = open_dataset(prepared("amazon-beauty")).info["ties"]
    found = {name: round(share, 3) for name, share in ties.items()}
    assert found == {
        "test_decided_by_tie": 0.435,
        "boundary_tie": 0.642,
        "events_tied": 0.575,
        "users_one_timestamp": 0.084,
    }


def test_ties_are_unknown_where_times_are(prepared):
    for name in ("ml-1m", "amazon-video-games", "sasrec-video"):
        dataset = open_dataset(prepared(name))
        assert dataset.info["ties"] is None and dataset.info["ties_reason"]
        assert dataset.times is None


def test_video_games_follow_the_position_column(prepared):
    dataset = open_dataset(prepared("amazon-video-games"))
    inside = np.ones(len(dataset.items), dtype=bool)
    inside[dataset.offsets[:-1]] = False
    steps = np.diff(dataset.rows, prepend=0)[inside]
    assert (steps == 1).all()  # the file's rows are in this order already


def test_a_rank_is_not_taken_for_seconds(tmp_path):
    definition = block("ml-1m")
    del definition["local"]["time"]
    with pytest.raises(UserError, match=r"times from 1 to 2314 are no Unix seconds"):
        prepare("ml-1m", definition, REAL, tmp_path / "out")


def test_publishers_name_with_another_checksum_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"ml-100k\.zip has SHA-256 b29b23.*, expected 50d2a9"):
        prepare("ml-100k", {"source": "ml-100k"}, REAL, tmp_path / "out")


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's /proc")
def test_ml_1m_is_prepared_in_500_mb(tmp_path):
    # VmHWM: unlike ru_maxrss it does not begin with the peak of the process that started this one.
    code = (
        "import json, sys; from pathlib import Path; from seqbench.data import prepare; "
        "prepare('ml-1m', json.loads(sys.argv[1]), Path('.'), Path(sys.argv[2])); "
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    command = [sys.executable, "-c", code, json.dumps(block("ml-1m")), str(tmp_path / "out")]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    assert int(done.stdout.split()[-1]) < 500 * 1024


def test_opening_ml_1m_maps_its_items_instead_of_reading_them(prepared):
    dataset = open_dataset(prepared("ml-1m"))
    assert isinstance(dataset.items, np.memmap) and len(dataset.items) == 999_611


def test_recboles_clock_swaps_the_last_two_ratings_of_659_users_of_movielens_1m():
    """The real seconds of the last two ratings are in the stand-in: a stable sort by float32 in line order."""
    archive = zipfile.ZipFile(REAL / "ml-1m-ranked.zip")
    line = {}  # (user, item) -> line of ratings.dat
    for number, row in enumerate(archive.read("ml-1m/ratings.dat").decode("latin-1").splitlines()):
        user, item, *_ = row.split("::")
        line[user, item] = number
    last_two = {}
    for row in archive.read("ml-1m/last_two.dat").decode().splitlines():
        user, item, _, seconds = row.split("::")
        last_two.setdefault(user, []).append((int(seconds), line[user, item]))
    offsets = np.arange(0, 2 * len(last_two) + 1, 2)
    swapped = 0
    for events in last_two.values():
        clock = sorted(events)  # seconds, then line
        rounded = sorted(events, key=lambda e: (np.float32(e[0]), e[1]))
        swapped += clock != rounded
    assert (len(offsets) - 1, swapped) == (6040, 659)
