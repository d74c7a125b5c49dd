"""One page on what this machine can measure and which kernels run here, and what to do about each gap.

Names no host, user or path.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

import models
from models._errors import ModelError
from models._scan import BACKENDS, HOW_TO_GET, resolve
from models._scan import selfcheck as compare

from . import device, environment, worker_env
from .arithmetic import has_tf32
from .leases import gpu_devices
from .nvml import (
    HIDDEN,
    NOT_INSTALLED,
    ORDER,
    SLICE,
    WDDM,
    Nvml,
    Reading,
    deprecated_distribution,
    said,
)
from .peak_throughput import ceilings
from .sampler import Sampler

BUSY = 0.3  # load per core above which other work disturbs a measurement
WIDTH = 24  # of the first column
YES, NO, NOTE = "yes", "no", ""
SEE_ABOVE = "no NVIDIA device, see above"
REMEDIES = {
    HIDDEN: "show process ids: outside the container, or docker run --pid=host",
    WDDM: "measure on Linux, or with the driver in TCC mode",
    SLICE: "measure on a whole GPU",
    NOT_INSTALLED: "it is pinned in envs/, `make setup` installs it",
    ORDER: "export CUDA_DEVICE_ORDER=PCI_BUS_ID",
}

HOW_TO_RUN_NUMBA = "pip install numba with the pins of envs/; where no folder can be written, NUMBA_CACHE_DIR=<one that can>"
OTHERWISE = "the driver does not offer it here; does nvidia-smi show it?"


@dataclass(frozen=True)
class Row:
    """One line: what, whether it is there (YES, NO, or NOTE where that is no question), words, and a remedy."""

    what: str
    have: str
    words: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        """As printed; the remedy has a line of its own."""
        line = f"  {self.what:<{WIDTH}} {self.have:<4}{self.words}".rstrip()
        return f"{line}\n  {'':<{WIDTH}}     -> {self.remedy}" if self.remedy else line


def doctor() -> int:
    """Print the page; 0."""
    where = device.pick()
    nvml = Nvml()
    sections = {
        "machine": list(_whatever_happens(machine())),
        "device": list(_whatever_happens(gpu(where, nvml))),
        "what can be measured": list(_whatever_happens(measurable(where, nvml))),
        "kernels": list(_whatever_happens(kernels(where))),
        "at best (measured now)": list(_whatever_happens(best(where))),
    }
    for title, rows in sections.items():
        print(title)
        for row in rows:
            print(row)
    every = [row for rows in sections.values() for row in rows]
    have = sum(row.have == YES for row in every)
    print(f"doctor: {have} here, {sum(row.have == NO for row in every)} gaps")
    return 0


def _whatever_happens(rows: Iterator[Row]) -> Iterator[Row]:
    """The rows of a section; what ends it early is a row, too: the page is for machines on which something is wrong."""
    try:
        yield from rows
    except Exception as error:
        yield Row("the rest of this part", NO, said(error), "open an issue with this page")


def machine() -> Iterator[Row]:
    """Processor, memory, software, and what disturbs measurements."""
    facts = environment.environment("cpu", torch.get_num_threads())
    memory = f"{(facts['memory_bytes'] or 0) / 2**30:.0f} GiB"
    capability = torch.backends.cpu.get_cpu_capability()
    yield Row("processor", NOTE, f"{facts['cpu']}, {facts['n_cpus']} cores, {memory}, {capability}")
    yield Row(
        "software", NOTE, f"{facts['os']}, Python {facts['python']}, PyTorch {torch.__version__}"
    )
    quota = cpu_quota()
    if quota is not None and quota < (os.cpu_count() or 1):
        words = f"{quota:g} of {os.cpu_count()} cores by the container's limit"
        yield Row(
            "cores to compute on", NOTE, words, "threads beyond that only wait: profiles/README.md"
        )
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > BUSY * cores:
        words = f"load {load:.1f} on {cores} cores: other work is running"
        yield Row(
            "quiet", NO, words, "measure when it has ended; records hold the spread, not the cause"
        )
    else:
        yield Row("quiet", YES, f"load {load:.1f} on {cores} cores")
    governor = cpu_governor()
    if governor not in (None, "performance"):
        yield Row(
            "clock of the cores",
            NO,
            f"governor {governor}",
            "cpupower frequency-set -g performance",
        )
    else:
        yield Row(
            "clock of the cores", NOTE, f"governor {governor or 'not shown (as in most VMs)'}"
        )
    free = psutil.virtual_memory().available / 2**30
    yield Row("memory free now", NOTE, f"{free:.0f} GiB")
    own = [name for name in worker_env.ALLOCATOR if name in os.environ]
    words = (
        "yours: " + ", ".join(own)
        if own
        else "raised for workers (glibc; a third of a step on a CPU)"
    )
    yield Row("allocator thresholds", NOTE, words)


def cpu_quota() -> float | None:
    """Cores that a container may use at once (cgroup v2), None without a limit."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) / int(period)


