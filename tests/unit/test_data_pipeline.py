"""From a file to the folder on disk, and opening it again."""

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from seqbench.core.errors import UserError
from seqbench.data import open_dataset, prepare
from seqbench.data.pipeline import repeats

HEAD = "user,item,time\n"
# In file order; user 10 has a tie at t + 5 (items c, a), a repeat of b, and user 9 sorts before 10.
T = 1_000_000_000
ROWS = [
    ("10", "b", 9), ("10", "c", 5), ("10", "a", 5), ("9", "a", 1), ("9", "b", 2), ("9", "c", 3),
    ("10", "b", 1), ("x", "rare", 4),
]  # fmt: skip


def write_rows(folder, rows=ROWS, shift=T):
    text = HEAD + "".join(f"{user},{item},{shift + time}\n" for user, item, time in rows)
    (folder / "own.csv").write_text(text)
    return folder / "own.csv"


def own(path, **changes):
    """A dataset block for `path`; keys of changes named in LOCAL go into its local part."""
    inner = {key: changes.pop(key) for key in ("time", "columns", "header") if key in changes}
    columns = {"columns": {"time": "time"}}
    local = {"path": str(path), "differs_from_original": "made up"} | columns | inner
    return {"source": "file", "k_core": 2, "local": local} | changes


def test_folder_holds_what_the_contract_says(tmp_path):
    info = prepare("own", own(write_rows(tmp_path)), tmp_path, tmp_path / "out" / "own")
    out = tmp_path / "out" / "own"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["own"]
    assert json.loads((out / "dataset.json").read_text()) == info
    assert (out / "user_ids.txt").read_text() == "9\n10\n"
    assert (out / "item_ids.txt").read_text() == "a\nb\nc\n"
    arrays = {path.stem: np.load(path) for path in out.glob("*.npy")}
    assert arrays["items"].tolist() == [1, 2, 3, 2, 3, 1, 2]
    assert arrays["offsets"].tolist() == [0, 3, 7]
    assert arrays["rows"].tolist() == [3, 4, 5, 6, 1, 2, 0]
    assert arrays["times"].tolist() == [T + t for t in (1, 2, 3, 1, 5, 5, 9)]
    types = {name: str(array.dtype) for name, array in arrays.items()}
    assert types == {"items": "int32", "offsets": "int64", "rows": "int64", "times": "int64"}


def test_dataset_json(tmp_path):
    path = write_rows(tmp_path)
    info = prepare("own", own(path), tmp_path, tmp_path / "out")
    items, offsets = np.load(tmp_path / "out/items.npy"), np.load(tmp_path / "out/offsets.npy")
    files, _ = info.pop("files"), info.pop("sha256")
    assert files.keys() == {f.name for f in (tmp_path / "out").iterdir()} - {"dataset.json"}
    assert info == {
        "schema": 1,
        "name": "own",
        "source": "file",
        "n_users": 2,
        "n_items": 3,
        "n_interactions": 7,
        "k_core": 2,
        "hash": hashlib.sha256(items.tobytes() + offsets.tobytes()).hexdigest(),
        "time": "unix",
        "order": "stable sort by (user, time), ties in file order",
        "order_variant": "file",
        "order_changes": None,
        "split": {"kind": "leave-one-out"},
        "ties": {
            "test_decided_by_tie": 0.0,
            "boundary_tie": 0.5,
            "events_tied": 2 / 7,
            "users_one_timestamp": 0.0,
        },
        "ties_reason": None,
        "lengths": {"min": 3, "median": 3.5, "mean": 3.5, "max": 4},
        "repeats": pytest.approx(1 / 7),
        "ids": {
            "missing": "refuse",
            "form": "text",
            "dropped_rows": 0,
            "user": {"missing": {}, "blanks": 0, "rewritten": 0, "alike": 0},
            "item": {"missing": {}, "blanks": 0, "rewritten": 0, "alike": 0},
        },
        "provenance": {
            "file": "own.csv",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "url": None,
            "substitute_file": "made up",
            "terms": None,
            "citation": None,
        },
        "oracle": None,
    }


