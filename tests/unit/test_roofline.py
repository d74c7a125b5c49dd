"""The least seconds of counted work, by numbers that can be worked out on paper."""

import pytest

from seqbench.core.roofline import least_seconds

COUNTS = {"flops": 1300, "product_flops": 1000, "exponentials": 100, "scan_bytes": 60}
CEILINGS = {"product_flop_per_s": 100.0, "copy_bytes_per_s": 20.0}


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({}, 12.0 + 3.0),  # bytes alone where no rate of exponentials is known
        ({"exponentials_per_s": 10.0}, 12.0 + 10.0),
        ({"exponentials_per_s": 50.0}, 12.0 + 3.0),  # they hide behind the bytes
        ({"exponentials_per_s": 10.0, "fp32_flop_per_s": 40.0}, 10.0 + 5.0 + 10.0),
    ],
)
def test_products_and_the_longer_one_of_exponentials_and_bytes(more, seconds):
    assert least_seconds(COUNTS, CEILINGS | more) == pytest.approx(seconds)


def test_a_record_without_these_counts_or_ceilings_has_no_roofline():
    assert least_seconds({"flops": 1300, "moved_bytes": 1}, CEILINGS) is None
    assert least_seconds(COUNTS, {}) is None
