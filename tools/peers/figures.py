"""What is derived from the samples of a race: seconds per target, ratios, their intervals, the arithmetic limit.

R rounds. A round's value is its seconds over its targets: batches differ in length, so single steps are not compared.
Ratios are formed within a round, where both contestants met the same state of the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from seqbench.analysis import resampling

from .protocol import Settings

MASKED = 0.2  # share of the targets that BERT4Rec predicts


@dataclass(frozen=True)
class Estimate:
    """Median over the rounds with its 95 % bootstrap interval."""

    median: float
    low: float
    high: float


def estimate(values: np.ndarray, seed: int = 0) -> Estimate:
    """Median of ``values`` (R,) and the interval of the medians of its resamples."""
    draws = np.random.default_rng(seed).integers(
        0, len(values), (resampling.RESAMPLES, len(values))
    )
    low, high = resampling.interval(np.median(values[draws], axis=1))
    return Estimate(float(np.median(values)), float(low), float(high))


def per_target(rounds: list[dict[str, list]], clock: str = "step_s") -> np.ndarray:
    """Seconds per real target of every round (R,); ``clock`` is ``step_s`` (wall) or ``cpu_s``."""
    return np.array([sum(r[clock]) / sum(r["targets"]) for r in rounds])


def ratio(
    rounds: list[dict[str, list]], reference: list[dict[str, list]], clock: str = "step_s"
) -> Estimate:
    """How many times the reference's seconds per target, paired by round."""
    shared = min(len(rounds), len(reference))
    return estimate(per_target(rounds, clock)[:shared] / per_target(reference, clock)[:shared])


def flops_per_target(s: Settings, facts: dict[str, Any]) -> float:
    """Floating-point operations that a step of one of our models needs per target: forward, and twice that backward.

    Matrix products, each multiplication and addition counted, and the recurrence of Mamba; nothing for padding, and
    nothing is computed twice. facts: ``n_items``, and means over targets, ``mean_history`` of the items that a target
    may see and ``mean_window`` of the items of its window. BERT4Rec: a fifth of the targets is predicted.
    """
    d, catalogue = s.d_model, facts["n_items"] * s.d_model
    if s.model == "sasrec":
        products = s.n_layers * _attention(s, facts["mean_history"]) + catalogue
    elif s.model == "mamba4rec":
        products = s.n_layers * _mamba(s) + catalogue
    elif s.model == "gru4rec":
        products = _gru(s) + catalogue
    else:
        block, keys = (
            _attention(s, facts["mean_window"]),
            2 * d**2,
        )  # keys and values of all positions
        masked = (
            block - keys + d**2 + catalogue
        )  # the rest of the last block, the head, the catalogue
        products = (s.n_layers - 1) * block + keys + MASKED * masked
    return 3 * 2 * products


def _attention(s: Settings, seen: float) -> float:
    """Multiplications of one attention block and its feed-forward network at one position."""
    return 4 * s.d_model**2 + 2 * seen * s.d_model + 2 * s.d_model * s.d_inner


def _mamba(s: Settings) -> float:
    """Of one Mamba block: five products, the convolution, and per state 3.5 multiply-adds (7 operations)."""
    channels, states, rank, taps = 2 * s.d_model, 32, -(-s.d_model // 16), 4
    inner = channels * (2 * s.d_model + taps + 2 * rank + 2 * states + s.d_model)
    return inner + 3.5 * channels * states + 2 * s.d_model * 4 * s.d_model


def _gru(s: Settings) -> float:
    """Of all recurrent layers of 128 units and the dense layer behind them."""
    units = 128
    widths = [s.d_model, *[units] * (s.n_layers - 1)]
    return sum(3 * units * (width + units) for width in widths) + units * s.d_model