def cpu_governor() -> str | None:
    """How the kernel sets the first core's frequency, None where it does not show it."""
    try:
        file = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return None


def gpu(where: torch.device, nvml: Nvml) -> Iterator[Row]:
    """The GPU that is used, or the first thing that is missing for one."""
    shadow = deprecated_distribution()
    if shadow:
        what, _, remedy = shadow.partition(": ")
        yield Row("nvidia-ml-py", NO, what, remedy)
    if where.type == "cuda":
        facts = nvml.facts()
        name = facts.get("name") or torch.cuda.get_device_name(where)
        total = torch.cuda.get_device_properties(where).total_memory / 2**30
        words = f"{name}, {total:.0f} GiB, driver {facts.get('driver') or 'unknown'}"
        yield Row("NVIDIA GPU", YES, words + (", a MIG slice" if nvml.mig else ""))
        yield _alone(nvml.shared())
    else:
        yield Row("NVIDIA GPU", NO, *_why_no_gpu(nvml))


def _alone(shared: Reading) -> Row:
    if shared.value is None:
        return Row(
            "alone on the GPU", NO, f"cannot be told: {shared.reason}", "make sure of it yourself"
        )
    if shared.value:
        return Row(
            "alone on the GPU", NO, "another process computes on it", "end it: nvidia-smi lists it"
        )
    return Row("alone on the GPU", YES)


def _why_no_gpu(nvml: Nvml) -> tuple[str, str]:
    elsewhere = "a machine that has one, with or without network: docs/gpu.md"
    if torch.version.cuda is None and gpu_devices():
        return (
            "there is one, but this PyTorch is a build for CPUs",
            "`make setup TORCH_INDEX=<PyTorch's index of CUDA builds>`",
        )
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides it", "unset CUDA_VISIBLE_DEVICES"
    if gpu_devices() and not nvml.reason:
        return (
            f"NVML sees it and PyTorch (built for CUDA {torch.version.cuda}) cannot use it",
            "the driver may be too old: update it, or install a build for an older CUDA",
        )
    if gpu_devices():
        return (
            f"the driver does not answer: {nvml.reason}",
            "does nvidia-smi work? reload or update the driver",
        )
    return "this machine has none", elsewhere


def measurable(where: torch.device, nvml: Nvml) -> Iterator[Row]:
    """Every metric of cost, from where it comes, or why not."""
    yield Row("wall time, data wait", YES, "synchronised, per step")
    yield Row("FLOPs, bytes, calls", YES, "counted, the same every time")
    yield Row("peak resident memory", YES, "of a fresh process")
    on_gpu = where.type == "cuda"
    missing = (NO, SEE_ABOVE) if not on_gpu else (YES,)
    yield Row("time on the device", *missing)
    yield Row("GPU memory, PyTorch's", *missing)
    if on_gpu:
        torch.zeros(1, device=where)  # a context, which puts this process on NVML's list
    for what, reading in {
        "GPU memory, process": nvml.process_bytes(),
        "GPU memory, device": nvml.device_bytes(),
        "energy counter": nvml.energy_j(),
        "power": nvml.power_w(),
        "clocks": nvml.sm_clock_mhz(),
        "throttling": nvml.throttle_reasons(),
        "temperature": nvml.temperature_c(),
        "utilisation": nvml.utilisation(),
    }.items():
        yield (
            _reading(what, reading) if on_gpu else Row(what, *missing)
        )  # measure asks on GPUs only
    if on_gpu:
        yield _sampler(where, nvml)


