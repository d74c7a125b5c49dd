"""How often the gate is right: blocks that its self-test measured, drawn again and handed to the gate itself.

The plan, the statistics and the rules are the gate's own (`pairs.compare`): only its processes and its clock are replaced, by whole
measured blocks, all stages of a block together, none twice within one gate as long as there are enough.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqbench.core.errors import UserError

from . import pairs, verdict

SLOWED = {"model": "train/sasrec/", "preparing": "prepare"}  # plant -> stages that it slows
EQUAL = "equal"  # any other plant of which blocks exist changes nothing that is timed
GATES = 500
BUDGET_S = 300.0


@dataclass(frozen=True)
class Rate:
    """Shares of gates drawn from ``pairs`` measured pairs.

    found: it failed and named what was planted; other: it failed and named something else, too or only; unsure: it failed nothing and
    some stage stayed open; passed: all was settled. seconds: median length of a gate. left_out: blocks in which a stage failed or is
    missing, which are not drawn.
    """

    planted: str
    pairs: int
    gates: int
    found: float
    other: float
    unsure: float
    passed: float
    seconds: float
    left_out: int


@dataclass(frozen=True)
class Spread:
    """One stage where nothing was planted: standard deviations of a pair's log ratio, and shares of verdicts."""

    stage: str
    pairs: int
    change: float
    equal_code: float
    said: Mapping[str, float]


class Drawn:
    """A runner that draws measured blocks, and the clock that they advance."""

    def __init__(self, blocks: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> None:
        self._blocks, self._rng, self._left, self.now = blocks, rng, [], 0.0

    def warm(self) -> None:
        """What compiling took where the blocks were measured, in the middle."""
        self.now += float(np.median([block["warm_s"] for block in self._blocks]))

    def block(self, only: Sequence[str] | None) -> pairs.Block:
        """The next block of a shuffled list, or its part; its time is cut as the gate itself expects."""
        if not self._left:
            self._left = self._rng.permutation(len(self._blocks)).tolist()
        block = self._blocks[self._left.pop()]
        stages = block["stages"]
        share = 1.0 if only is None else len(only) / len(stages)
        self.now += block["took_s"] * (pairs.STARTING + (1 - pairs.STARTING) * share)
        return stages if only is None else {name: stages[name] for name in only}

    def clock(self) -> float:
        """Seconds so far."""
        return self.now


def read(folders: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    """Full blocks by plant, `equal` among them, of the files in these folders.

    Raises:
        UserError: a folder has no blocks, or a file is none of the self-test's.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for folder in folders:
        files = sorted(Path(folder).glob("*.json"))
        if not files:
            raise UserError(f"{folder}: has no *.json of measured blocks (--rates)")
        for file in files:
            plant = file.stem.rpartition("-")[0]
            try:
                content = json.loads(file.read_text())
                blocks = [b | {"warm_s": content["warm_s"]} for b in content["blocks"] if b["all"]]
            except (ValueError, KeyError, TypeError):
                raise UserError(f"{file}: does not hold blocks of the self-test (--rates)") from None  # fmt: skip
            found.setdefault(plant if plant in SLOWED else EQUAL, []).extend(blocks)
    return found


def _complete(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without blocks in which a stage failed or is missing."""
    names = {name for block in blocks for name in block["stages"]}
    return [
        b for b in blocks
        if names == b["stages"].keys() and not any("error" in s for s in b["stages"].values())
    ]  # fmt: skip


def rates(
    blocks: Mapping[str, Sequence[Mapping[str, Any]]], budget_s: float = BUDGET_S, gates: int = GATES, seed: int = 0,
) -> tuple[list[Rate], list[Spread]]:  # fmt: skip
    """How gates of ``budget_s`` seconds end, by plant, and what they say of every stage where nothing is planted."""
    rng, found, said = np.random.default_rng(seed), [], Counter()
    for plant, all_blocks in sorted(blocks.items()):
        pool = _complete(all_blocks)
        if not pool:
            raise UserError(
                f"{plant}: in every measured block a stage failed or is missing (--rates)"
            )
        ends, seconds = Counter(), []
        for _ in range(gates):
            runner = Drawn(pool, rng)
            verdicts = pairs.compare(runner, budget_s, runner.clock).verdicts()
            seconds.append(runner.now)
            ends[_end(plant, verdicts)] += 1
            if plant == EQUAL:
                said.update((v.stage, v.verdict) for v in verdicts)
        share = {end: ends[end] / gates for end in ("found", "other", "unsure", "passed")}
        left_out = len(all_blocks) - len(pool)
        found.append(
            Rate(
                plant,
                2 * len(pool),
                gates,
                **share,
                seconds=float(np.median(seconds)),
                left_out=left_out,
            )
        )
    return found, _spreads(_complete(blocks.get(EQUAL, [])), said, gates)


def _end(plant: str, verdicts: Sequence[verdict.Verdict]) -> str:
    slower = [v.stage for v in verdicts if v.verdict == verdict.SLOWER]
    if not slower:
        return "unsure" if verdict.overall(verdicts) == verdict.UNSURE else "passed"
    planted = SLOWED.get(plant)
    return "found" if planted and all(s.startswith(planted) for s in slower) else "other"


def _spreads(pool: Sequence[Mapping[str, Any]], said: Counter, gates: int) -> list[Spread]:
    found = []
    for stage in pool[0]["stages"] if pool else ():
        logs, own = (np.array([b["stages"][stage][name] for b in pool]) for name in ("change", "own"))  # fmt: skip
        shares = {v: said[stage, v] / gates for v in (verdict.OK, verdict.UNSURE, verdict.SLOWER)}
        found.append(Spread(stage, logs.size, float(logs.std()), float(own.std()), shares))
    return found


def to_markdown(found: Sequence[Rate], spreads: Sequence[Spread], budget_s: float = BUDGET_S) -> str:  # fmt: skip
    """Two tables: gates by plant, stages where nothing is planted."""
    lines = [
        f"Gates of {budget_s:g} s, each made of measured blocks drawn again:\n",
        "| planted | pairs measured | blocks left out | gates | named it, nothing else | named something else | cannot tell | passed | median s |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for r in found:
        shares = " | ".join(f"{100 * x:.1f} %" for x in (r.found, r.other, r.unsure, r.passed))
        lines.append(
            f"| {r.planted} | {r.pairs} | {r.left_out} | {r.gates} | {shares} | {r.seconds:.0f} |"
        )
    lines += [
        "\nStages of equal checkouts:\n",
        "| stage | pairs | SD of a pair | SD of equal code | same | cannot tell | slower |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    for s in spreads:
        shares = " | ".join(f"{100 * x:.1f} %" for x in s.said.values())
        lines.append(f"| {s.stage} | {s.pairs} | {100 * s.change:.1f} % | {100 * s.equal_code:.1f} % | {shares} |")  # fmt: skip
    return "\n".join(lines) + "\n"
