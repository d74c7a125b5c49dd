"""Who is compared: our models, and one SASRec of each other library."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from seqbench.config import model_files

from .interactions import VALIDATION, Flat
from .process import ROOT, Failed, without_paths
from .protocol import Settings

VENVS = ROOT / ".venv-peers"
PEER_BATCH = 128  # sequences per step of RecTools and RePlay
PREFIXES = 256  # prefixes per step of RecBole
OUR_BATCH = 2048  # real targets per step, our default
MODELS = ("sasrec", "mamba4rec", "gru4rec", "bert4rec")
REDUCED = "mixed"  # the precision of further rows of ours
REFERENCE = "ours-sasrec"
SAME_BATCH = "ours-sasrec-large"


@dataclass(frozen=True)
class Contestant:
    """One row: a model of one library with its batch size."""

    key: str
    label: str
    module: str  # what its interpreter runs
    settings: Settings
    peer: str | None = None  # the environment below .venv-peers; None for ours

    def command(self) -> list[str]:
        """How its worker is started.

        Raises:
            Failed: its environment could not be made; the reason is pip's.
        """
        arguments = ["-m", self.module, json.dumps(asdict(self.settings))]
        if self.peer is None:
            return [sys.executable, *arguments]
        if not (VENVS / f"{self.peer}.made").exists():
            raise Failed(f"not installed: {_why(VENVS / f'{self.peer}.failed')}")
        return [str(VENVS / self.peer / "bin" / "python"), *arguments]


def contestants(settings: Settings, flat: Flat) -> list[Contestant]:
    """All rows in the order of the table. ``settings`` hold what is common to all.

    The peers stand last: their evaluation needs most memory, and ours have ended by then.
    """

    def ours(model: str, named: str = "", what: str = "", batch: int = OUR_BATCH, **changes) -> Contestant:  # fmt: skip
        label = f"{model_files.shown(model).label} (ours, {what or f'{batch:,} targets a step'})"
        chosen = replace(settings, model=model, batch=batch, **changes)
        return Contestant(f"ours-{model}{named}", label, "tools.peers.ours", chosen)

    def peer(name: str, label: str, batch: int) -> Contestant:
        chosen = replace(settings, batch=batch)
        return Contestant(name, f"SASRec ({label})", f"tools.peers.{name}_worker", chosen, name)

    return [
        ours("sasrec"),
        ours("sasrec", "-large", batch=targets_of_a_peer_step(flat, settings.length)),
        *(ours(model) for model in MODELS[1:]),
        *(ours(model, "-torch", "PyTorch's own kernels", kernels="torch") for model in MODELS),
        *(
            ours(model, f"-{REDUCED}", f"precision {REDUCED}", precision=REDUCED)
            for model in MODELS
        ),
        peer("rectools", f"RecTools, {PEER_BATCH} sequences a step", PEER_BATCH),
        peer("replay", f"RePlay, {PEER_BATCH} sequences a step", PEER_BATCH),
        peer("recbole", f"RecBole, {PREFIXES} prefixes a step", PREFIXES),
    ]


def targets_of_a_peer_step(flat: Flat, length: int) -> int:
    """Mean number of real targets in a peer's batch: the last ``length`` of every user's training part."""
    training = flat.counts(VALIDATION)
    per_user = np.minimum(np.maximum(training - 1, 0), length)
    return round(PEER_BATCH * per_user.sum() / max((training > 1).sum(), 1))


def _why(file: Path) -> str:
    """What pip said: its first error, else its last line."""
    if not file.exists():
        return "`make bench-peers` makes its environment"
    text = file.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return without_paths((errors[:1] or lines[-1:] or ["pip said nothing"])[0])
