"""Imports go one way; read from the syntax trees, so that lazy imports count too."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from import_graph import closure, direct

from seqbench.core import provenance

ROOT = Path(__file__).parents[2]
SEQBENCH = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "seqbench").rglob("*.py"))
MODELS = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "models").rglob("*.py"))
PEERS = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "tools" / "peers").rglob("*.py"))
RULES = [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]
TORCH_FREE = [
    *(
        "seqbench/training/supervisor.py",
        "seqbench/core/records.py",
        "seqbench/hardware/nvml.py",
        "seqbench/hardware/sampler.py",
    ),
    *(
        "seqbench/analysis/resampling.py",
        "seqbench/training/search.py",
        "seqbench/training/accept.py",
        "tools/gpu/bundle.py",
    ),
    *(f for f in SEQBENCH if f.startswith(("seqbench/analysis/", "seqbench/report/"))),
]


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


@pytest.mark.parametrize(
    "name",
    ["experiment", "grid", "study", "provenance", "modelfile", "checksums", "sources", "errors"],
)
def test_what_a_dry_run_reads_needs_only_the_standard_library(name):
    assert reached(f"seqbench/{name}.py") <= {"seqbench"}


def test_checking_the_configuration_loads_no_heavy_package():
    assert reached("seqbench/config/load.py") <= {"seqbench", "yaml", "jsonschema"}


def test_the_workflow_imports_only_the_light_modules():
    lines = [line for rule in RULES for line in rule.read_text(encoding="utf-8").splitlines()]
    imports = [line for line in lines if re.match(r"\s*(from|import)\s+(seqbench|models)\b", line)]
    allowed = r"from seqbench(\.(checksums|config|errors|modelfile))? import "
    assert imports and all(re.match(allowed, line) for line in imports), imports
    assert [i for i in imports if i.startswith("from seqbench import ")] == [
        "from seqbench import experiment, grid, provenance, sources, study"
    ]


@pytest.mark.parametrize("file", MODELS)
def test_models_never_import_seqbench(file):
    assert "seqbench" not in outside(file)


@pytest.mark.parametrize("file", [f for f in SEQBENCH if f.startswith("seqbench/data/")])
def test_data_never_needs_torch(file):
    assert not reached(file) & {"torch", "models"}


@pytest.mark.parametrize("file", TORCH_FREE)
def test_supervising_and_reporting_never_need_torch_or_models(file):
    assert not reached(file) & {"torch", "models"}


@pytest.mark.parametrize(
    ("package", "never"),
    [
        ("data", {"analysis", "reporting", "gpucheck", "regression"}),
        ("analysis", {"reporting", "gpucheck"}),
        ("reporting", {"gpucheck"}),
    ],
)
def test_a_package_imports_none_of_those_that_build_on_it(package, never):
    files = [f for f in SEQBENCH if f.startswith(f"seqbench/{package}/")]
    reached_by_it = {Path(f).parts[1] for f in closure(ROOT, *files)}
    assert len(files) > 2 and not reached_by_it & never


def test_the_parent_of_measuring_processes_does_not_load_torch():
    code = "import sys, seqbench.measuring.session, seqbench.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_workers_protocol_needs_only_the_standard_library():
    assert reached("tools/peers/protocol.py") <= {"peers"}


@pytest.mark.parametrize("name", ["rectools", "replay", "recbole"])
def test_a_peers_worker_needs_nothing_of_ours(name):
    assert not reached(f"tools/peers/{name}_worker.py") & {"seqbench", "models"}


def test_the_orchestrator_of_the_peers_never_needs_torch_or_a_peer():
    libraries = {"torch", "models", "rectools", "replay", "recbole"}
    assert not reached("tools/peers/__main__.py") & libraries


def test_nothing_depends_on_the_benchmark_of_the_peers():
    assert PEERS
    assert [f for f in SEQBENCH + MODELS if "peers" in outside(f)] == []


def test_device_knows_no_model_and_no_dataset():
    own = {
        f
        for f in closure(ROOT, "seqbench/hardware/device.py")
        if f.startswith(("seqbench/", "models/"))
    }
    assert own <= {
        f"seqbench/{name}.py"
        for name in ("__init__", "hardware/device", "hardware/nvml", "core/errors")
    }


def test_what_is_measured_carries_no_package_that_it_does_not_need():
    """Each would be part of the resident memory of every measured process."""
    heavy = {"scipy", "pandas", "matplotlib", "jinja2", "pyarrow", "snakemake"}
    assert (
        not outside(
            *closure(ROOT, "seqbench/measuring/phases.py", without={"seqbench/data/pipeline.py"})
        )
        & heavy
    )


def test_nobody_imports_the_command_line():
    assert [f for f in SEQBENCH + MODELS if "seqbench/cli.py" in direct(ROOT, f)] == []


def test_no_step_reads_what_a_later_one_writes():
    """The import graph has no cycle; packages' own __init__.py aside, which any import of a part reaches."""
    graph = {
        file: {f for f in direct(ROOT, file) if f != file and not f.endswith("__init__.py")}
        for file in SEQBENCH
        if not file.endswith("__init__.py")
    }
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the cycle


def test_what_sets_a_workers_environment_counts_as_code_of_what_is_measured():
    """The allocator and the thread pools change times; what a record says of its machine does not."""
    measuring = provenance.measuring_modules("sasrec")
    training = provenance.training_modules("sasrec")
    assert (
        "seqbench/hardware/worker_env.py" in measuring
        and "seqbench/hardware/environment.py" not in measuring
    )
    assert not {"seqbench/hardware/worker_env.py", "seqbench/hardware/environment.py"}.intersection(
        training
    )
