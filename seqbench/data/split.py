"""Which events train, and which one of each user is the validation and the test target.

`leave-one-out`: the last event of a user is the test target, the one before it the validation target. A model then learns
from events that lie later in time than other users' targets.

`temporal`: two points in time cut all users at once. Events before the first one train; a user's validation target is the
user's last event between the two, the test target the last one from the second on. What a model has learned therefore lies
before every target. It may read a user's newer events as input, as in production.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.errors import UserError

KINDS = ("leave-one-out", "temporal")
HOLDOUT = 0.1  # share of all events in each of the two held-out periods
FEWEST = (
    3  # events of a user in leave-one-out: one to learn from, one to validate on, one to test on
)


@dataclass(frozen=True)
class Split:
    """Training ends and targets as indices into the flat item array; U users, of whom E are evaluated.

    offsets (U + 1,): user u owns [offsets[u], offsets[u + 1]); ends (U,): [offsets[u], ends[u]) trains;
    users: "valid", "test" -> (E,) ascending; target_index: the same names -> (E,), of the target. All int64.
    The history of a target is everything of the user's before it.
    """

    offsets: np.ndarray
    ends: np.ndarray
    users: dict[str, np.ndarray]
    target_index: dict[str, np.ndarray]

    @property
    def trains(self) -> np.ndarray:
        """Which of all events train (n,), bool."""
        first, last = self.offsets[:-1], self.offsets[1:]
        lengths = np.stack([self.ends - first, last - self.ends], axis=1).ravel()
        return np.repeat(np.tile([True, False], len(first)), lengths)


def split_of(offsets: np.ndarray, times: np.ndarray | None, info: dict) -> Split:
    """The split that a `dataset.json` declares; those from before it could are leave-one-out."""
    rule = info.get("split") or {"kind": "leave-one-out"}
    if rule["kind"] == "leave-one-out":
        return leave_one_out(offsets)
    return temporal(offsets, times, rule["valid_from"], rule["test_from"])


def leave_one_out(offsets: np.ndarray) -> Split:
    """Hold out the last two events of every user with at least 3; the others train on all of theirs."""
    offsets = np.asarray(offsets, dtype=np.int64)
    first, last = offsets[:-1], offsets[1:]
    evaluated = last - first >= FEWEST
    users = np.flatnonzero(evaluated)
    target_index = {name: last[users] - back for name, back in (("valid", 2), ("test", 1))}
    return Split(
        offsets,
        np.where(evaluated, last - 2, last),
        dict.fromkeys(target_index, users),
        target_index,
    )


def temporal(offsets: np.ndarray, times: np.ndarray, valid_from: int, test_from: int) -> Split:
    """Cut at two times; a user without any event before a target is not evaluated on it."""
    offsets = np.asarray(offsets, dtype=np.int64)
    first, last = offsets[:-1], offsets[1:]
    ends, test_starts = (first + _earlier(offsets, times, t) for t in (valid_from, test_from))
    users, target_index = {}, {}
    for name, start, stop in (("valid", ends, test_starts), ("test", test_starts, last)):
        users[name] = np.flatnonzero((stop > start) & (stop - 1 > first))
        target_index[name] = stop[users[name]] - 1
    return Split(offsets, ends, users, target_index)


def declare(
    name: str,
    definition: dict,
    time: str,
    items: np.ndarray,
    offsets: np.ndarray,
    times: np.ndarray | None,
) -> dict:
    """What goes into `dataset.json` about a dataset's split, after checking that the data allow it.

    Raises:
        UserError: unknown split, no real times, a float32 order, or a period without targets.
    """
    kind = definition.get("split", "leave-one-out")
    key = f"datasets.{name}.split"
    if kind not in KINDS:
        raise UserError(f"{key}: {kind!r} is unknown; allowed: {', '.join(KINDS)}")
    if kind == "leave-one-out":
        return {"kind": kind}
    if time != "unix":
        raise UserError(f"{key}: temporal needs real times (time: unix), but this file has {time}")
    if definition.get("order") == "float32":
        raise UserError(f"{key}: temporal cuts by the real clock; use another order than float32")
    holdout = definition.get("holdout", HOLDOUT)
    valid_from, test_from = cuts(times, holdout)
    found = temporal(offsets, times, valid_from, test_from)
    trained = np.zeros(int(items.max()) + 1, dtype=bool)
    trained[items[found.trains]] = True
    for part in ("valid", "test"):
        if not len(found.users[part]):
            raise UserError(
                f"{key}: no user has a {part} target; change datasets.{name}.holdout = {holdout}"
            )
    return {
        "kind": kind, "holdout": holdout, "valid_from": valid_from, "test_from": test_from,
        "training_events": int((found.ends - offsets[:-1]).sum()),
        "users": {part: len(users) for part, users in found.users.items()},
        # Targets that no model can have learned: their items occur in no training part.
        "unseen_targets": {part: float((~trained[items[p]]).mean()) for part, p in found.target_index.items()},
        # Users without a training part: a model knows them from their history alone.
        "new_users": {part: float((found.ends[u] == offsets[u]).mean()) for part, u in found.users.items()},
    }  # fmt: skip


def cuts(times: np.ndarray, holdout: float) -> tuple[int, int]:
    """Whole Unix seconds from which validation and test begin: each holds at most about ``holdout`` of all events."""
    moments = np.quantile(times, [1 - 2 * holdout, 1 - holdout], method="higher")
    return int(moments[0]), int(moments[1])


def _earlier(offsets: np.ndarray, times: np.ndarray, moment: int) -> np.ndarray:
    """Events of each user before ``moment`` (U,)."""
    before = np.concatenate([[0], np.cumsum(np.asarray(times) < moment)])
    return before[offsets[1:]] - before[offsets[:-1]]
