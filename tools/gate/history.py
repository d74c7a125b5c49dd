"""Tier 3: what one machine measured over time, one JSON line per run, and where its level changed. Informs, never fails.

Machines are told apart by their fingerprint and never compared, nor are runs that timed other work (``WORKLOAD``). Change points: PELT (Killick et al. 2012) of ruptures on the
logarithms, with a penalty of ``PENALTY`` times the variance of a run's noise, read off the differences of neighbouring runs, times
the logarithm of the number of runs.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .pairs import Comparison

FILE = "history.jsonl"
PENALTY, SHORTEST = 6.0, 3  # runs between two change points at least
FEWEST = 2 * SHORTEST
WORKLOAD = 2  # to be raised whenever a stage or benchmark of tier 2 times something else under its old name
NEEDED = {"at", "revision", "machine", "machine_name", "seconds"}


def append(file: Path, facts: Mapping[str, Any], revision: str, found: Comparison) -> None:
    """Add a line: head's median seconds of every stage on this machine."""
    line = {
        "schema": 1, "workload": WORKLOAD, "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "revision": revision,
        "machine": facts["machine"], "machine_name": facts["machine_name"], "packages": facts["packages"],
        "seconds": {stage: float(np.median(values)) for stage, values in found.head.items()},
    }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    cut = file.exists() and not file.read_bytes().endswith(b"\n")  # by a run that was killed
    with file.open("a", encoding="utf-8") as lines:
        lines.write("\n" * cut + json.dumps(line, sort_keys=True) + "\n")


def read(file: Path) -> list[dict[str, Any]]:
    """Lines of a history, oldest first; one cut short by a killed run, of another kind or workload, is left out."""
    if not file.exists():
        return []
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and row.keys() >= NEEDED and row.get("workload") == WORKLOAD:
            found.append(row)
    return sorted(found, key=lambda row: row["at"])


def series(
    lines: list[dict[str, Any]],
) -> Iterator[tuple[str, str, list[dict[str, Any]], np.ndarray]]:
    """Machine, stage, lines and seconds of every stage on every machine."""
    for machine in dict.fromkeys(line["machine"] for line in lines):
        own = [line for line in lines if line["machine"] == machine]
        for stage in dict.fromkeys(stage for line in own for stage in line["seconds"]):
            having = [line for line in own if stage in line["seconds"]]
            yield machine, stage, having, np.array([line["seconds"][stage] for line in having])


def levels(lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row per stage and run of every machine; level: how many change points lie before it."""
    for machine, stage, own, seconds in series(lines):
        borders = change_points(seconds)
        for run, (line, value) in enumerate(zip(own, seconds, strict=True)):
            yield {
                "machine_name": f"{line['machine_name']} ({machine})", "stage": stage, "run": run + 1, "at": line["at"],
                "revision": line["revision"][:12], "seconds": float(value),
                "level": int(np.searchsorted(borders, run, side="right")),
            }  # fmt: skip


def to_markdown(lines: list[dict[str, Any]]) -> str:
    """One row per machine and stage: the latest level in seconds against the one before, and since when it holds."""
    rows = [
        "| machine | stage | runs | latest level (s) | against the one before | since |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    stages: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in levels(lines):
        stages.setdefault((row["machine_name"], row["stage"]), []).append(row)
    for (machine, stage), own in stages.items():
        last = own[-1]["level"]
        now = [row for row in own if row["level"] == last]
        before = [row["seconds"] for row in own if row["level"] == last - 1]
        seconds = float(np.median([row["seconds"] for row in now]))
        change = f"{100 * (seconds / np.median(before) - 1):+.1f} %" if before else ""
        since = f"{now[0]['at']}, {now[0]['revision']}" if before else "the first run"
        rows.append(f"| {machine} | {stage} | {len(own)} | {seconds:.3g} | {change} | {since} |")
    return "\n".join(rows) + "\n"


def change_points(seconds: np.ndarray) -> list[int]:
    """Indices of the runs at which a new level begins; none where there are too few runs to say."""
    import ruptures

    if len(seconds) < FEWEST:
        return []
    logs = np.log(seconds)
    noise = (
        np.median(np.abs(np.diff(logs))) / 0.954
    )  # of a difference: sqrt(2) sigma, whose median is 0.954 sigma
    if noise == 0:
        noise = 1e-6
    search = ruptures.Pelt(model="l2", min_size=SHORTEST, jump=1).fit(logs[:, None])
    return [int(k) for k in search.predict(pen=PENALTY * noise**2 * np.log(len(logs)))[:-1]]
