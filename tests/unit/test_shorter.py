"""From which length on a cost stays below another model's, from crossings whose answer is known."""

import pytest
from test_scorecard import card, said, texts
from test_tradeoff import comparison, cost, tables

pytestmark = pytest.mark.slow


def crossing(
    comparator,
    ends,
    x=None,
    bracketed=False,
    extrapolated=False,
    curve="length-at-constant-batch",
    share=None,
    threads=1,
):
    share = float(x is not None) if share is None else share  # of the resamples that cross
    return {"track": "matched", "machine_name": "m", "device_kind": "cpu", "curve": curve, "phase": "train",
            "fixed": "8 sequences a batch" if curve == "length-at-constant-batch" else "64 tokens a batch", "metric": "step_s", "model_a": "mamba4rec", "model_b": comparator, "x": x, "low": 200.0, "high": 8192.0,
            "bracketed": bracketed, "extrapolated": extrapolated, "share": share, "threads": threads, "x_min": 50.0, "x_max": 8192.0,
            "cheaper_min": ends[0], "cheaper_max": ends[1], "ratio_max": 0.5 if ends[1] == "mamba4rec" else 2.0}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "where"),
    [
        (crossing("sasrec", ("sasrec", "mamba4rec"), 1044.8), "from L = 1,045 on [200, 8,192], 0.5 times at 8,192"),
        (crossing("sasrec", ("sasrec", "mamba4rec"), 700, bracketed=True), "from somewhere between L = 200 and 8,192 on 0.5 times at 8,192"),
        (crossing("sasrec", ("sasrec", "sasrec")), "at no measured L from 50 to 8,192 2 times at 8,192"),
        (crossing("sasrec", ("mamba4rec", "mamba4rec")), "at every measured L from 50 to 8,192 0.5 times at 8,192"),
        (crossing("sasrec", ("mamba4rec", "sasrec"), 700), "up to L = 700 [200, 8,192], 2 times at 8,192"),
        (crossing("sasrec", ("mamba4rec", "sasrec"), 700, bracketed=True), "up to somewhere between L = 200 and 8,192 2 times at 8,192"),
        (crossing("sasrec", ("sasrec", "mamba4rec"), 700, share=0.55), "not settled "),
        (crossing("sasrec", ("sasrec", "sasrec"), 700), "up to L = 700 [200, 8,192], 2 times at 8,192"),  # there and back
        (crossing("sasrec", ("sasrec", "sasrec"), share=0.1), "not settled "),
        (crossing("sasrec", ("sasrec", "mamba4rec"), 9000, extrapolated=True), "not settled "),
        (crossing("gru4rec", ("mamba4rec", "mamba4rec")), None),
        (crossing("sasrec", ("mamba4rec", "mamba4rec"), curve="catalogue-size"), None),
    ],
)  # fmt: skip
def test_where_it_becomes_cheaper_is_read_from_the_crossings(row, where):
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]
    content = tables(comparison("sasrec", ("better", "better")), costs, [row])
    found = [cell for key, cell in card(content).items() if "full windows, " in key[0]]
    assert [f"{cell.text} {cell.detail}" for cell in found] == ([where] if where else [])


def test_lengths_before_the_last_crossing_at_which_it_was_shorter_are_told():
    """At 50 and 200 beyond the quartiles, at 100 within them, at 400 longer; what is beyond the crossing is in it."""
    windows = {
        "dataset": "full-length",
        "curve": "length-at-constant-batch",
        "fixed": "8 sequences a batch",
    }
    at = {50: (1.0, 2.0), 100: (1.0, 1.01), 200: (1.0, 1.1), 400: (3.0, 2.0), 1600: (1.0, 2.0)}
    costs = [
        cost(model, value, seq_len=length, **windows)
        for length, values in at.items()
        for model, value in zip(("mamba4rec", "sasrec"), values, strict=True)
    ]
    costs += [cost("mamba4rec", 1.0, seq_len=300, **windows, threads=2), cost("sasrec", 9.0, seq_len=300, **windows, threads=2)]  # fmt: skip
    row = crossing("sasrec", ("sasrec", "mamba4rec"), 700)
    content = tables(comparison("sasrec", ("better", "better")), [cost("mamba4rec", 1.0), cost("sasrec", 2.0), *costs], [row])  # fmt: skip
    (found,) = (cell for key, cell in card(content).items() if "full windows, " in key[0])
    assert (found.text, found.detail) == ("from L = 700 on", "[200, 8,192], before that at 50, 200, 0.5 times at 8,192")  # fmt: skip


def test_the_ratio_at_the_longest_is_the_focal_models_over_the_others():
    """Models stand in a crossing in the order of every table, the focal model first, or not."""
    row = crossing("sasrec", ("sasrec", "mamba4rec"), 700)
    turned = {**row, "model_a": "sasrec", "model_b": "mamba4rec", "ratio_max": 2.0}
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]
    for one in (row, turned):
        content = tables(comparison("sasrec", ("better", "better")), costs, [one])
        (found,) = (cell for key, cell in card(content).items() if "full windows, " in key[0])
        assert found.detail.endswith(", 0.5 times at 8,192")


def test_inference_has_crossings_of_its_own():
    row = crossing("sasrec", ("sasrec", "mamba4rec"), 700)
    batch = {**crossing("sasrec", ("sasrec", "mamba4rec"), 2000), "phase": "inference", "metric": "batch_s"}  # fmt: skip
    costs = [cost("mamba4rec", 3.0), cost("sasrec", 2.0)]
    content = tables(comparison("sasrec", ("better", "better")), costs, [row, batch])
    found = {key[0].partition(": ")[2].partition(": ")[2] or key[0]: cell.text for key, cell in card(content).items() if "full windows, " in key[0]}  # fmt: skip
    assert found == {
        "Shorter training step, full windows, 8 sequences a batch": "from L = 700 on",
        "Shorter inference batch, full windows, 8 sequences a batch": "from L = 2,000 on",
    }
    assert (
        "; its inference batch stays shorter than SASRec's from L = 2,000 on.**" in said(content)[1]
    )


def test_both_curves_over_length_have_their_row():
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]
    rows = [crossing("sasrec", ("mamba4rec", "mamba4rec"), curve=curve) for curve in ("length-at-constant-tokens", "length-at-constant-batch")]  # fmt: skip
    found = card(tables(comparison("sasrec", ("better", "better")), costs, rows))
    assert [key[0].rpartition(", ")[2] for key in found if "full windows, " in key[0]] == ["64 tokens a batch", "8 sequences a batch"]  # fmt: skip


def test_a_curve_that_says_nothing_of_one_comparator_says_so():
    rows = [*comparison("sasrec", ("better", "better")), *comparison("gru4rec", ("better", "better"))]  # fmt: skip
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0), cost("gru4rec", 2.0)]
    content = tables(rows, costs, [crossing("gru4rec", ("mamba4rec", "mamba4rec"))])
    found = texts(content, "8 sequences a batch")
    assert [found[key] for key in sorted(found)] == [
        "at every measured L from 50 to 8,192",
        "not known",
    ]


def test_two_numbers_of_threads_are_two_curves():
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]
    rows = [crossing("sasrec", ("sasrec", "mamba4rec"), x, threads=n) for x, n in ((300, 1), (900, 2))]  # fmt: skip
    found = card(tables(comparison("sasrec", ("better", "better")), costs, rows))
    by_threads = {key[0].rpartition(", ")[2]: cell.text for key, cell in found.items() if "full windows, " in key[0]}  # fmt: skip
    assert by_threads == {"1 thread": "from L = 300 on", "2 threads": "from L = 900 on"}
