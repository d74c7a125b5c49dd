"""Nothing about the environment costs a result: what cannot be told is null in the record, with the reason."""

import errno
import locale
import os
import platform
import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path

import psutil
import pynvml
import pytest

from seqbench.core import provenance, records
from seqbench.hardware import device, environment, leases, nvml
from seqbench.hardware.sampler import Sampler

UNDECODABLE = b"\xf8\x15\x01"
ASKED = Path(nvml.__file__).read_text(encoding="utf-8")
FUNCTIONS = [
    name for name in dir(pynvml) if name in ASKED and name[:5] in ("nvmlI", "nvmlS", "nvmlD")
]
READINGS = [
    "shared", "process_bytes", "device_bytes", "energy_j", "power_w", "power_limit_w", "sm_clock_mhz",
    "memory_clock_mhz", "temperature_c", "utilisation", "throttle_reasons",
]  # fmt: skip


class Driver(types.ModuleType):
    """A driver of one GPU; ``answers`` are functions of NVML that answer something else, or raise."""

    def __init__(self, **answers):
        super().__init__("pynvml")
        for name in dir(pynvml):
            if name.isupper() or name.startswith(("NVMLError", "nvmlClocksThrottle")):
                setattr(self, name, getattr(pynvml, name))
        use = types.SimpleNamespace(used=5, gpu=50)
        known = dict.fromkeys(FUNCTIONS, use) | {
            "nvmlDeviceGetCount": 1, "nvmlDeviceGetMigMode": [0, 0], "nvmlDeviceGetName": "GPU X",
            "nvmlSystemGetDriverVersion": "1.2", "nvmlDeviceGetUUID": "GPU-aa",
            "nvmlDeviceGetComputeRunningProcesses": [types.SimpleNamespace(pid=os.getpid(), usedGpuMemory=9)],
            **dict.fromkeys(["nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetEnforcedPowerLimit"], 9000),
            **dict.fromkeys(["nvmlDeviceGetClockInfo", "nvmlDeviceGetTemperature", "nvmlDeviceGetCurrentClocksThrottleReasons"], 1),
            **answers,
        }  # fmt: skip
        for name, answer in known.items():
            setattr(self, name, lambda *_, answer=answer: _given(answer))


def _given(answer):
    if isinstance(answer, BaseException):
        raise answer
    return answer


@pytest.fixture
def gpu(monkeypatch):
    """Install a driver, one GPU visible; gives the record's environment as it then is."""

    def install(module):
        monkeypatch.setitem(sys.modules, "pynvml", module)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        return environment.environment("cuda", 1)

    return install


def recorded(found):
    """The environment, after the schema of records has accepted it."""
    assert records._problem(found, "environment") is None
    for field, reason in found["unknown"].items():
        assert found[field] is None and reason and "\n" not in reason
    return found


def test_a_sound_driver_leaves_nothing_unknown(gpu):
    found = recorded(gpu(Driver()))
    assert (found["device"], found["driver"], found["unknown"]) == ("GPU X", "1.2", {})
    assert len(FUNCTIONS) > 15


def test_a_name_of_bytes_is_a_name(gpu):
    found = recorded(gpu(Driver(nvmlDeviceGetName=b"GPU X", nvmlSystemGetDriverVersion=b"1.2")))
    assert (found["device"], found["driver"], found["unknown"]) == ("GPU X", "1.2", {})


@pytest.mark.parametrize(
    "answer",
    [UNDECODABLE, UnicodeDecodeError("utf-8", UNDECODABLE, 0, 1, "invalid start byte"), RuntimeError("two\nlines"), SystemError()],
)  # fmt: skip
def test_a_name_that_cannot_be_decoded_is_null_with_the_reason(gpu, answer):
    found = recorded(gpu(Driver(nvmlDeviceGetName=answer)))
    assert found["device"] is None and found["driver"] == "1.2"
    assert found["machine_name"] == "unnamed-gpu" and "device" in found["unknown"]


@pytest.mark.parametrize(
    "error", [ValueError("odd"), OSError(errno.EIO, "gone"), TypeError(), KeyError("x"), MemoryError()], ids=repr
)  # fmt: skip
def test_any_call_of_nvml_that_raises_anything_is_a_reason(gpu, error):
    """Every function of the library at once and one by one, its import too; also within the sampler's thread."""
    recorded(gpu(Driver(**dict.fromkeys(FUNCTIONS, error))))
    for name in FUNCTIONS:
        recorded(gpu(Driver(**{name: error})))
        for reading in READINGS:
            answer = getattr(nvml.Nvml(), reading)()
            assert answer.value is not None or answer.reason
    with Sampler(nvml.Nvml(), 0.001) as sampler:
        pass
    assert sampler.readings.keys() == {*sampler.readings}


