"""The one registry of quantities: how each is named, its unit, which way is better, and which tables show it.

What is entered here is shown. A quality metric is an entry of `QUALITY_METRICS`. A measured quantity is an entry of `QUANTITIES`
under the name of its samples (``<phase>/<name>``). No training or measurement imports this module: an entry reruns nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .yaml_files import read as read_yaml

PRIMARY_METRIC = "ndcg@10"  # decides who ranks better wherever one metric must
QUALITY_METRICS = ("hr@10", "ndcg@10", "mrr@10")  # of every table, from ranks: `metrics.per_user`
COLUMNS_FILE = Path(__file__).resolve().parents[2] / "workflow/schemas/tables.yaml"
# The tables that `collect` makes and the columns of each.
TABLES: dict[str, list[str]] = read_yaml(COLUMNS_FILE)
PHASES = {"train": "Training", "inference": "Inference"}
HIGHER, LOWER = "higher", "lower"


@dataclass(frozen=True)
class Quantity:
    """How a quantity is shown.

    label: in tables. unit: empty if none. better: `higher`, `lower`, or None where neither is.
    group: quality, time, rate, memory, arithmetic, energy, device or count. phases: in which it is measured.
    short: inside a sentence; ``{phase}`` stands for training or inference. kinds: of devices whose tables of cost show it.
    compared: its ratios between models are told. fitted: its growth along the curves is fitted.
    """

    label: str
    unit: str = ""
    better: str | None = None
    group: str = "count"
    phases: tuple[str, ...] = ()
    short: str = ""
    kinds: tuple[str, ...] = ("cpu", "cuda")
    compared: bool = False
    fitted: bool = False


_TRAIN, _INFERENCE, _BOTH = ("train",), ("inference",), ("train", "inference")
_CPU, _GPU, _NOWHERE = ("cpu",), ("cuda",), ()

# Columns of a table stand in this order.
QUANTITIES: dict[str, Quantity] = {
    **{name: Quantity(name.upper(), "", HIGHER, "quality") for name in QUALITY_METRICS},
    "parameters": Quantity("Parameters", "", LOWER),
    "step_s": Quantity(
        "Training step", "s", LOWER, "time", _TRAIN, "training step", compared=True, fitted=True
    ),
    "gpu_step_s": Quantity("Training step on the device", "s", LOWER, "time", _TRAIN),
    "data_wait_s": Quantity("Wait for data per step", "s", LOWER, "time", _TRAIN),
    "epoch_s": Quantity("Training epoch", "s", LOWER, "time", _TRAIN, "training epoch"),
    "batch_s": Quantity(
        "Inference batch", "s", LOWER, "time", _INFERENCE, "inference batch", compared=True, fitted=True
    ),
    "encode_s": Quantity("Inference: encode", "s", LOWER, "time", _INFERENCE),
    "score_s": Quantity("Inference: score all items", "s", LOWER, "time", _INFERENCE),
    "topk_s": Quantity("Inference: top 10", "s", LOWER, "time", _INFERENCE),
    "first_step_s": Quantity("First training step (kernels compiled)", "s", LOWER, "time", _TRAIN, kinds=_NOWHERE),
    "tokens_per_s": Quantity("Real tokens per second", "1/s", HIGHER, "rate", _TRAIN),
    "targets_per_s": Quantity("Real targets per second", "1/s", HIGHER, "rate", _TRAIN, kinds=_NOWHERE),
    "users_per_s": Quantity("Users per second", "1/s", HIGHER, "rate", _INFERENCE),
    # Not measured under this name: it stands for the peak that a kind of device has a number for (`peak_memory`).
    "memory": Quantity(
        "Peak memory", "bytes", LOWER, "memory", _BOTH, "peak memory of {phase}", _NOWHERE, compared=True
    ),
    "peak_rss_bytes": Quantity(
        "Peak resident memory (host)", "bytes", LOWER, "memory", _BOTH, "resident memory of {phase}", _CPU, fitted=True
    ),
    "peak_allocated_bytes": Quantity(
        "Peak allocated (GPU)", "bytes", LOWER, "memory", _BOTH, "allocated memory of {phase}", _GPU, fitted=True
    ),
    "peak_reserved_bytes": Quantity(
        "Peak reserved (GPU)", "bytes", LOWER, "memory", _BOTH, "reserved memory of {phase}", _GPU
    ),
    "nvml_process_bytes": Quantity("Process memory (NVML)", "bytes", LOWER, "memory", _BOTH, kinds=_GPU),
    "nvml_device_bytes": Quantity("Device memory (NVML)", "bytes", LOWER, "memory", _BOTH, kinds=_GPU),
    "context_bytes": Quantity("Device context (NVML)", "bytes", LOWER, "memory", _BOTH, kinds=_GPU),
    "flops": Quantity("FLOPs per step or batch", "FLOP", LOWER, "arithmetic", _BOTH),
    "intensity": Quantity("Arithmetic intensity", "FLOP/byte", None, "arithmetic", _BOTH),
    "flop_per_s": Quantity("Arithmetic achieved", "FLOP/s", HIGHER, "arithmetic", _BOTH),
    "share_of_product": Quantity("Share of the matrix-product ceiling", "", HIGHER, "arithmetic", _BOTH),
    "share_of_roofline": Quantity("Share of the roofline", "", HIGHER, "arithmetic", _BOTH),
    "share_of_copy": Quantity("Share of the copy ceiling", "", HIGHER, "arithmetic", _BOTH),
    "operators": Quantity("Operators and kernels called", "", LOWER, "arithmetic", _BOTH),
    "saved_bytes": Quantity(
        "Activations saved for backward", "bytes", LOWER, "arithmetic", _TRAIN, "activations saved", fitted=True
    ),
    "moved_bytes": Quantity(
        "Bytes read and written by operators", "bytes", LOWER, "arithmetic", _BOTH, kinds=_NOWHERE
    ),
    "energy_j_per_step": Quantity(
        "Energy per training step", "J", LOWER, "energy", _TRAIN, "energy of a training step", compared=True
    ),
    "energy_j_per_epoch": Quantity("Energy per epoch", "J", LOWER, "energy", _TRAIN),
    "energy_j_per_batch": Quantity("Energy per inference batch", "J", LOWER, "energy", _INFERENCE),
    "power_w": Quantity("Mean power", "W", LOWER, "energy", _BOTH),
    "utilisation": Quantity("GPU utilisation", "", None, "energy", _BOTH),
    "sm_clock_mhz": Quantity("SM clock", "MHz", None, "energy", _BOTH),
    "memory_clock_mhz": Quantity("Memory clock", "MHz", None, "energy", _BOTH, kinds=_NOWHERE),
    "temperature_c": Quantity("Highest temperature", "°C", None, "energy", _BOTH),
    "product_flop_per_s": Quantity("Matrix-product ceiling", "FLOP/s", HIGHER, "device"),
    "fp32_flop_per_s": Quantity("Matrix-product ceiling in fp32", "FLOP/s", HIGHER, "device"),
    "copy_bytes_per_s": Quantity("Copy ceiling", "bytes/s", HIGHER, "device"),
    "exponentials_per_s": Quantity("Exponential ceiling", "1/s", HIGHER, "device"),
}  # fmt: skip


def shown_quantities(phase: str, kind: str, *groups: str) -> list[str]:
    """Quantities of a phase that tables of cost show of a kind of device (`cpu`, `cuda`), by groups in the order given."""
    return [
        name
        for group in groups
        for name, q in QUANTITIES.items()
        if q.group == group and phase in q.phases and kind in q.kinds
    ]


def compared() -> tuple[tuple[str, str], ...]:
    """Phase and name of the costs whose ratios between models are told, training first."""
    return tuple((p, name) for p in PHASES for name, q in QUANTITIES.items() if q.compared and p in q.phases)  # fmt: skip


def fitted(*kinds: str) -> tuple[tuple[str, str], ...]:
    """Phase and name of the costs whose growth is fitted on these kinds of device."""
    return tuple(
        (phase, name)
        for name, q in QUANTITIES.items()
        if q.fitted and set(kinds) & set(q.kinds)
        for phase in q.phases
    )


def peak_memory(kind: str) -> str:
    """The memory that ``memory`` stands for on a kind of device."""
    return shown_quantities("train", kind, "memory")[0]


def phrase(phase: str, name: str) -> str:
    """A cost inside a sentence: its short label, or its label where it has none."""
    return (QUANTITIES[name].short or QUANTITIES[name].label).format(phase=PHASES[phase].lower())


def heading(phase: str, name: str) -> str:
    """The same at the head of a column."""
    text = phrase(phase, name)
    return text[:1].upper() + text[1:]
