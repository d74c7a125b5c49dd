"""How values are written: digits, units, signs and names."""

import pytest
from builders import ENVIRONMENT

from seqbench.report import format as fmt


@pytest.mark.parametrize(
    ("value", "uncertainty", "text"),
    [(0, 1, "0"), (0.0999, 0.001, "0.0999"), (12345, 10, "12,340"), (1.234, 0.5, "1.2"), (0.31295, 0, "0.313"), (-2.5, 0.1, "−2.50")],
)  # fmt: skip
def test_a_number_has_the_digits_that_its_uncertainty_supports(value, uncertainty, text):
    assert fmt.rounded(value, uncertainty) == text


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [("s", 0.0123, "12.3 ms"), ("s", 44.12, "44.1 s"), ("s", 374, "6.23 min"), ("s", 7300, "2.03 h"),
     ("bytes", 3 * 2**30, "3.00 GiB"), ("J", 12345.0, "12.3 kJ"), ("s", None, "–"), ("s", float("nan"), "–")],
)  # fmt: skip
def test_a_quantity_has_the_unit_that_suits_it(unit, value, text):
    assert fmt.quantity(unit, value) == text


def test_a_column_has_the_unit_of_its_middle():
    assert fmt.unit_for("s", [0.5, 90, 120, float("nan")]) == (60, "min")
    assert fmt.unit_for("s", []) == (1, "s") and fmt.unit_for("W", [5.0]) == (1, "W")


@pytest.mark.parametrize(
    ("half_widths", "digits"), [([0.007], 3), ([0.0004], 4), ([], 3), ([float("nan"), 0], 3), ([1e-9], 5)]
)  # fmt: skip
def test_an_interval_has_three_to_five_decimals(half_widths, digits):
    assert fmt.decimals(half_widths) == digits


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [("ratio", 0.3129, "0.31"), ("ratio", 12.34, "12.3"), ("percent", 0.0862, "8.6 %"), ("percent", 0.757, "76 %"),
     ("length", 1044.8, "1,000"), ("length", 8192.0, "8,192"), ("length", 703.4, "703"), ("count", 13.0, "13"),
    ],
)  # fmt: skip
def test_a_slot_is_read_as_its_kind_says(kind, value, text):
    assert fmt.slot(value, kind) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [("ml-1m", "ML-1M"), ("amazon-video-games", "Amazon Video Games"), ("toy", "Toy"), ("2024", "2024"), ("nan", "Nan")],
)  # fmt: skip
def test_a_dataset_reads_as_a_name(name, text):
    assert fmt.dataset_name(name) == text


def test_machines_that_would_read_alike_keep_their_names():
    twin = ENVIRONMENT | {"machine_name": "other"}
    alone = fmt.machine_names({"environments": [ENVIRONMENT]})
    both = fmt.machine_names({"environments": [ENVIRONMENT, twin, ENVIRONMENT]})
    assert alone == {"test-machine": "Test CPU, 2 CPUs"}
    assert both == {"test-machine": "Test CPU, 2 CPUs (test-machine)", "other": "Test CPU, 2 CPUs (other)"}  # fmt: skip


def test_names_are_listed_with_an_and():
    assert [fmt.listed(names) for names in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
