"""Words for growth and crossings: no more than the intervals hold."""

import pandas as pd
import pytest
from builders import REPORT

from seqbench.analysis.collect import Tables
from seqbench.report import curves

PLACE = {
    "track": "t", "machine_name": "m", "device_kind": "cpu", "curve": "length-at-constant-tokens", "fixed": "64 tokens a batch",
    "phase": "train", "metric": "step_s", "threads": 1,
}  # fmt: skip


def growth_row(model, c, slope, growth=10.0, missing=None):
    row = {
        "c": c,
        "c_low": c - 0.1,
        "c_high": c + 0.1,
        "growth": growth,
        "max_residual": 0.034,
        "missing": missing,
    }
    row |= {
        "slope_end": slope,
        "slope_end_low": slope - 0.05,
        "slope_end_high": slope + 0.05,
        "x_min": 50.0,
        "x_max": 800.0,
        "slope_over": "200 400 800",
    }
    return PLACE | {"model": model} | row


def crossover_row(
    a="mamba4rec", b="sasrec", x=None, share=0.0, extrapolated=False, ratios=(2.0, 0.5)
):
    cheaper = [a if ratio < 1 else b for ratio in ratios]
    row = {
        "model_a": a,
        "model_b": b,
        "x": x,
        "low": x and 0.9 * x,
        "high": x and 1.1 * x,
        "share": share,
    }
    row |= {
        "extrapolated": extrapolated,
        "bracketed": False,
        "ratio_min": ratios[0],
        "ratio_max": ratios[1],
        "x_min": 50.0,
        "x_max": 800.0,
    }
    return PLACE | row | {"cheaper_min": cheaper[0], "cheaper_max": cheaper[1]}


def tables(growth=(), crossovers=()):
    return Tables(
        {"scaling": pd.DataFrame(growth), "crossovers": pd.DataFrame(crossovers)}, {}, REPORT
    )


def cells(*rows):
    return curves.crossings(tables(crossovers=rows), "t", "m", "cpu", curves.LENGTHS).rows[1]


def test_curves_of_other_threads_stand_apart_and_say_so():
    rows = [growth_row("sasrec", 1.6, 1.8), {**growth_row("sasrec", 1.1, 1.2), "threads": 4}]
    table = curves.growth(tables(rows), "t", "m", "cpu", curves.LENGTHS)
    headings = [row[0].text for row in table.rows if len(row) == 1]
    assert [text.rpartition(", ")[2] for text in headings] == ["1 thread", "4 threads"]
    assert [row[1].text for row in table.rows if len(row) > 1] == ["1.60", "1.10"]


def test_a_row_holds_exponent_slope_residual_and_what_is_missing():
    rows = [growth_row("sasrec", 1.6, 1.8, missing="8,192: oom (3.0 GiB asked for)")]
    table = curves.growth(tables(rows), "t", "m", "cpu", curves.LENGTHS)
    texts = [(cell.text, cell.detail) for cell in table.rows[1]]
    assert texts == [
        ("SASRec", ""), ("1.60", "[1.50, 1.70]"), ("1.80", "[1.75, 1.85]"), ("3 %", ""),
        ("8,192: oom (3.0 GiB asked for)", ""),
    ]  # fmt: skip
    assert table.rows[0][0].text == "L from 50 to 800: 64 tokens a batch"


def test_the_exponent_of_a_flat_curve_is_not_shown():
    table = curves.growth(
        tables([growth_row("sasrec", 4.0, 0.0, growth=1.03)]), "t", "m", "cpu", curves.LENGTHS
    )
    assert (table.rows[1][1].text, table.rows[1][1].detail) == ("flat", "×1.03")


@pytest.mark.parametrize(
    ("row", "text", "detail"),
    [
        ({"x": 400.0, "share": 1.0}, "Mamba4Rec from 400 [360, 440]", "×2.0 to ×0.50"),
        ({"x": 400.0, "share": 0.6}, "Mamba4Rec from 400 [360, 440]", "×2.0 to ×0.50; crosses in 60 % of resamples"),
        ({"ratios": (2.0, 1.5)}, "SASRec throughout", "×2.0 to ×1.5"),
        ({"ratios": (0.5, 0.7), "share": 0.1}, "Mamba4Rec throughout", "×0.50 to ×0.70; crosses in 10 % of resamples"),
        # Beyond the points it is the one that is dearer at their end that becomes cheaper.
        ({"x": 1600.0, "share": 1.0, "extrapolated": True, "ratios": (2.0, 1.5)}, "Mamba4Rec from 1,600 [1,440, 1,760]",
         "×2.0 to ×1.5, extrapolated"),
    ],
)  # fmt: skip
def test_a_crossing_says_who_is_cheaper_from_where_on(row, text, detail):
    cell = cells(crossover_row(**row))[1]
    assert (cell.text, cell.detail) == (text, detail)


def test_a_crossing_between_points_far_apart_is_only_bracketed():
    row = crossover_row(x=400.0, share=1.0) | {"low": 50.0, "high": 800.0, "bracketed": True}
    assert cells(row)[1].text == "Mamba4Rec from between 50 and 800"


def test_a_pair_of_which_one_failed_early_says_how_far_both_go():
    short = crossover_row(b="gru4rec", ratios=(2.0, 1.5)) | {"x_max": 200.0}
    rows = curves.crossings(
        tables(crossovers=[crossover_row(), short]), "t", "m", "cpu", curves.LENGTHS
    ).rows
    assert "last that both have" not in rows[1][1].detail
    assert rows[2][1].detail == "×2.0 to ×1.5 at 200, the last that both have"


def test_a_model_with_too_few_points_keeps_its_row_and_the_reason():
    short = growth_row(
        "sasrec", float("nan"), float("nan"), growth=float("nan"), missing="800: oom"
    )
    short |= {"max_residual": float("nan")}
    table = curves.growth(
        tables([growth_row("mamba4rec", 1.0, 1.0), short]), "t", "m", "cpu", curves.LENGTHS
    )
    assert [cell.text for cell in table.rows[2]] == [
        "SASRec",
        "too few points",
        "–",
        "–",
        "800: oom",
    ]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"x": 400.0, "share": 1.0}, ("mamba4rec", True)),
        ({"a": "sasrec", "b": "mamba4rec", "x": 400.0, "share": 1.0, "ratios": (0.5, 2.0)}, ("mamba4rec", True)),
        ({"ratios": (2.0, 1.5)}, ("sasrec", False)),
        ({"x": 400.0, "share": 0.6}, None),
        ({"ratios": (1.1, 1.0), "share": 0.4}, None),
        ({"x": 1600.0, "share": 1.0, "extrapolated": True, "ratios": (2.0, 1.5)}, ("sasrec", False)),
    ],
)  # fmt: skip
def test_what_is_settled_was_measured_and_nothing_extrapolated(row, expected):
    (found,) = pd.DataFrame([crossover_row(**row)]).itertuples()
    assert curves.settled(found) == expected
