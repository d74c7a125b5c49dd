"""How often the gate is right: seconds that its self-test left, resampled into rates of detection and of false alarms.

A block in which a stage was not slowed is an equal one for it, whatever was planted elsewhere. A resampled gate draws blocks
for a first look and, like the real one, fails a stage only if a second, smaller draw says so too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import verdict

SLOWED = {"model": "train/sasrec/", "preparing": "prepare"}  # plant -> stages that it slows
EQUAL = "equal"
DRAWS = 1000


@dataclass(frozen=True)
class Rate:
    """Share of resampled gates of so many blocks that alarm, and that fail, a stage; ``pairs`` were measured.

    planted: `equal` or the plant's name; stage: a name, or `any` of those of equal checkouts.
    """

    planted: str
    stage: str
    blocks: int
    pairs: int
    alarm: float
    failure: float
    median: float  # of head over base, minus 1
    spread: float  # standard deviation of the log ratios of single pairs


def read(folders: Sequence[Path]) -> dict[tuple[str, str], np.ndarray]:
    """Log ratios (B, 2) of all blocks in these folders by plant (or `equal`) and stage."""
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for folder in folders:
        for file in sorted(Path(folder).glob("*.json")):
            plant, content = file.stem.rpartition("-")[0], json.loads(file.read_text())
            for stage, base in content["base"].items():
                slowed = plant in SLOWED and stage.startswith(SLOWED[plant])
                logs = verdict.changes(np.array(base), np.array(content["head"][stage]))
                found.setdefault((plant if slowed else EQUAL, stage), []).append(logs)
    return {key: np.concatenate(parts) for key, parts in found.items()}


def rates(
    logs: Mapping[tuple[str, str], np.ndarray], blocks: Sequence[int] = (4, 8, 12),
    draws: int = DRAWS, seed: int = 0,
) -> list[Rate]:  # fmt: skip
    """Rates of every stage and, over equal checkouts, of any of them (taken as independent of one another)."""
    rng, found = np.random.default_rng(seed), []
    for count in blocks:
        none = 1.0
        alarms = 1.0
        for (planted, stage), values in sorted(logs.items()):
            first = np.array([_alarm(values, count, rng) for _ in range(draws)])
            again = np.array([_alarm(values, verdict.FEWEST_AGAIN, rng) for _ in range(draws)])
            failure = float(first.mean() * again.mean())
            found.append(
                Rate(planted, stage, count, values.size, float(first.mean()), failure,
                     float(np.expm1(np.median(values))), float(values.std()))
            )  # fmt: skip
            if planted == EQUAL:
                none, alarms = none * (1 - failure), alarms * (1 - float(first.mean()))
        pairs = max((v.size for (p, _), v in logs.items() if p == EQUAL), default=0)
        found.append(Rate(EQUAL, "any", count, pairs, 1 - alarms, 1 - none, 0.0, 0.0))
    return found


def _alarm(logs: np.ndarray, count: int, rng: np.random.Generator) -> bool:
    drawn = logs[rng.integers(0, len(logs), count)]
    return verdict.alarm(verdict.estimate(drawn, int(rng.integers(2**31))))


def to_markdown(found: Sequence[Rate]) -> str:
    """One row per plant and stage, a pair of columns per number of blocks."""
    counts = sorted({r.blocks for r in found})
    heads = "".join(f" {n} blocks: alarm | fails |" for n in counts)
    lines = [f"| planted | stage | pairs | median change | SD of a pair |{heads}"]
    lines.append("| --- | --- | --: | --: | --: |" + " --: | --: |" * len(counts))
    for planted, stage in dict.fromkeys((r.planted, r.stage) for r in found):
        own = {r.blocks: r for r in found if (r.planted, r.stage) == (planted, stage)}
        one = own[counts[0]]
        cells = "".join(
            f" {100 * own[n].alarm:.1f} % | {100 * own[n].failure:.2f} % |" for n in counts
        )
        numbers = (
            "| | |"
            if stage == "any"
            else f"| {100 * one.median:+.1f} % | {100 * one.spread:.1f} % |"
        )
        lines.append(f"| {planted} | {stage} | {one.pairs} {numbers}{cells}")
    return "\n".join(lines) + "\n"
