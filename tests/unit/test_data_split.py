"""What trains and what is held out: by hand, against a slow twin, and through preparing and evaluating."""

import json

import numpy as np
import pytest
import torch

from seqbench.core.errors import UserError
from seqbench.core.records import unpacked
from seqbench.data import open_dataset, prepare
from seqbench.data.split import cuts, leave_one_out, temporal
from seqbench.training import baselines, ranking
from seqbench.training.ranking import Evaluator

START = 10**9
COLUMNS = {"user": "user", "item": "item", "time": "time"}


def slow_twin(offsets, times, valid_from, test_from):
    """The rule, user by user and event by event."""
    ends, found = [], {"valid": {}, "test": {}}
    for user, (a, b) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
        span = range(a, b)
        ends.append(a + sum(times[e] < valid_from for e in span))
        periods = {
            "valid": [e for e in span if valid_from <= times[e] < test_from],
            "test": [e for e in span if times[e] >= test_from],
        }
        for name, events in periods.items():
            if events and events[-1] > a:
                found[name][user] = events[-1]
    return ends, found


@pytest.mark.parametrize("seed", range(20))
def test_a_temporal_split_equals_its_slow_twin(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, 30)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    times = np.concatenate([np.sort(rng.integers(0, 40, n)) for n in lengths])
    valid_from, test_from = np.sort(rng.integers(0, 40, 2))
    split = temporal(offsets, times, valid_from, test_from)
    ends, found = slow_twin(offsets, times, valid_from, test_from)
    assert split.ends.tolist() == ends
    for name in ("valid", "test"):
        assert dict(zip(split.users[name], split.target_index[name], strict=True)) == found[name]


def test_no_training_event_is_as_late_as_a_target():
    rng = np.random.default_rng(0)
    offsets = np.arange(0, 2001, 20)
    times = np.sort(rng.integers(0, 10_000, (100, 20)), axis=1).ravel()
    split = temporal(offsets, times, *cuts(times, 0.1))
    trained = np.arange(2000) < np.repeat(split.ends, 20)
    assert 0.78 < trained.mean() < 0.82
    assert times[trained].max() < times[split.target_index["valid"]].min()
    assert times[split.target_index["valid"]].max() < times[split.target_index["test"]].min()


def test_leave_one_out_by_hand():
    split = leave_one_out(np.array([0, 2, 5, 9]))
    assert split.ends.tolist() == [2, 3, 7]
    assert split.target_index["valid"].tolist() == [3, 7] and split.target_index[
        "test"
    ].tolist() == [4, 8]
    assert split.users["valid"].tolist() == split.users["test"].tolist() == [1, 2]


def file_of(folder, n_users=40, n_events=10, seed=0):
    """A delimited file: users live at random times within one long period."""
    rng = np.random.default_rng(seed)
    path = folder / "events.csv"
    with open(path, "w") as file:
        file.write("user,item,time\n")
        for user in range(n_users):
            times = START + np.sort(rng.integers(0, 10**7, n_events))
            for item, time in zip(rng.integers(0, 30, n_events), times, strict=True):
                file.write(f"{user},{item},{time}\n")
    return path


def definition(path, **keys):
    local = {"path": str(path), "format": "delimited", "columns": COLUMNS, "header": True}
    return {"source": "file", "k_core": 1, "split": "temporal", "local": local, **keys}


@pytest.fixture
def prepared(tmp_path):
    out = tmp_path / "toy"
    prepare("toy", definition(file_of(tmp_path)), tmp_path, out)
    return out


def test_a_prepared_temporal_split_is_declared_and_changes_the_hash(tmp_path, prepared):
    info = json.loads((prepared / "dataset.json").read_text())
    rule, data = info["split"], open_dataset(prepared)
    assert rule["kind"] == "temporal" and rule["holdout"] == 0.1
    assert rule["users"] == {name: len(users) for name, users in data.split.users.items()}
    assert rule["training_events"] == int((data.split.ends - data.offsets[:-1]).sum())
    hashes = set()
    for number, keys in enumerate([{"split": "leave-one-out"}, {}, {"holdout": 0.2}]):
        folder = tmp_path / str(number)
        hashes.add(
            prepare("toy", definition(tmp_path / "events.csv", **keys), tmp_path, folder)["hash"]
        )
    assert len(hashes) == 3 and info["hash"] in hashes


def test_shares_of_unseen_targets_and_new_users_by_hand(tmp_path):
    rows = [
        (0, "a", 0),
        (0, "b", 10),
        (0, "c", 100),
        (1, "a", 20),
        (1, "b", 30),
        (2, "a", 170),
        (2, "d", 200),
    ]
    path = tmp_path / "events.csv"
    lines = [f"{u},{i},{START + t}" for u, i, t in rows]
    path.write_text("\n".join(["user,item,time", *lines]) + "\n")
    rule = prepare("toy", definition(path, holdout=0.2), tmp_path, tmp_path / "toy")["split"]
    # Times 0 10 20 30 | 100 | 170 200: user 0's `c` is validation, user 2's `d` test, and both items are unseen.
    assert rule["users"] == {"valid": 1, "test": 1}
    assert rule["unseen_targets"] == {"valid": 1.0, "test": 1.0}
    assert rule["new_users"] == {"valid": 0.0, "test": 1.0}


def test_training_and_evaluation_follow_the_split(prepared):
    data = open_dataset(prepared)
    items, offsets = baselines.training_part(data, torch.device("cpu"))
    assert len(items) == offsets[-1] == data.info["split"]["training_events"]

    class Last(torch.nn.Module):
        def scores(self, inputs):  # the last item read scores highest
            last = inputs.gather(1, (inputs != 0).sum(1, keepdim=True) - 1)
            return torch.zeros(len(inputs), data.n_items + 1).scatter(1, last, 1.0)

    evaluator = Evaluator(data.items, data.split, 5, 8, torch.device("cpu"))
    samples = ranking.samples(evaluator, Last())
    for name in ("valid", "test"):
        repeats = (
            data.items[data.split.target_index[name] - 1]
            == data.items[data.split.target_index[name]]
        )
        assert np.array_equal(samples[f"{name}/rank"] == 1, repeats)
    facts = unpacked((prepared / "users.npz").read_bytes())
    users = data.split.users["test"]
    assert np.array_equal(
        facts["history_length"], data.split.target_index["test"] - data.offsets[users]
    )


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"split": "random"}, "datasets.toy.split: 'random' is unknown"),
        ({"order": "float32"}, "cuts by the real clock"),
        (
            {"local": {"time": "rank"}},
            "temporal needs real times (time: unix), but this file has rank",
        ),
    ],
)
def test_what_cannot_be_split_is_refused_with_the_reason(tmp_path, keys, words):
    block = definition(file_of(tmp_path))
    block = {**block, **keys, "local": block["local"] | keys.get("local", {})}
    with pytest.raises(UserError) as error:
        prepare("toy", block, tmp_path, tmp_path / "toy")
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_period_without_targets_names_the_key(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("user,item,time\n" + "".join(f"{u},{u % 3},{START + u}\n" for u in range(20)))
    with pytest.raises(
        UserError, match=r"no user has a valid target; change datasets\.toy\.holdout"
    ):
        prepare("toy", definition(path), tmp_path, tmp_path / "toy")