def _reading(what: str, reading: Reading) -> Row:
    reason = reading.reason or ""
    if reading.value is not None:
        return Row(what, YES)
    return Row(what, NO, reason, REMEDIES.get(reason, OTHERWISE))


def _sampler(where: torch.device, nvml: Nvml) -> Row:
    """What watching costs, over products that keep the GPU busy."""
    with Sampler(nvml) as sampler:
        ceilings(where, "fp32")
    facts = sampler.facts
    if not facts["samples"]:
        return Row("sampling thread", NO, str(nvml.reason))
    each, share = 1e3 * facts["seconds_per_sample"], 100 * facts["overhead_share"]
    return Row(
        "sampling thread", NOTE, f"{each:.1f} ms a sample, computes {share:.2f} % of the time"
    )


def kernels(where: torch.device) -> Iterator[Row]:
    """What runs between matrix products and in the selective scan, and what else could."""
    between = models.resolve_kernels(where)
    remedy = HOW_TO_RUN_NUMBA if between.fallback else ""
    words = f"{between.used}" + (f": {between.reason}" if between.reason else "")
    yield Row("between products", NO if between.fallback else YES, words, remedy)
    choice = resolve("auto", where)
    slow = choice.used == "reference"
    words = f"{choice.used}" + (" (slow)" if slow else "")
    yield Row("selective scan, in use", NO if slow else YES, words)
    for name, home in BACKENDS.items():
        if name in (choice.used, "reference"):
            continue
        if home != where.type:
            yield Row(f"scan {name}", NOTE, f"runs on {home} only")
            continue
        try:
            resolve(name, where)
            yield Row(f"scan {name}", YES)
        except ModelError as error:
            reason = str(error).partition("cannot run: ")[2].partition("; it needs")[0]
            yield Row(f"scan {name}", NO, reason, HOW_TO_GET[name])
    for precision in ("tf32", "bf16", "mixed"):
        has = precision != "tf32" or has_tf32(where)
        words = "" if has else "NVIDIA GPUs of capability 8.0 or newer only"
        remedy = "" if has else "measure in fp32, bf16 or mixed"
        yield Row(f"precision {precision}", YES if has else NO, words, remedy)


def best(where: torch.device) -> Iterator[Row]:
    """The ceilings that a roofline needs, by a short measurement."""
    found = ceilings(where, "fp32")
    spread = {key: found[f"{key}_iqr"] for key in ("product", "copy")}
    product, copy = found["product_flop_per_s"] / 1e9, found["copy_bytes_per_s"] / 1e9
    threads = f", {torch.get_num_threads()} threads" if where.type == "cpu" else ""
    yield Row(
        "matrix product, fp32",
        NOTE,
        f"{product:,.0f} GFLOP/s (IQR {spread['product'] / 1e9:,.1f}){threads}",
    )
    yield Row(
        "copy", NOTE, f"{copy:,.1f} GB/s (IQR {spread['copy'] / 1e9:,.1f}), bytes read plus written"
    )


def selfcheck() -> int:
    """Print one line per backend and check; 1 if a kernel made for this device fails or cannot run, else 0."""
    where = device.pick()
    rows = compare(where)
    for row in rows:
        print(_line(row))
    verdict = "ok" if all(row["ok"] for row in rows) else "FAILED"
    print(f"selfcheck on {where.type}: {verdict}")
    return int(verdict != "ok")


def _line(row: dict) -> str:
    if row["reason"]:
        return f"{row['backend']:10} cannot run: {row['reason']}"
    error, tolerance = row["relative_error"], row["tolerance"]
    verdict = "ok" if row["ok"] else "WRONG"
    return f"{row['backend']:10} {row['check']:34} {error:.1e} (at most {tolerance:.0e}) {verdict}"
