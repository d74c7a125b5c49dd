"""Imports go one way, by layer; read from the syntax trees, so that lazy imports count too."""

import ast
import graphlib
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from import_graph import closure, direct

from seqbench.core import provenance

ROOT = Path(__file__).parents[2]
# From the bottom to the top: each may import itself and what stands before it.
LAYERS = (
    *(
        "core",
        "config",
        "data",
        "hardware",
        "training",
        "measuring",
        "analysis",
        "report",
        "terminal",
        "cli",
    ),
)


def files(folder):
    return sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / folder).rglob("*.py"))


SEQBENCH, MODELS, TOOLS = files("seqbench"), files("models"), files("tools")
RULES = [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]
HEAVY = {"torch", "models"}


def layer(file):
    """Layer of a file below seqbench/; None for __init__.py and __main__.py of the package itself."""
    name = Path(file).parts[1].removesuffix(".py")
    return LAYERS.index(name) if name in LAYERS else None


def outside(*files):
    """Top-level names of packages outside the standard library that files import, lazily or not."""
    names = set()
    for file in files:
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names)


def reached(file):
    """Packages that importing a file can reach through the checkout's own files."""
    return outside(*closure(ROOT, file))


def loaded(*modules):
    """Top-level names of everything that is loaded in a fresh process after importing modules."""
    code = (
        f"import sys, {', '.join(modules)}; print(*{{name.split('.')[0] for name in sys.modules}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_reader_of_imports_sees_what_it_must(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name, text in {
        "a/__init__.py": "",
        "a/x.py": "from . import y\nfrom .b.z import thing\n",
        "a/y.py": "def f():\n    import a.b\n    import torch\n",
        "a/b/__init__.py": "from ..w import *\n",
        "a/b/z.py": "thing = 1\n",
        "a/w.py": "from a import x\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert direct(tmp_path, "a/x.py") == ("a/__init__.py", "a/b/__init__.py", "a/b/z.py", "a/y.py")
    assert closure(tmp_path, "a/b/__init__.py", without={"a/y.py"}) == [
        "a/__init__.py",
        "a/b/__init__.py",
        "a/b/z.py",
        "a/w.py",
        "a/x.py",
    ]


# --- layers -------------------------------------------------------------------------------------------------------


def test_every_module_stands_in_a_layer():
    assert [f for f in SEQBENCH if layer(f) is None] == [
        "seqbench/__init__.py",
        "seqbench/__main__.py",
    ]


@pytest.mark.parametrize("file", [f for f in SEQBENCH if layer(f) is not None])
def test_imports_go_down_only(file):
    imported = [f for f in direct(ROOT, file) if f.startswith("seqbench/")]
    upwards = [f for f in imported if (layer(f) or 0) > layer(file)]
    assert upwards == [], f"{file} imports from a layer above its own"


@pytest.mark.parametrize("file", MODELS)
def test_models_import_neither_seqbench_nor_tools(file):
    assert not outside(file) & {"seqbench", "tools"}


def test_nothing_imports_the_tools():
    assert TOOLS
    assert [f for f in SEQBENCH + MODELS if "tools" in outside(f)] == []


def test_the_workflow_imports_core_and_config_only():
    lines = [line for rule in RULES for line in rule.read_text(encoding="utf-8").splitlines()]
    pattern = r"\s*(?:from|import)\s+((?:seqbench|models|tools)[\w.]*)"
    imports = [match[1] for line in lines if (match := re.match(pattern, line))]
    assert imports and all(re.match(r"seqbench\.(core|config)(\.|$)", name) for name in imports)


def test_no_step_reads_what_a_later_one_writes():
    """The import graph has no cycle; packages' own __init__.py aside, which any import of a part reaches."""
    graph = {
        file: {f for f in direct(ROOT, file) if f != file and not f.endswith("__init__.py")}
        for file in SEQBENCH
        if not file.endswith("__init__.py")
    }
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the cycle


# --- what is light ------------------------------------------------------------------------------------------------


def test_a_dry_run_loads_neither_torch_nor_pandas_nor_numpy():
    modules = [f[:-3].replace("/", ".") for f in SEQBENCH if f.startswith("seqbench/config/")]
    names = [name.removesuffix(".__init__") for name in modules]
    found = loaded(*names, "seqbench.core.jobs", "seqbench.core.provenance")
    assert {"seqbench", "yaml", "jsonschema"} <= found
    assert not found & {"torch", "models", "pandas", "numpy"}


@pytest.mark.parametrize(
    "file", [f for f in SEQBENCH if f.startswith(("seqbench/core/", "seqbench/data/"))]
)
def test_core_and_data_never_need_torch(file):
    assert not reached(file) & HEAVY


@pytest.mark.parametrize(
    "file",
    [
        *(f"seqbench/hardware/{name}.py" for name in ("leases", "nvml", "sampler", "environment")),
        *(f"seqbench/training/{name}.py" for name in ("supervisor", "search", "accept", "archive")),
        *(
            f
            for f in SEQBENCH
            if f.startswith(("seqbench/analysis/", "seqbench/report/", "seqbench/terminal/"))
        ),
    ],
)
def test_supervising_and_reporting_never_need_torch_or_models(file):
    assert not reached(file) & HEAVY


def test_the_parent_of_measuring_processes_does_not_load_torch():
    assert "torch" not in loaded("seqbench.measuring.session", "seqbench.cli")


def test_device_knows_no_model_and_no_dataset():
    own = [f for f in closure(ROOT, "seqbench/hardware/device.py") if f.startswith("models/")]
    assert own == [] and "data" not in {
        Path(f).parts[1] for f in closure(ROOT, "seqbench/hardware/device.py")
    }


def test_what_is_measured_carries_no_package_that_it_does_not_need():
    """Each would be part of the resident memory of every measured process."""
    heavy = {"scipy", "pandas", "matplotlib", "jinja2", "pyarrow", "snakemake"}
    without = {"seqbench/data/pipeline.py"}
    assert not outside(*closure(ROOT, "seqbench/measuring/phases.py", without=without)) & heavy


def test_what_trains_and_measures_needs_nothing_that_a_wheelhouse_leaves_out():
    """But kernels of CPUs, and a reader of real data: those are prepared where there is network."""
    left_out = set(runpy.run_path(str(ROOT / "envs" / "wheelhouse.py"))["LEFT_OUT"])
    parts = (
        "training/worker",
        "training/supervisor",
        "training/search",
        "training/archive",
        "measuring/session",
    )
    for part in parts:
        assert reached(f"seqbench/{part}.py") & left_out <= {"numba", "pyarrow"}


# --- tools --------------------------------------------------------------------------------------------------------


def test_a_workers_protocol_needs_only_the_standard_library():
    assert reached("tools/peers/protocol.py") <= {"tools"}


@pytest.mark.parametrize("name", ["rectools", "replay", "recbole"])
def test_a_peers_worker_needs_nothing_of_ours(name):
    assert not reached(f"tools/peers/{name}_worker.py") & {"seqbench", "models"}


def test_the_orchestrator_of_the_peers_loads_neither_torch_nor_a_peer():
    found = loaded("tools.peers.__main__")
    assert "tools" in found and not found & {*HEAVY, "rectools", "replay", "recbole"}


def test_what_sets_a_workers_environment_counts_as_code_of_what_is_measured():
    """The allocator and the thread pools change times; what a record says of its machine does not."""
    measuring = provenance.measuring_modules("sasrec")
    training = provenance.training_modules("sasrec")
    worker, machine = "seqbench/hardware/worker_env.py", "seqbench/hardware/environment.py"
    assert worker in measuring and machine not in measuring
    assert not {worker, machine}.intersection(training)
