"""Who is compared: our models, and one SASRec of each other library."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from seqbench.hardware.worker_env import ALLOCATOR

from .interactions import VALIDATION, Flat
from .process import ROOT, Failed, without_paths
from .protocol import Settings

VENVS = ROOT / ".venv-peers"
PEER_BATCH = 128  # sequences per step of RecTools and RePlay
PREFIXES = 256  # prefixes per step of RecBole
OUR_BATCH = 2048  # real targets per step, our default
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
    without: tuple[str, ...] = field(
        default=()
    )  # environment variables that its worker does not get

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
    """All rows in the order of the table. ``settings`` hold what is common to all."""

    def ours(key: str, label: str, model: str, batch: int = OUR_BATCH) -> Contestant:
        label = f"{label} (ours, {batch:,} targets a step)"
        return Contestant(
            key, label, "tools.peers.ours", replace(settings, model=model, batch=batch)
        )

    def peer(name: str, label: str, batch: int) -> Contestant:
        chosen = replace(settings, batch=batch)
        return Contestant(name, f"SASRec ({label})", f"peers.{name}_worker", chosen, name)

    return [
        ours(REFERENCE, "SASRec", "sasrec"),
        ours(SAME_BATCH, "SASRec", "sasrec", targets_of_a_peer_step(flat, settings.length)),
        peer("rectools", f"RecTools, {PEER_BATCH} sequences a step", PEER_BATCH),
        peer("replay", f"RePlay, {PEER_BATCH} sequences a step", PEER_BATCH),
        peer("recbole", f"RecBole, {PREFIXES} prefixes a step", PREFIXES),
        ours("ours-mamba4rec", "Mamba4Rec", "mamba4rec"),
        ours("ours-gru4rec", "GRU4Rec", "gru4rec"),
        ours("ours-bert4rec", "BERT4Rec", "bert4rec"),
    ]


def ablations(settings: Settings) -> list[Contestant]:
    """Our SASRec as it is, then with one optimisation less in every row, then in bfloat16."""

    def row(key: str, label: str, without: tuple[str, ...] = (), **changes) -> Contestant:
        chosen = replace(settings, model="sasrec", batch=OUR_BATCH, **changes)
        return Contestant(key, label, "tools.peers.ours", chosen, None, without)

    plain = {"kernels": "eager"}
    return [
        row(REFERENCE, "everything on"),
        row("no-compiled", "compiled kernels off", kernels="torch"),
        row("plain", "and the loss in one piece, Adam unfused", **plain),
        row("no-bucket", "and batches of any lengths", bucket_by_length=False, **plain),
        row(
            "no-malloc",
            "and malloc as the system has it",
            tuple(ALLOCATOR),
            bucket_by_length=False,
            **plain,
        ),
        row("inductor", "everything on, torch.compile instead of numba", kernels="inductor"),
        row("bf16", "everything on, in bfloat16", precision="bf16"),
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
