"""Quality metrics from ranks, and the one table that names every metric, its unit and its direction.

With a single held-out item per user all three quality metrics are functions of its rank alone, so ranks are
what is stored and metrics are derived from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def hit_rate(rank: np.ndarray, k: int) -> np.ndarray:
    """HR@k per user: 1 where the held-out item is among the first k. rank (U,) is 1-based."""
    return (rank <= k).astype(np.float64)


def ndcg(rank: np.ndarray, k: int) -> np.ndarray:
    """NDCG@k per user: 1 / log2(1 + rank) within the first k (one relevant item: the ideal DCG is 1)."""
    return np.where(rank <= k, 1.0 / np.log2(1.0 + rank), 0.0)


def reciprocal_rank(rank: np.ndarray, k: int) -> np.ndarray:
    """MRR@k per user: 1 / rank within the first k, else 0."""
    return np.where(rank <= k, 1.0 / rank, 0.0)


QUALITY: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "hr": hit_rate,
    "ndcg": ndcg,
    "mrr": reciprocal_rank,
}


def per_user(rank: np.ndarray, metric: str) -> np.ndarray:
    """A metric's value for each user. rank (U,) 1-based, whole or half (average ties); metric as ``ndcg@10``."""
    name, _, k = metric.partition("@")
    if rank.size and rank.min() < 1:
        raise ValueError(f"ranks start at 1, got {rank.min()}")
    return QUALITY[name](np.asarray(rank), int(k))


def expected_under_random_ties(rank: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Average rank of the held-out item among its equal-scored others. rank is conservative, ties their number."""
    return rank - ties / 2.0


@dataclass(frozen=True)
class Metric:
    """How a metric is shown: label, unit ('' if none), and whether more is better (None: neither)."""

    label: str
    unit: str
    higher_is_better: bool | None


METRICS: dict[str, Metric] = {
    "hr@10": Metric("HR@10", "", True),
    "ndcg@10": Metric("NDCG@10", "", True),
    "mrr@10": Metric("MRR@10", "", True),
    "parameters": Metric("Parameters", "", False),
    "targets": Metric("Targets seen", "", None),
    "step_s": Metric("Training step", "s", False),
    "epoch_s": Metric("Training epoch", "s", False),
    "gpu_step_s": Metric("Training step on the device", "s", False),
    "data_wait_s": Metric("Wait for data per step", "s", False),
    "batch_s": Metric("Inference batch", "s", False),
    "encode_s": Metric("Inference: encode", "s", False),
    "score_s": Metric("Inference: score all items", "s", False),
    "topk_s": Metric("Inference: top 10", "s", False),
    "tokens_per_s": Metric("Real tokens per second", "1/s", True),
    "targets_per_s": Metric("Real targets per second", "1/s", True),
    "users_per_s": Metric("Users per second", "1/s", True),
    "first_step_s": Metric("First training step (kernels compiled)", "s", False),
    "peak_rss_bytes": Metric("Peak resident memory (host)", "bytes", False),
    "peak_allocated_bytes": Metric("Peak allocated (GPU)", "bytes", False),
    "peak_reserved_bytes": Metric("Peak reserved (GPU)", "bytes", False),
    "nvml_process_bytes": Metric("Process memory (NVML)", "bytes", False),
    "nvml_device_bytes": Metric("Device memory (NVML)", "bytes", False),
    "context_bytes": Metric("Device context (NVML)", "bytes", False),
    "energy_j_per_step": Metric("Energy per training step", "J", False),
    "energy_j_per_epoch": Metric("Energy per epoch", "J", False),
    "energy_j_per_batch": Metric("Energy per inference batch", "J", False),
    "power_w": Metric("Mean power", "W", False),
    "sm_clock_mhz": Metric("SM clock", "MHz", None),
    "memory_clock_mhz": Metric("Memory clock", "MHz", None),
    "temperature_c": Metric("Highest temperature", "°C", None),
    "utilisation": Metric("GPU utilisation", "", None),
    "product_flop_per_s": Metric("Matrix-product ceiling", "FLOP/s", True),
    "copy_bytes_per_s": Metric("Copy ceiling", "bytes/s", True),
    "flops": Metric("FLOPs per step or batch", "FLOP", False),
    "moved_bytes": Metric("Bytes read and written by operators", "bytes", False),
    "saved_bytes": Metric("Activations saved for backward", "bytes", False),
    "operators": Metric("Operators and kernels called", "", False),
    "intensity": Metric("Arithmetic intensity", "FLOP/byte", None),
    "flop_per_s": Metric("Arithmetic achieved", "FLOP/s", True),
    "share_of_product": Metric("Share of the matrix-product ceiling", "", True),
    "share_of_copy": Metric("Share of the copy ceiling", "", True),
}


@dataclass(frozen=True)
class Spread:
    """Median, interquartile range with its ends, and number of the samples of one measured quantity."""

    median: float
    iqr: float
    q25: float
    q75: float
    n: int


def spread(samples: np.ndarray) -> Spread:
    """Return median, interquartile range and count; a NaN among the samples stays visible as NaN."""
    values = np.asarray(samples, dtype=float).ravel()
    if values.size == 0:
        raise ValueError("spread of no samples")
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return Spread(float(median), float(high - low), float(low), float(high), int(values.size))
