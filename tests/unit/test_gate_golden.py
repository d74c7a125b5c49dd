"""Tier 1: counts and golden metrics against committed values."""

import json

import pytest

from seqbench.core.errors import UserError
from tools.gate import golden

VALUES = {"sasrec/L50/train/flops": 1000, "sasrec/test/kept/ndcg@10": 0.25}


def noisy(values, spread):
    """A probe whose metric depends on the instruction set, as real ones do in the last digits."""

    def run(settings):
        off = spread if settings.get("ATEN_CPU_CAPABILITY") != "default" else 0.0
        return {k: v + off if isinstance(v, float) else v for k, v in values.items()}

    return run


@pytest.fixture
def accepted(tmp_path):
    file = tmp_path / "golden.json"
    golden.accept(file, noisy(VALUES, 1.3e-6))
    return file


def test_what_was_accepted_passes_and_its_spread_is_its_tolerance(accepted):
    content = json.loads(accepted.read_text())["by_torch"][golden.torch_version()]
    assert content["sasrec/L50/train/flops"] == {"value": 1000, "tolerance": 0.0}
    assert content["sasrec/test/kept/ndcg@10"]["tolerance"] == pytest.approx(
        golden.AMPLE * 1.3e-6, rel=0.1
    )
    assert golden.check(accepted, noisy(VALUES, 0)) == []
    within = {**VALUES, "sasrec/test/kept/ndcg@10": 0.25 + 5e-6}
    assert golden.check(accepted, lambda _: within) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sasrec/L50/train/flops", 1001),
        ("sasrec/test/kept/ndcg@10", 0.25001),
        ("sasrec/test/kept/ndcg@10", 0.2499),
    ],
)
def test_one_changed_value_is_found_and_named(accepted, name, value):
    (change,) = golden.check(accepted, lambda _: {**VALUES, name: value})
    assert change.name == name and change.after == value and name in str(change)


def test_new_and_missing_values_are_changes(accepted):
    new, gone = golden.check(accepted, lambda _: {"a": 1, "sasrec/L50/train/flops": 1000})
    assert (str(new), str(gone)) == ("a: new, 1", "sasrec/test/kept/ndcg@10: gone, was 0.25")


def test_a_gpu_is_compared_with_itself_only(tmp_path):
    file = tmp_path / "golden.json"
    values = {**VALUES, "gpu/A/peak": 100}
    golden.accept(file, lambda _: values)
    assert golden.check(file, lambda _: VALUES) == [], "no GPU here"
    assert golden.check(file, lambda _: {**VALUES, "gpu/B/peak": 7}) == [], "another one"
    (change,) = golden.check(file, lambda _: {**VALUES, "gpu/A/peak": 101})
    assert change.name == "gpu/A/peak"
    golden.accept(file, lambda _: {**VALUES, "gpu/B/peak": 7})
    assert {"gpu/A/peak", "gpu/B/peak"} < set(
        json.loads(file.read_text())["by_torch"][golden.torch_version()]
    )


def test_accepting_prints_what_it_changes_and_keeps_other_versions(accepted):
    content = json.loads(accepted.read_text())
    content["by_torch"]["1.0"] = {"x": {"value": 1, "tolerance": 0}}
    accepted.write_text(json.dumps(content))
    fewer = {"sasrec/L50/train/flops": 990, "sasrec/test/kept/ndcg@10": 0.250001}
    changes = golden.accept(accepted, noisy(fewer, 0))
    assert [str(c) for c in changes] == [
        "sasrec/L50/train/flops: 1,000 -> 990 (-1.00 %)",
        "sasrec/test/kept/ndcg@10: 0.25 -> 0.250001 (+0.00 %), tolerance 5.2e-06 -> 0",
    ], "what lay within its tolerance is written too, so it is said"
    assert "1.0" in json.loads(accepted.read_text())["by_torch"]
    assert golden.accept(accepted, noisy(fewer, 0)) == []


def test_a_torch_without_values_and_a_damaged_file_say_what_to_do(tmp_path, accepted, monkeypatch):
    monkeypatch.setattr(golden, "torch_version", lambda: "9.9")
    with pytest.raises(UserError, match=r"no values for torch 9\.9 .*tools\.gate --accept"):
        golden.check(accepted, noisy(VALUES, 0))
    broken = tmp_path / "broken.json"
    for text in ("{", "[]", "{}"):
        broken.write_text(text)
        with pytest.raises(UserError, match="damaged; restore it with `git checkout`"):
            golden.check(broken, noisy(VALUES, 0))