@pytest.mark.parametrize("answer", [None, "x", b"x", -1, [], {}], ids=repr)
def test_an_answer_of_another_kind_is_a_reason_or_a_value(gpu, answer):
    recorded(gpu(Driver(**dict.fromkeys(FUNCTIONS, answer))))
    for reading in READINGS:
        getattr(nvml.Nvml(), reading)()


def test_a_library_that_cannot_be_imported_is_a_reason(gpu, monkeypatch, tmp_path):
    (tmp_path / "pynvml.py").write_text("raise OSError('libnvidia-ml.so.1: cannot open')")
    monkeypatch.delitem(sys.modules, "pynvml")
    monkeypatch.syspath_prepend(tmp_path)
    assert "libnvidia-ml" in nvml.Nvml().power_w().reason
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert "libnvidia-ml" in recorded(environment.environment("cuda", 1))["unknown"]["device"]


def fail(*_, **__):
    raise RuntimeError("not today")


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (psutil, "virtual_memory"), (os, "cpu_count"), (os, "getloadavg"), (platform, "system"), (platform, "release"),
        (metadata, "version"), (Path, "read_text"), (platform, "machine"), (platform, "processor"), (platform, "node"),
        (subprocess, "run"), (subprocess, "Popen"), (locale, "getpreferredencoding"), (psutil, "Process"),
    ],
    ids=lambda value: str(getattr(value, "__name__", value)),
)  # fmt: skip
def test_no_lookup_of_the_environment_costs_a_record(monkeypatch, place, name):
    monkeypatch.setattr(place, name, fail)
    recorded(environment.environment("cpu", 1))
    assert leases.device_kind() in ("cpu", "cuda")
    assert provenance.provenance("code")["code"] == "code"
    leases.load_watched()()
    device.process_age_s()


def test_a_terminal_that_lacks_signs_costs_the_signs():
    """The minus sign and dashes of a leaderboard, say, where the locale has none of them."""
    code = "from seqbench import cli; cli._plan = None; cli._doctor = lambda _: print('a \\u2212 b'); raise SystemExit(cli.main(['doctor']))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )  # fmt: skip
    assert done.returncode == 0 and b"a \\u2212 b" in done.stdout, done.stderr


def test_the_doctor_ends_its_page_whatever_is_wrong():
    from seqbench.hardware import doctor

    def rows():
        yield doctor.Row("first", doctor.YES)
        raise RuntimeError("odd")

    first, last = doctor._whatever_happens(rows())
    assert first.have == doctor.YES and "RuntimeError: odd" in last.words


def test_what_the_system_does_not_say_is_null_with_the_reason(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", fail)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    found = recorded(environment.environment("cpu", 1))
    assert found["unknown"] == {
        "memory_bytes": "RuntimeError: not today", "n_cpus": "the system does not say",
    }  # fmt: skip
    assert (found["device"], found["device_kind"]) == ("cpu", "cpu")


@pytest.mark.parametrize("version", [("glibc", "2.31-odd"), ("glibc", ""), ("", ""), ("musl", "x")])
def test_a_c_library_of_any_version_has_settings(version):
    from seqbench.hardware.worker_env import allocator

    assert all(value.isdigit() for value in allocator(version).values())


@pytest.mark.parametrize(
    "script", ["exit 128", "echo fatal: detected dubious ownership >&2; exit 128", "printf '\\377\\376'", "kill -9 $$"]
)  # fmt: skip
def test_git_that_refuses_costs_no_record(monkeypatch, tmp_path, script):
    (tmp_path / "git").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    found = provenance.provenance("code")
    assert records._problem(found, "identity") is None and found["revision"] in (None, "")


def test_a_source_that_is_broken_while_a_job_runs_costs_no_record(tmp_path, capsys):
    source = tmp_path / "a.py"
    source.write_text("x = 1")
    then = provenance.begun(lambda: provenance.meaning(tmp_path, ["a.py"], ["numbers"]))
    source.write_text("x = (")
    assert then()["dirty"] is True
    source.unlink()
    assert then()["dirty"] is True and "edited" in capsys.readouterr().err
