"""The whole path of one dataset: source -> rows -> k-core -> order -> folder on disk."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

from ..config.sources import SOURCES
from ..core.errors import UserError
from . import filtering, split, store
from . import ids as identifiers
from .containers import read_content
from .files import Located, locate
from .filtering import counts, k_core
from .formats import Interactions, read_interactions
from .layouts import layout_of
from .synthetic import config_from, generate, oracle_metrics
from .times import say_times, time_kind

FEWEST_TRAINED = 2  # events of a user that train: the second is learned from the first
LONGEST_NUMBER = (
    1000  # digits of an id that is sorted by its value; Python reads no number of 4,301
)
MOSTLY_TIED = 0.9  # share of events
HEAVY = 0.05  # share of all rows that is remarkable for one user,
TIMES_MEDIAN = 5  # if it is more than so many times the median user's
NO_TIES = {
    "rank": "the time column is a rank within the user, ties in time are not visible",
    "partial": "some times are unknown",
    "none": "there is no time column",
}


def build(name: str, definition: dict, data_dir: Path, out: Path) -> dict:
    """Prepare one dataset block; returns what it wrote into out/dataset.json."""
    source = definition.get("source")
    if source == "synthetic":
        return _build_synthetic(name, definition, out)
    if source != "file" and source not in SOURCES:
        allowed = ", ".join([*SOURCES, "file", "synthetic"])
        raise UserError(f"datasets.{name}.source: {source!r} is unknown; allowed: {allowed}")
    if source == "file" and not definition.get("local"):
        raise UserError(f"datasets.{name}.local is missing; source: file needs its path")
    return _build_from_file(name, definition, data_dir, out)


def _build_from_file(name: str, definition: dict, data_dir: Path, out: Path) -> dict:
    located = locate(name, definition, data_dir)
    local = definition.get("local", {})
    layout = layout_of(located.format, local)
    rule = _id_rule(name, definition)
    parsed = read_interactions(
        read_content(located.path, layout.member, located.max_bytes),
        layout, str(located.path), rule,
    )  # fmt: skip
    if not parsed.n_known:
        raise UserError(f"dataset {name}: no row of {located.path} has both a user and an item")
    time, parsed = time_kind(name, definition, parsed)
    order, k = definition.get("order", "file"), definition.get("k_core", 5)
    filtering.check_order(order, time)

    _say_ids(name, parsed)
    _say_heaviest(name, parsed)
    if time == "unix":
        for line in say_times(parsed.time[parsed.known]):
            _say(name, line)
    arrays, ids, changes = arrange(parsed, k, time, order)
    if not len(arrays["items"]):
        raise UserError(f"dataset {name}: nothing is left of {located.path} after the {k}-core")
    key = {"none": None, "rank": "rank"}.get(time, "time")
    key = "position" if parsed.position is not None else key
    info = _info(name, definition, arrays, ids, time)
    info |= {"order": filtering.describe(order, key), "order_variant": order}
    info |= {"order_changes": changes} | _ties(arrays, time, key)
    info["ids"] = _seen_ids(parsed, rule)
    _say_doubles(name, arrays)
    info["provenance"] = _provenance(definition["source"], located)
    _check_counts(name, definition, info)
    if "times" in arrays:  # whole seconds, once the order and its ties are settled
        arrays["times"] = np.floor(arrays["times"]).astype(np.int64, copy=False)
    info |= _split(name, definition, time, arrays)
    _check_learnable(name, arrays, info)
    info = store.save(out, arrays, ids, info)
    _announce(info)
    return info


def arrange(
    parsed: Interactions, k: int, time: str, order: str
) -> tuple[dict[str, np.ndarray], dict[str, list[str]], dict[str, int] | None]:
    """Filter, number and sort parsed rows; returns the arrays and id lists that go to disk, and what a variant changed.

    Users and items are numbered by their raw ids in natural order (whole numbers by value first,
    then the rest as text), so that the numbering depends neither on k nor on the order of rows.
    """
    rows = k_core(parsed.of_known(parsed.users), parsed.of_known(parsed.items), k)
    rows = rows if parsed.n_known == len(parsed.users) else parsed.known[rows]
    users, user_ids = _renumber(parsed.users[rows], parsed.user_ids)
    items, item_ids = _renumber(parsed.items[rows], parsed.item_ids)
    placed = parsed.position is not None  # which decides, whatever is known about times
    key = parsed.position if placed else None if time == "none" else parsed.time
    offsets = np.zeros(len(user_ids) + 1, dtype=np.int64)
    np.cumsum(counts(users, len(user_ids)), out=offsets[1:])
    arrays = {"items": np.empty(len(rows), np.int32), "rows": np.empty(len(rows), np.int64)}
    if time == "unix":
        arrays["times"] = np.empty(len(rows), parsed.time.dtype)
    for first, last in filtering.blocks(offsets):
        own = np.flatnonzero((users >= first) & (users < last))
        own_rows, block = rows[own], slice(offsets[first], offsets[last])
        sorting = filtering.base_order(users[own], None if key is None else key[own_rows])
        arrays["rows"][block] = own_rows[sorting]
        arrays["items"][block] = items[own][sorting] + 1
        if time == "unix":
            arrays["times"][block] = parsed.time[own_rows][sorting]
    changes = None
    if time == "unix":
        if placed:
            _check_positions(arrays["times"], offsets, order)
        if order != "file":
            variant = filtering.permutation(offsets, arrays["times"], arrays["rows"], order)
            changes = filtering.changes(offsets, variant)
            arrays = {name: array[variant] for name, array in arrays.items()}
    return arrays | {"offsets": offsets}, {"user_ids": user_ids, "item_ids": item_ids}, changes


def _check_positions(times: np.ndarray, offsets: np.ndarray, order: str) -> None:
    """Refuse what sorts or cuts by time where positions give another order: it would undo them, or mix later events in."""
    if order != "file":
        raise UserError(
            f"order: {order} changes the order of times, but local.columns.position decides it; take one of them out"
        )
    back = np.diff(times) < 0
    back[offsets[1:-1] - 1] = False  # from one user to the next
    if back.any():
        user = int(np.searchsorted(offsets, np.flatnonzero(back)[0], side="right")) - 1
        raise UserError(
            f"local.columns: position and time order the events of user number {user + 1} differently; take one of them out, or say"
            " `time: rank` if the times are none"
        )


def _renumber(codes: np.ndarray, raw_ids: list[str]) -> tuple[np.ndarray, list[str]]:
    present = np.flatnonzero(counts(codes, len(raw_ids)))
    ordered = sorted(present.tolist(), key=lambda code: _natural(raw_ids[code]))
    new = np.zeros(len(raw_ids), dtype=np.int32)
    new[ordered] = np.arange(len(ordered))
    return new[codes], [raw_ids[code] for code in ordered]


def _natural(raw_id: str) -> tuple[int, int, str]:
    whole = raw_id.isascii() and raw_id.isdigit() and len(raw_id) <= LONGEST_NUMBER
    return (0, int(raw_id), raw_id) if whole else (1, 0, raw_id)


def _id_rule(name: str, definition: dict) -> identifiers.Rule:
    given = definition.get("ids", {})
    for key, value in given.items():
        if value not in identifiers.RULES.get(key, ()):
            allowed = identifiers.RULES.get(key, identifiers.RULES)
            raise UserError(
                f"datasets.{name}.ids.{key} = {value!r}: is unknown; allowed: {', '.join(allowed)}"
            )
    return identifiers.Rule(**given)


def _seen_ids(parsed: Interactions, rule: identifiers.Rule) -> dict:
    """For dataset.json: the rule, and by column what it met; counts of ids but for rows without one."""
    seen = {
        name: {key: value for key, value in dataclasses.asdict(about).items() if key != "example"}
        for name, about in parsed.seen.items()
    }
    return dataclasses.asdict(rule) | {"dropped_rows": len(parsed.users) - parsed.n_known} | seen


def _build_synthetic(name: str, definition: dict, out: Path) -> dict:
    fixed = {"k_core": 1, "order": "file", "split": "leave-one-out"}
    if any(definition.get(key, only) != only for key, only in fixed.items()):
        raise UserError(
            f"datasets.{name}: synthetic data take k_core: 1, no other order and no other split"
        )
    config = config_from(name, definition.get("synthetic", {}))
    process, items, offsets = generate(config)
    arrays = {"items": items, "offsets": offsets, "rows": np.arange(len(items), dtype=np.int64)}
    ids = {"user_ids": range(config.n_users), "item_ids": range(1, config.n_items + 1)}
    info = _info(name, {"k_core": 1} | definition, arrays, ids, "none")
    _check_learnable(name, arrays, info)
    info["order"] = "as generated"
    info["provenance"] = _provenance("synthetic", None) | {"synthetic": dataclasses.asdict(config)}
    info["oracle"] = oracle_metrics(process, items, offsets)
    info = store.save(out, arrays, ids, info)
    _announce(info)
    return info


def _info(name: str, definition: dict, arrays: dict, ids: dict, time: str) -> dict:
    items, offsets = arrays["items"], arrays["offsets"]
    lengths = np.diff(offsets)
    return {
        "schema": store.SCHEMA,
        "name": name,
        "source": definition["source"],
        "n_users": len(ids["user_ids"]),
        "n_items": len(ids["item_ids"]),
        "n_interactions": len(items),
        "k_core": definition.get("k_core", 5),
        "hash": store.content_hash(items, offsets),
        "time": time,
        "order": None,
        "order_variant": "file",
        "order_changes": None,
        "split": {"kind": "leave-one-out"},
        "ties": None,
        "ties_reason": NO_TIES.get(time),
        "lengths": {
            "min": int(lengths.min()),
            "median": float(np.median(lengths)),
            "mean": float(lengths.mean()),
            "max": int(lengths.max()),
        },
        "repeats": repeats(items, offsets),
        "ids": None,
        "provenance": None,
        "oracle": None,
    }


def _split(name: str, definition: dict, time: str, arrays: dict) -> dict:
    items, offsets = arrays["items"], arrays["offsets"]
    rule = split.declare(name, definition, time, items, offsets, arrays.get("times"))
    return {"split": rule, "hash": store.content_hash(items, offsets, rule)}


def _check_learnable(name: str, arrays: dict, info: dict) -> None:
    """Refuse data without a target to select a model on, or without one to train it on.

    A training would run to the end of its patience and then have nothing, or fail at its first batch.
    """
    found = split.split_of(arrays["offsets"], arrays.get("times"), info)
    longest, trained = info["lengths"]["max"], int((found.ends - found.offsets[:-1]).max())
    if not all(len(users) for users in found.users.values()):
        raise UserError(
            f"datasets.{name}: no user has {split.FEWEST} events, the longest history has {longest}, "
            "so nobody can be evaluated; use data with longer histories"
        )
    if trained < FEWEST_TRAINED:
        raise UserError(
            f"datasets.{name}: no user has {FEWEST_TRAINED} events left to train on, the longest history has "
            f"{longest} and the split {info['split']['kind']} leaves {trained}; use data with longer histories"
        )


def _ties(arrays: dict, time: str, key: str | None) -> dict:
    if time != "unix":
        return {"ties": None, "ties_reason": NO_TIES[time]}
    if key == "position":
        return {"ties": None, "ties_reason": "a position column decides the order, not the time"}
    ties = filtering.tie_statistics(arrays["offsets"], arrays["times"])
    return {"ties": ties, "ties_reason": None}


def repeats(items: np.ndarray, offsets: np.ndarray) -> float:
    """Share of events whose (user, item) pair occurred before; such events are kept."""
    repeated, n_codes = 0, int(items.max()) + 1
    for first, last in filtering.blocks(offsets):
        users = np.repeat(np.arange(last - first), np.diff(offsets[first : last + 1]))
        pairs = np.sort(users * n_codes + items[offsets[first] : offsets[last]])
        repeated += int(np.count_nonzero(pairs[1:] == pairs[:-1]))
    return repeated / len(items)


def _provenance(source: str, located: Located | None) -> dict:
    public = SOURCES.get(source)
    return {
        "file": located.path.name if located else None,
        "sha256": located.sha256 if located else None,
        "url": located.url if located else None,
        "substitute_file": located.substitute_file if located else None,
        "terms": public.terms if public else None,
        "citation": public.citation if public else None,
    }


def _check_counts(name: str, definition: dict, info: dict) -> None:
    source, k = definition["source"], definition.get("k_core", 5)
    built_in = SOURCES[source].five_core if source in SOURCES and k == 5 else {}
    expected = definition.get("expect") or built_in
    found = {key: info[f"n_{key}"] for key in expected}
    if found != expected:
        words = [", ".join(f"{n:,} {key}" for key, n in c.items()) for c in (expected, found)]
        raise UserError(
            f"dataset {name}: expected {words[0]} after the {k}-core, found {words[1]} in "
            f"{info['provenance']['file']}; use the publisher's file, or, if another version is "
            f"meant, declare its counts under datasets.{name}.expect"
        )


def _say_ids(name: str, parsed: Interactions) -> None:
    """What the columns of ids held besides plain ids, for the log."""
    for column, seen in parsed.seen.items():
        if seen.missing:
            words = ", ".join(f"{word!r} in {n:,}" for word, n in seen.missing.items())
            _say(name, f"{column} is missing in some rows, which are left out: {words}")
        if seen.blanks:
            _say(name, f"blanks around {seen.blanks:,} {column} ids are taken off")
        if seen.rewritten:
            _say(name, f"{seen.rewritten:,} spellings of {column} ids are read as plain numbers")
        if seen.alike:
            one, other = seen.example
            remedy = "make them alike in the file"
            if identifiers.whole(one) and identifiers.whole(other):
                remedy = f"`datasets.{name}.ids: {{form: number}}` makes them one"
            _say(
                name,
                f"warning: {seen.alike:,} {column} ids are written like others, as {one!r} and {other!r}, and count as others; "
                f"if they are the same, {remedy}",
            )


def _say_heaviest(name: str, parsed: Interactions) -> None:
    """A user with a good part of all rows may be a spelling of nobody that no list has, as `-1` or `guest`."""
    events = counts(parsed.of_known(parsed.users), len(parsed.user_ids))
    most = int(events.argmax())
    if events[most] > max(HEAVY * events.sum(), TIMES_MEDIAN * np.median(events)):
        _say(
            name,
            f"warning: user {parsed.user_ids[most]!r} has {events[most]:,} of {events.sum():,} rows; if it stands for nobody,"
            " take these rows out of the file",
        )


def _say_doubles(name: str, arrays: dict[str, np.ndarray]) -> None:
    """Events that stand in the file twice, as where one was put behind itself."""
    if "times" not in arrays:
        return
    items, times = arrays["items"], arrays["times"]
    same = (items[1:] == items[:-1]) & (times[1:] == times[:-1])
    same[arrays["offsets"][1:-1] - 1] = False  # from one user to the next
    doubles = np.count_nonzero(same)
    if doubles > HEAVY * len(items):
        _say(
            name,
            f"warning: {doubles:,} of {len(items):,} events repeat the one before, time included; if the file holds them twice,"
            " take the second ones out",
        )


def _say(name: str, text: str) -> None:
    print(f"{name}: {text}", file=sys.stderr, flush=True)


def _announce(info: dict) -> None:
    """What the data are and on what terms, for the log."""
    facts = info["provenance"] | {"order": info["order"]}
    facts["split"] = json.dumps(info["split"])
    for key in ("file", "url", "substitute_file", "order", "split", "terms", "citation"):
        if facts[key]:
            _say(info["name"], f"{key}: {facts[key]}")
    if info["ties"] and info["ties"]["events_tied"] > MOSTLY_TIED:
        _say(
            info["name"],
            f"warning: {info['ties']['events_tied']:.0%} of all events share their time with a neighbour, so the order of the"
            " file decides; are the times whole ones?",
        )
