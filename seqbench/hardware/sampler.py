"""Samples of the GPU while something else runs: a thread that asks NVML every 100 ms, and what that cost. Never torch."""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict
from types import TracebackType
from typing import Any

from .nvml import NO_DEVICE, Nvml, Reading

INTERVAL_S = (
    0.1  # NVML refreshes about as often; power and utilisation are averages over up to a second
)
LONGEST_ANSWER_S = 60.0
# How the samples of a reading become one number.
SUMMARY = {
    "nvml_process_bytes": max,
    "nvml_device_bytes": max,
    "power_w": statistics.fmean,
    "sm_clock_mhz": statistics.median,
    "memory_clock_mhz": statistics.median,
    "temperature_c": max,
    "utilisation": statistics.fmean,
}
STEADY = (
    "power_w",
    "sm_clock_mhz",
    "memory_clock_mhz",
    "utilisation",
)  # not of start-up and compiling
METHODS = {"nvml_process_bytes": "process_bytes", "nvml_device_bytes": "device_bytes"}


class Sampler:
    """Context manager; afterwards ``readings`` by metric name, and ``facts`` about the sampling.

    Peaks of memory in bytes, mean power (W) and utilisation (0 to 1), median clocks (MHz), highest temperature (°C);
    means and medians count from ``settle`` on.
    facts: samples, failed (questions without an answer), interval_s, seconds_per_sample (wall time in the thread),
    overhead_share (of the window, that its thread computed for), throttle_reasons seen (no such key: NVML never told),
    shared (any sample saw another process; None: could not be told). Without a device no thread is started.
    """

    def __init__(self, nvml: Nvml | None, interval_s: float = INTERVAL_S) -> None:
        self.nvml, self.interval_s = nvml, interval_s
        reason = NO_DEVICE if nvml is None else nvml.reason
        self.readings = {metric: Reading(None, reason) for metric in SUMMARY}
        self.facts: dict[str, Any] = {"samples": 0}
        self._values: dict[str, list[float]] = defaultdict(list)
        self._reasons: dict[str, str | None] = {}
        self._throttled: set[str] | None = None  # until NVML has told
        self._shared: list[bool | None] = []
        self._asking_s = self._computing_s = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nvml-sampler", daemon=True)

    def __enter__(self) -> Sampler:
        self._begun = time.perf_counter()
        if self.nvml is not None and not self.nvml.reason:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._thread.ident is None:
            return
        self._done.set()
        self._thread.join(LONGEST_ANSWER_S)
        if (
            self._thread.is_alive()
        ):  # a driver that hangs; the work has ended and is not lost for it
            self.nvml.reason = self.nvml.reason or "NVML does not answer"
        self._summarise(time.perf_counter() - self._begun)

    def settle(self) -> None:
        """Forget power, clocks and utilisation so far: what comes now is the work they are asked for."""
        for metric in STEADY:
            self._values.pop(metric, None)

    def _run(self) -> None:
        """Sample at once and then at every interval; the last sample is taken when the block has ended."""
        ended = False
        while not ended:
            self._sample()
            ended = self._done.wait(self.interval_s) or bool(self.nvml.reason)
        if not self.nvml.reason:
            self._sample()
        self._computing_s = time.thread_time()  # of this thread since it began

    def _sample(self) -> None:
        begun = time.perf_counter()
        for metric in SUMMARY:
            reading = getattr(self.nvml, METHODS.get(metric, metric))()
            if reading.value is None:
                self._reasons[metric] = reading.reason
                self.facts["failed"] = self.facts.get("failed", 0) + 1
            else:
                self._values[metric].append(reading.value)
        throttled = self.nvml.throttle_reasons().value
        if throttled is not None:
            self._throttled = (self._throttled or set()) | set(throttled)
        self._shared.append(self.nvml.shared().value)
        self.facts["samples"] += 1
        self._asking_s += time.perf_counter() - begun

    def _summarise(self, seconds: float) -> None:
        for metric, summary in SUMMARY.items():
            values = self._values.get(metric)
            if values:
                self.readings[metric] = Reading(summary(values))
            else:
                self.readings[metric] = Reading(None, self._reasons.get(metric, "no sample"))
        seen = [shared for shared in self._shared if shared is not None]
        self.facts |= {
            "failed": self.facts.get("failed", 0),
            "lost": self.nvml.reason,
            "interval_s": self.interval_s,
            "seconds_per_sample": self._asking_s / max(1, self.facts["samples"]),
            "overhead_share": self._computing_s / seconds,
            "shared": any(seen) if seen else None,
        }
        if self._throttled is not None:
            self.facts["throttle_reasons"] = sorted(self._throttled)
