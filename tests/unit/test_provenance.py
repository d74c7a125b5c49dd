"""Identity of code: what counts, what does not, and that every supported Python agrees."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seqbench.config import sources
from seqbench.core import checksums, provenance
from seqbench.core.errors import UserError

ROOT = Path(__file__).parents[2]
MODELS = ("sasrec", "mamba4rec", "bert4rec", "gru4rec", "popularity", "markov", "itemknn")

FIXTURE = {
    "models/__init__.py": '"""Models."""\nfrom models._loss import cross_entropy as loss\n',
    "models/_loss.py": "import torch\n\n\ndef cross_entropy(x):\n    return torch.log(x).sum()\n",
    "models/a.py": (
        "from dataclasses import dataclass\n"
        "import numpy as np\nimport models\nfrom models import _loss\n\n"
        'label = "A"\n\n\n'
        "@dataclass(frozen=True)\nclass Config:\n    d_model: int = 64  # width\n\n\n"
        "class Model:\n    def __init__(self, config: Config):\n        self.width = config.d_model\n\n"
        "    def step(self, x, *, scale=2.5):\n"
        '        """One step."""\n'
        "        if x is None:\n            raise ValueError(f'no {x}')\n"
        "        y = [v ** 2 for v in x if v > -1e-3]\n"
        '        print(f"{scale!r:>{self.width}} of {len(y)}", "a" "b")\n'
        "        return {**dict(y=_loss.cross_entropy(np.asarray(y)))}, models.loss(x), 10**20, b'x'\n"
    ),
}
# Equal on every supported Python; a change of the algorithm changes it and makes every record one of older code.
CONSTANT = "555c8e302477b6e3"


@pytest.fixture
def tree(tmp_path):
    for name, text in FIXTURE.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def identity(root, entry="models/a.py"):
    provenance.forget()
    return provenance.meaning(root, [entry], provenance.TRAININGS)


def edit(root, file, old, new):
    path = root / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_identity_of_a_fixture_is_a_constant(tree):
    assert identity(tree) == CONSTANT


@pytest.mark.parametrize("python", ["python3.12", "python3.13", "python3.14"])
def test_other_pythons_agree(tree, python):
    found = shutil.which(python)
    works = found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0
    if not works:
        pytest.skip(f"{python} is not installed")
    code = (
        "import sys, runpy; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from seqbench.core import provenance as p;"
        "print(p.meaning(Path(sys.argv[2]), ['models/a.py'], p.TRAININGS))"
    )
    done = subprocess.run([found, "-c", code, str(ROOT), str(tree)], capture_output=True, text=True)
    assert done.stdout.strip() == CONSTANT, done.stderr


NOTHING = {
    "a docstring": ("models/a.py", '"""One step."""', '"""Another text."""'),
    "no docstring": ("models/a.py", '        """One step."""\n', ""),
    "a comment": ("models/a.py", "# width", "# the width"),
    "formatting": ("models/a.py", "y = [v ** 2 for v in x if v > -1e-3]", "y = [\n v**2 for v in (x) if v > -0.001\n]"),
    "an error text": ("models/a.py", "f'no {x}'", "'nothing'"),
    "a label": ("models/a.py", 'label = "A"', 'label = "B"'),
    "order of imports": ("models/a.py", "import numpy as np\nimport models\n", "import models\nimport numpy as np\n"),
    "joined texts": ("models/a.py", '"a" "b"', '"ab"'),
    "style of import": ("models/a.py", "_loss.cross_entropy(", "models.loss("),
    "docstring of a module": ("models/_loss.py", "import torch", '"""New."""\nimport torch'),
}  # fmt: skip


@pytest.mark.parametrize("change", NOTHING)
def test_what_does_not_count(tree, change):
    edit(tree, *NOTHING[change])
    assert identity(tree) == CONSTANT


SOMETHING = {
    "a number": ("models/a.py", "2.5", "2.25"),
    "an operator": ("models/a.py", "v ** 2", "v * 2"),
    "a default": ("models/a.py", "= 64", "= 65"),
    "a text that is printed": ("models/a.py", "of {", "in {"),
    "a module that is used": ("models/_loss.py", ".sum()", ".mean()"),
    "a type of a number": ("models/a.py", "10**20", "10.0**20"),
}


@pytest.mark.parametrize("change", SOMETHING)
def test_what_counts(tree, change):
    edit(tree, *SOMETHING[change])
    assert identity(tree) != CONSTANT


EFFECT = "import torch\ntorch.set_flush_denormal(True)\n"
# What the code of the fixture's model is, files beside it, and the change that must be noticed.
HIDDEN = {
    "a branch of an import": (
        "import torch\nif torch.cuda.is_available():\n    from models._one import g\nelse:\n    from models._two import g\n\nx = g(1)\n",
        {"models/_one.py": "def g(x):\n    return x * 1.5\n", "models/_two.py": "def g(x):\n    return x\n"},
        ("models/_one.py", "1.5", "1.25"),
    ),
    "a star import of a package": (
        "import models\n\nx = models.g(1)\n",
        {"models/__init__.py": "from models._one import *\n", "models/_one.py": "def g(x):\n    return x * 1.5\n"},
        ("models/_one.py", "1.5", "1.25"),
    ),
    "a package that hides a module": (
        "from models._one import g\n\nx = g(1)\n",
        {"models/_one.py": "def g(x):\n    return x\n", "models/_one/__init__.py": "def g(x):\n    return x * 1.5\n"},
        ("models/_one/__init__.py", "1.5", "1.25"),
    ),
    "what a package does when it is imported": (
        "x = 1\n", {"models/__init__.py": EFFECT}, ("models/__init__.py", "True", "False"),
    ),
    "what a package imports for its effect": (
        "x = 1\n",
        {"models/__init__.py": "from models import _one\n", "models/_one.py": EFFECT},
        ("models/_one.py", "True", "False"),
    ),
    "a label that the code computes with": (
        "order = 2\n\n\nclass Config:\n    pass\n\n\nclass Model:\n    x = order\n", {}, ("models/b.py", "order = 2", "order = 3"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HIDDEN)
def test_what_counts_although_no_name_leads_to_it(tree, case):
    code, files, change = HIDDEN[case]
    for file, text in {**files, "models/b.py": code}.items():
        (tree / file).parent.mkdir(exist_ok=True)
        (tree / file).write_text(text)
    first = identity(tree, "models/b.py")
    edit(tree, *change)
    assert identity(tree, "models/b.py") != first


def test_a_label_counts_for_what_is_rendered(tree):
    def rendered():
        provenance.forget()
        return provenance.meaning(tree, ["models/a.py"], provenance.EVERYTHING)

    first = rendered()
    edit(tree, "models/a.py", 'label = "A"', 'label = "B"')
    assert rendered() != first


def test_a_renamed_and_moved_module_does_not_count(tree):
    (tree / "models" / "loss").mkdir()
    (tree / "models" / "loss" / "__init__.py").write_text('"""A package."""\n')
    (tree / "models" / "_loss.py").rename(tree / "models" / "loss" / "entropy.py")
    edit(tree, "models/__init__.py", "models._loss import", "models.loss.entropy import")
    edit(tree, "models/a.py", "from models import _loss\n", "from .loss import entropy\n")
    edit(tree, "models/a.py", "_loss.cross_entropy(", "entropy.cross_entropy(")
    assert identity(tree) == CONSTANT


def test_the_same_name_from_another_module_counts(tree):
    other = FIXTURE["models/_loss.py"].replace(".sum()", ".mean()")
    (tree / "models" / "_other.py").write_text(other)
    edit(tree, "models/a.py", "import models\n", "import models\nfrom models import _other\n")
    edit(tree, "models/a.py", "[v ** 2", "[_other.cross_entropy(v) ** 2")
    both = identity(tree)
    edit(tree, "models/a.py", "_loss.cross_entropy(np", "_other.cross_entropy(np")
    assert identity(tree) != both


def test_a_module_that_decides_nothing_does_not_count(tree):
    edit(tree, "models/_loss.py", "import torch\n", 'import torch\n\nDECIDES = "nothing"\n')
    first = identity(tree)
    edit(tree, "models/_loss.py", ".sum()", ".mean()")
    assert identity(tree) == first != CONSTANT


def test_a_local_name_hides_a_module(tree):
    """What is assigned in a function is no module there: its attributes lead nowhere."""
    (tree / "models" / "b.py").write_text(
        "from models import _loss\n\n\ndef f(x):\n    _loss = x\n    return _loss.cross_entropy\n\n\ng = _loss\n"
    )
    first = identity(tree, "models/b.py")
    text = (
        (tree / "models" / "b.py")
        .read_text()
        .replace("    _loss = x\n    return _loss", "    y = x\n    return y")
    )
    (tree / "models" / "b.py").write_text(text)
    assert identity(tree, "models/b.py") != first


@pytest.fixture
def checkout(tmp_path):
    for package in ("models", "seqbench"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path


def trained(root, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", root)
    provenance.forget()
    return {model: provenance.training(model) for model in MODELS}


LOSS, SCAN = "models/_catalogue.py", "models/_scan/reference.py"
TRAINED = set(MODELS[:4])


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("models/sasrec.py", "d_inner: int = 256", "d_inner: int = 257", {"sasrec"}),
        (LOSS, "1 << 18", "1 << 17", TRAINED),
        (SCAN, "import torch\n", "import torch\n\nSIZE = 7\n", {"mamba4rec"}),
        ("models/sasrec.py", "# attention blocks", "# blocks", set()),
    ],
)
def test_a_change_reaches_exactly_the_trainings_that_it_must(
    checkout, monkeypatch, file, old, new, changed
):
    before = trained(checkout, monkeypatch)
    edit(checkout, file, old, new)
    after = trained(checkout, monkeypatch)
    assert {model for model in MODELS if before[model] != after[model]} == changed
    provenance.forget()


def test_a_field_that_nothing_reads_reaches_no_study(checkout, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", checkout)
    provenance.forget()
    before = provenance.searching()
    field = "    curve_test: bool = False"
    edit(checkout, "seqbench/core/jobs.py", field, f"    new: int = 0\n{field}")
    provenance.forget()
    assert provenance.searching() == before
    edit(checkout, "seqbench/training/search.py", "settings // 3", "settings // 2")
    provenance.forget()
    assert provenance.searching() != before


def test_another_place_of_the_checkout_does_not_count(checkout, monkeypatch):
    here = {model: provenance.training(model) for model in MODELS}
    assert trained(checkout, monkeypatch) == here
    provenance.forget()


def test_proved_equal_identities_are_one(tmp_path, monkeypatch):
    pairs = [{"old": "a", "new": "b"}, {"old": "b", "new": "c"}, {"old": "x", "new": "y"}]
    (tmp_path / "equivalent.json").write_text(json.dumps(pairs))
    monkeypatch.setattr(provenance, "EQUIVALENT", tmp_path / "equivalent.json")
    assert provenance.same("a", "c") and provenance.same("c", "b") and not provenance.same("a", "x")
    assert provenance.representative("c") == "a" and provenance.representative("new") == "new"


# --- content of data --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["{bad", '[{"old": "a"}]', "[3]"])
def test_a_broken_list_of_proofs_is_named(tmp_path, monkeypatch, text):
    file = tmp_path / "equivalent.json"
    file.write_text(text)
    monkeypatch.setattr(provenance, "EQUIVALENT", file)
    with pytest.raises(UserError, match=r"equivalent\.json: no list of proofs"):
        provenance.representative("a")


def test_a_file_replaced_by_an_older_one_is_noticed(tmp_path):
    cache, file = tmp_path / "cache.json", tmp_path / "data.csv"
    file.write_text("one")
    os.utime(file, ns=(10**18, 10**18))
    first = checksums.remembered_sha256(file, cache)
    file.unlink()
    file.write_text("two")
    os.utime(file, ns=(10**17, 10**17))
    assert checksums.remembered_sha256(file, cache) == checksums.sha256_of(file) != first


def test_a_file_that_did_not_change_is_not_read_again(tmp_path, monkeypatch):
    cache, file = tmp_path / "cache.json", tmp_path / "data.csv"
    file.write_text("one")
    first = checksums.remembered_sha256(file, cache)
    monkeypatch.setattr(checksums, "sha256_of", lambda path: pytest.fail("read again"))
    assert checksums.remembered_sha256(file, cache) == first


def test_a_file_that_moved_has_the_same_content(tmp_path):
    file = tmp_path / "data.csv"
    file.write_text("one")
    block = {"source": "file", "local": {"path": str(file)}}
    first = sources.raw_content(block, tmp_path, tmp_path / "prepared")
    file.rename(tmp_path / "moved.csv")
    block["local"]["path"] = str(tmp_path / "moved.csv")
    assert sources.raw_content(block, tmp_path, tmp_path / "prepared") == first


def test_a_download_does_not_change_what_was_planned(tmp_path):
    block, source = {"source": "ml-1m"}, sources.SOURCES["ml-1m"]
    planned = sources.raw_content(block, tmp_path, tmp_path / "prepared")
    assert planned == source.origins[0].sha256
    mirror = tmp_path / source.origins[1].file
    mirror.write_text("the same interactions in another container")
    assert sources.raw_content(block, tmp_path, tmp_path / "prepared") == planned
    (tmp_path / "prepared").mkdir()
    facts = {"provenance": {"sha256": checksums.sha256_of(mirror)}}
    (tmp_path / "prepared" / "dataset.json").write_text(json.dumps(facts))
    assert sources.raw_content(block, tmp_path, tmp_path / "prepared") == planned
    mirror.write_text("something else")
    assert sources.raw_content(block, tmp_path, tmp_path / "prepared") != planned


def test_the_loader_of_models_is_found_by_the_walk():
    assert "models/_loading.py" in provenance.training_modules("sasrec")
    assert sys.version_info >= (3, 11)


def test_what_decides_numbers_takes_only_names_without_numbers_from_what_does_not():
    """A constant of a module that says it decides nothing would change numbers and no identity."""
    taken = set()
    for file in {file for model in MODELS for file in provenance.training_modules(model)}:
        module = provenance._module(ROOT, file)
        for reference in module.bound.values():
            found = provenance._resolved(ROOT, reference)
            if provenance._module(ROOT, found.file).decides == "nothing":
                taken.add(found.symbol)
    jobs = {"Training", "TrainingJob", "PREDICTIONS"}  # a word of the job
    errors = {"UserError", "ModelError", "words", "is_of_machine"}
    files = {"packed", "digest", "is_changed", "sha256_of", "write_atomically"}
    disk = {"require_room", "unwritten"}
    modules = {None}  # provenance, and where numba keeps what it compiled
    assert taken <= jobs | errors | files | disk | modules | {"Progress"}
