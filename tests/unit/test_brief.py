"""The answer in brief beyond what test_scorecard.py counts: several tracks, lengths at which a step is shorter, nothing judged."""

from test_headline import both
from test_scorecard import crossing, quality, said
from test_tradeoff import comparison, cost, tables

from seqbench import brief


def test_the_first_words_count_every_judged_track():
    rows = both("matched", "mamba4rec", "sasrec", ("better", "inconclusive"))
    rows += both("matched", "mamba4rec", "sasrec", ("inconclusive", "worse"), seq_len=100)
    rows += both("tuned", "mamba4rec", "sasrec", ("better", "better"))
    rows += both("paper", "mamba4rec", "sasrec", ("worse", "worse"), seeds=2)  # not judged
    (found,) = brief.points(quality(rows))
    assert found.lead == (
        "Quality: Mamba4Rec ranks better in 2 of 3 comparisons, worse in none (seen items masked: better in 1, worse in 1)."
    )
    assert found.text.endswith(
        "Track matched, 2 places on 1 dataset: better than SASRec at 1 (0); worse than SASRec at 0 (1)."
        " Track tuned, 1 place on 1 dataset: better than SASRec at 1 (1)."
    )


def test_lengths_at_which_a_step_is_shorter_are_told_once_per_curve():
    rows = [*comparison("sasrec", ("better", "better")), *comparison("gru4rec", ("better", "better"))]  # fmt: skip
    costs = [cost("mamba4rec", 3.0), cost("sasrec", 2.0), cost("gru4rec", 2.0)]
    ends = ("sasrec", "mamba4rec")
    curves = [crossing("sasrec", ends, 967, curve="tokens"), crossing("sasrec", ends, 1045)]
    curves += [crossing("gru4rec", ("gru4rec", "gru4rec"), curve=c) for c in ("tokens", "batch")]
    assert said(tables(rows, costs, curves))[1].endswith(
        "1.50 times SASRec's, 1.50 times GRU4Rec's; on full windows shorter than SASRec's from L = 967 or 1,045 on,"
        " than GRU4Rec's at no L up to 8,192."
    )


def test_nothing_is_said_where_nothing_is_judged():
    rows = both("matched", "mamba4rec", "sasrec", ("better", "better"), seeds=2)
    assert list(brief.points(quality(rows))) == []