def test_open_dataset_gives_the_arrays_back(tmp_path):
    info = prepare("own", own(write_rows(tmp_path)), tmp_path, tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")
    assert (dataset.name, dataset.n_users, dataset.n_items) == ("own", 2, 3)
    assert dataset.items[dataset.offsets[1] :].tolist() == [2, 3, 1, 2]
    assert dataset.times[0] == T + 1 and dataset.info == info
    assert isinstance(dataset.items, np.memmap)


def test_opening_loads_neither_pyarrow_nor_torch(tmp_path):
    prepare("own", own(write_rows(tmp_path)), tmp_path, tmp_path / "out")
    code = (
        "import sys; from seqbench.data import open_dataset; open_dataset(sys.argv[1]); "
        "print(sorted({'pyarrow', 'pandas', 'torch', 'urllib.request'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_numbering_depends_neither_on_rows_nor_on_k(tmp_path):
    rows = [(u, i, t) for t, (u, i, _) in enumerate(ROWS)]
    infos = []
    for order in (rows, rows[::-1]):
        definition = own(write_rows(tmp_path, order))
        infos.append(prepare("own", definition, tmp_path, tmp_path / "out"))
    assert infos[0]["hash"] == infos[1]["hash"]
    prepare("own", own(write_rows(tmp_path), k_core=1), tmp_path, tmp_path / "all")
    assert (tmp_path / "all/user_ids.txt").read_text().split() == ["9", "10", "x"]
    assert (tmp_path / "all/item_ids.txt").read_text().split() == ["a", "b", "c", "rare"]


def test_preparing_again_replaces_everything(tmp_path):
    path, out = write_rows(tmp_path), tmp_path / "out"
    first = prepare("own", own(path), tmp_path, out)
    bytes_of = {file.name: file.read_bytes() for file in out.iterdir()}
    assert prepare("own", own(path), tmp_path, out) == first
    assert {file.name: file.read_bytes() for file in out.iterdir()} == bytes_of
    prepare("own", own(path, time="rank"), tmp_path, out)
    assert not (out / "times.npy").exists() and open_dataset(out).times is None


def test_a_failure_leaves_the_old_data(tmp_path):
    path, out = write_rows(tmp_path), tmp_path / "out"
    first = prepare("own", own(path), tmp_path, out)
    with pytest.raises(UserError):
        prepare("own", own(path, k_core=50), tmp_path, out)
    assert open_dataset(out).info == first


@pytest.mark.parametrize(
    ("changes", "order", "reason"),
    [
        ({"time": "rank"}, "stable sort by (user, rank), ties in file order", "a rank"),
        ({"time": "partial"}, "stable sort by (user, time), ties in file order", "unknown"),
        ({"columns": {"user": "user"}}, "file order", "no time column"),
        ({"time": "none"}, "file order", "no time column"),
        (
            {"columns": {"position": "time"}, "time": "none"},
            "stable sort by (user, position), ties in file order",
            "no time column",
        ),
    ],
)
def test_times_that_are_no_times(tmp_path, changes, order, reason):
    info = prepare("own", own(write_rows(tmp_path), **changes), tmp_path, tmp_path / "out")
    assert info["order"] == order
    assert info["ties"] is None and reason in info["ties_reason"]
    assert open_dataset(tmp_path / "out").times is None


def test_position_wins_over_time(tmp_path):
    (tmp_path / "own.csv").write_text(
        f"user,item,time,n\n1,a,{T},3\n1,b,{T},2\n1,c,{T},1\n1,d,{T},0\n"
    )
    columns = {"time": "time", "position": "n"}
    definition = own(tmp_path / "own.csv", columns=columns, k_core=1)
    info = prepare("own", definition, tmp_path, tmp_path / "out")
    assert open_dataset(tmp_path / "out").items.tolist() == [4, 3, 2, 1]
    assert info["ties"] is None and "position column" in info["ties_reason"]


def test_position_alone_is_an_order(tmp_path):
    """Not the file's."""
    path = tmp_path / "own.csv"
    path.write_text("user,item,n\n1,a,3\n1,b,0\n1,c,2\n1,d,1\n")
    definition = own(path, columns={"position": "n"}, k_core=1)
    info = prepare("own", definition, tmp_path, tmp_path / "out")
    assert info["time"] == "none" and "(user, position)" in info["order"]
    assert open_dataset(tmp_path / "out").items.tolist() == [2, 4, 3, 1]


@pytest.mark.parametrize(
    ("times", "changes", "message"),
    [
        ((3, 2, 1, 0), {}, "position and time order the events of user number 1 differently"),
        ((3, 2, 1, 0), {"split": "temporal"}, "differently; take one of them out"),
        ((0, 1, 2, 3), {"order": "seed:1"}, "seed:1 changes the order of times, but"),
        ((0, 1, 2, 3), {"order": "float32"}, "local.columns.position decides it"),
    ],
)
def test_what_goes_by_time_where_positions_decide_is_refused(tmp_path, times, changes, message):
    rows = "".join(f"{user},{item},{T + t},{k}\n" for user in "12" for k, (item, t) in enumerate(zip("abcd", times, strict=True)))  # fmt: skip
    (tmp_path / "own.csv").write_text(f"user,item,time,n\n{rows}")
    columns = {"time": "time", "position": "n"}
    definition = own(tmp_path / "own.csv", columns=columns, k_core=1, **changes)
    with pytest.raises(UserError, match=re.escape(message)):
        prepare("own", definition, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_order_variants(tmp_path):
    path = write_rows(tmp_path)
    prepared = {}
    for order in ("file", "float32", *(f"seed:{k}" for k in range(8))):
        info = prepare("own", own(path, order=order), tmp_path, tmp_path / "out")
        prepared[order] = open_dataset(tmp_path / "out").items.tolist(), info["order"]
    # all times of user 10 round to one float32: the file decides
    assert prepared["float32"][0] == [1, 2, 3, 2, 3, 1, 2]
    assert "float32" in prepared["float32"][1] and "seed 3" in prepared["seed:3"][1]
    seeded = {tuple(items) for order, (items, _) in prepared.items() if order.startswith("seed")}
    assert seeded == {(1, 2, 3, 2, 3, 1, 2), (1, 2, 3, 2, 1, 3, 2)}


def many(counts):
    """Rows of users with so many events each, on 5 items."""
    return [(u, k % 5, k) for u, n in enumerate(counts) for k in range(n)]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([2] * 40, "datasets.own: no user has 3 events, the longest history has 2"),
        (
            [3] * 40,
            "datasets.own: no user has 2 events left to train on, the longest history has 3",
        ),
    ],
)
def test_data_that_nothing_can_be_learned_or_tested_on_are_refused(tmp_path, counts, message):
    definition = own(write_rows(tmp_path, many(counts)), k_core=1)
    with pytest.raises(UserError, match=message):
        prepare("own", definition, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("counts", [[4], [3, 2], [2, 3, 1]])
def test_data_that_just_suffice(tmp_path, counts):
    """One user to evaluate and one pair of events to train on, whoever has them."""
    definition = own(write_rows(tmp_path, many(counts)), k_core=1)
    prepare("own", definition, tmp_path, tmp_path / "out")
    parts = open_dataset(tmp_path / "out").split
    assert len(parts.users["valid"]) == 1 and (parts.ends - parts.offsets[:-1]).max() == 2


def test_a_temporal_split_needs_events_to_train_on_too(tmp_path):
    """Every user has one early event, then one in each of the two held-out periods."""
    rows = [(u, k, 1000 * k + u) for u in range(10) for k in range(3)]
    definition = own(write_rows(tmp_path, rows), k_core=1, split="temporal", holdout=0.33)
    with pytest.raises(
        UserError, match=r"no user has 2 events left to train on, .* the split temporal leaves 1"
    ):
        prepare("own", definition, tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("length", "message"), [(2, "no user has 3 events"), (3, "no user has 2 events")]
)
def test_synthetic_histories_can_be_too_short_too(tmp_path, length, message):
    lengths = {"min_length": length, "mean_length": length, "max_length": length}
    definition = {"source": "synthetic", "synthetic": {"n_users": 50, "n_items": 20} | lengths}
    with pytest.raises(UserError, match=f"datasets.demo: {message}"):
        prepare("demo", definition, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_id_of_any_length_is_sorted(tmp_path):
    ids = ["9" * 5000, "10", "9", "x" * 5000]
    rows = [(user, item, k) for k in range(3) for user in ids for item in ids]
    prepare("own", own(write_rows(tmp_path, rows), k_core=1), tmp_path, tmp_path / "out")
    assert (tmp_path / "out/user_ids.txt").read_text().split() == ["9", "10", *ids[::3]]


def test_times_that_lost_their_digits_are_named(tmp_path, capsys):
    """As a spreadsheet writes them: 1.4E+09."""
    prepare(
        "own",
        own(write_rows(tmp_path, [(u, i, 0) for u, i, _ in ROWS])),
        tmp_path,
        tmp_path / "out",
    )
    assert (
        "warning: 100% of all events share their time with a neighbour" in capsys.readouterr().err
    )


def test_repeats():
    assert repeats(np.array([1, 1, 1, 2, 1]), np.array([0, 2, 5])) == pytest.approx(2 / 5)
    assert repeats(np.array([1]), np.array([0, 1])) == 0


def movielens_zip(path, n_users=6):
    lines = "".join(f"{u}::{i}::5::{T + i}\n" for u in range(n_users) for i in range(6))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml-1m/ratings.dat", lines)
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_expected_counts_of_a_built_in_source(tmp_path):
    definition = {"source": "ml-1m", "local": movielens_zip(tmp_path / "a.zip")}
    with pytest.raises(UserError) as caught:
        prepare("ml", definition, tmp_path, tmp_path / "out")
    message = str(caught.value)
    assert "dataset ml: expected 6,040 users, 3,416 items, 999,611 interactions" in message
    assert "found 6 users, 6 items, 36 interactions in a.zip" in message
    assert "datasets.ml.expect" in message and not (tmp_path / "out").exists()


def test_counts_declared_by_the_user(tmp_path):
    definition = {"source": "ml-1m", "local": movielens_zip(tmp_path / "a.zip")}
    expect = {"users": 6, "items": 6, "interactions": 36}
    info = prepare("ml", definition | {"expect": expect}, tmp_path, tmp_path / "out")
    assert info["provenance"]["terms"] and info["provenance"]["citation"]
    assert prepare("ml", definition | {"k_core": 4}, tmp_path, tmp_path / "out")["n_users"] == 6
    with pytest.raises(UserError, match="expected 7 users after the 5-core, found 6 users"):
        prepare("ml", definition | {"expect": {"users": 7}}, tmp_path, tmp_path / "out")


def test_terms_are_printed(tmp_path, capsys):
    definition = {"source": "ml-1m", "k_core": 4, "local": movielens_zip(tmp_path / "a.zip")}
    prepare("ml", definition, tmp_path, tmp_path / "out")
    printed = capsys.readouterr().err
    assert "terms: research use" in printed and "citation: F. M. Harper" in printed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "netflix"}, "source: 'netflix' is unknown; allowed: ml-1m, .*synthetic"),
        ({"local": None}, "datasets.own.local is missing"),
        ({"k_core": 9}, "nothing is left of .*own.csv after the 9-core"),
        ({"time": "days"}, "local.time: 'days' is unknown; allowed: unix, .*rank, partial, none"),
        ({"columns": {"item": "item"}, "time": "unix"}, "unix needs a time column"),
        ({"columns": {"position": "time"}, "time": "unix-ms"}, "unix-ms needs a time column"),
        ({"order": "seed:1", "time": "rank"}, "order: seed:1 needs real times"),
    ],
)
def test_bad_definitions(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        prepare("own", own(write_rows(tmp_path), **changes), tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("shift", "said"),
    [
        (0, "are no Unix seconds; if they are ratings, name the column of times under `columns`"),
        (100, "are no Unix seconds; say `time: rank`"),
        (T * 10**3, "are no Unix seconds but milliseconds; say `time: unix-ms`"),
        (T * 10**6, "are no Unix seconds but microseconds; say `time: unix-us`"),
        (T * 10**9, "are no Unix seconds but nanoseconds; say `time: unix-ns`"),
        (20240131, "but dates such as 20240132; write Unix seconds, or say `time: rank`"),
        (20240131120000, "but dates such as 20240131120001; write"),
        (2024013112, "but dates such as 2024013113; write"),
        (202401311200, "but dates such as 202401311201; write"),
        (20240131120000000, "but dates such as 20240131120000000; write"),
        (T * 20, "are no Unix seconds; say `time: rank`"),
    ],
)
def test_ranks_and_other_units_do_not_pass_for_seconds(tmp_path, shift, said):
    with pytest.raises(UserError, match=said):
        prepare("own", own(write_rows(tmp_path, shift=shift)), tmp_path, tmp_path / "out")


def test_times_of_zero_among_real_ones_are_unknown_ones(tmp_path):
    rows = [*ROWS, ("9", "a", -T)]
    with pytest.raises(UserError, match=r"times from 0 to .* or say `time: partial`"):
        prepare("own", own(write_rows(tmp_path, rows)), tmp_path, tmp_path / "out")


def test_times_written_as_short_dates_are_no_seconds(tmp_path):
    """14-05-13 12:00 as 1405131200 has the digits of a second of 2014."""
    rows = [("9", "abc"[k % 3], 1405131200 + k) for k in range(30)]
    with pytest.raises(UserError, match="but dates such as 1405131200; write"):
        prepare("own", own(write_rows(tmp_path, rows, 0)), tmp_path, tmp_path / "out")


def test_few_times_that_are_none_are_named_with_the_first_row(tmp_path):
    rows = [*ROWS, ("9", "a", 140 - T)]  # as of a line that was cut
    with pytest.raises(UserError, match=r"1 of 9 lie outside, the first is 140 in row 9, not"):
        prepare("own", own(write_rows(tmp_path, rows)), tmp_path, tmp_path / "out")


def test_the_log_says_from_when_the_events_are_and_which_are_earlier_than_any(tmp_path, capsys):
    prepare("own", own(write_rows(tmp_path)), tmp_path, tmp_path / "out")
    said = capsys.readouterr().err
    assert "own: times from 2001-09-09 to 2001-09-09 (UTC)\n" in said and "warning" not in said
    rows = [*ROWS, ("9", "a", 2 * 10**8 - T)]
    prepare("own", own(write_rows(tmp_path, rows)), tmp_path, tmp_path / "out")
    assert "own: warning: 1 of 9 times lie before 1995; are all" in capsys.readouterr().err


def test_events_that_stand_there_twice_are_named(tmp_path, capsys):
    prepare("own", own(write_rows(tmp_path, ROWS * 2)), tmp_path, tmp_path / "out")
    assert "own: warning: 6 of 16 events repeat the one before, time" in capsys.readouterr().err


def test_two_units_in_one_file_are_refused(tmp_path):
    rows = [*ROWS, ("9", "a", T * 999)]
    with pytest.raises(UserError, match="several units are mixed"):
        prepare("own", own(write_rows(tmp_path, rows)), tmp_path, tmp_path / "out")


@pytest.mark.parametrize(("unit", "per_s"), [("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_times_in_other_units_are_read_as_seconds(tmp_path, unit, per_s):
    seconds = prepare("own", own(write_rows(tmp_path)), tmp_path, tmp_path / "s")
    rows = [(u, i, t * per_s) for u, i, t in ROWS]
    definition = own(write_rows(tmp_path, rows, T * per_s), time=f"unix-{unit}")
    found = prepare("own", definition, tmp_path, tmp_path / "out")
    apart = dict.fromkeys(("provenance", "sha256"))  # which file was read
    assert found | apart == seconds | apart
    times = [open_dataset(tmp_path / folder).times.tolist() for folder in ("s", "out")]
    assert times[0] == times[1]
    with pytest.raises(UserError, match=r"are no Unix .*seconds but seconds; say `time: unix`"):
        prepare("own", own(write_rows(tmp_path), time=f"unix-{unit}"), tmp_path, tmp_path / "x")


def test_synthetic(tmp_path):
    definition = {"source": "synthetic", "synthetic": {"n_users": 50, "n_items": 2000}}
    info = prepare("demo", definition, tmp_path, tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")
    assert (info["n_users"], info["n_items"], info["k_core"]) == (50, 2000, 1)
    assert len(np.unique(dataset.items)) < 2000  # ids survive, seen or not
    assert set(info["oracle"]) == {"test", "valid", "n_users"}
    assert 0 < info["oracle"]["test"]["ndcg@10"] < info["oracle"]["test"]["hr@10"] < 1
    assert info["provenance"]["synthetic"]["n_items"] == 2000 and info["time"] == "none"
    assert prepare("demo", definition, tmp_path, tmp_path / "again") == info
    with pytest.raises(UserError, match="synthetic data take k_core: 1"):
        prepare("demo", definition | {"k_core": 5}, tmp_path, tmp_path / "out")


def test_the_workflow_knows_the_files_that_are_always_written(tmp_path):
    lengths = {"n_users": 20, "n_items": 10}
    prepare("demo", {"source": "synthetic", "synthetic": lengths}, tmp_path, tmp_path / "out")
    rule = (Path(__file__).parents[2] / "workflow/rules/data.smk").read_text()
    declared = re.findall(r'"results/data/\{dataset\}/(.+)"', rule)
    assert sorted(declared) == sorted(path.name for path in (tmp_path / "out").iterdir())
