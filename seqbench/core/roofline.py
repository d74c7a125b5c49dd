"""The least seconds that counted work needs at the measured ceilings of a device."""

from __future__ import annotations

from collections.abc import Mapping


def least_seconds(counts: Mapping[str, float], ceilings: Mapping[str, float]) -> float | None:
    """Products at their ceiling; of the scan's exponentials and bytes, which overlap, the longer ones.

    Arithmetic that PyTorch's products do not do (attention, recurrence, scan) stands at ``fp32_flop_per_s`` where
    there are two ceilings of it. counts, ceilings: as in a record of a measurement. Where no rate of exponentials
    is known, as on a GPU, only the bytes count.

    Returns:
        None for a record that does not count exponentials.
    """
    if "exponentials" not in counts or not ceilings:
        return None
    product = ceilings["product_flop_per_s"]
    own = counts["flops"] - counts["product_flops"] - counts["exponentials"]
    arithmetic = counts["product_flops"] / product + own / ceilings.get("fp32_flop_per_s", product)
    moving = counts["scan_bytes"] / ceilings["copy_bytes_per_s"]
    rate = ceilings.get("exponentials_per_s")
    return arithmetic + max(moving, counts["exponentials"] / rate if rate else 0.0)
