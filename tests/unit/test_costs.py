"""Costs of conditions and ratios between models: which measurements may be compared, and what stands in for a dataset."""

import pytest
from frames import CURVE, FACTS, GPU, cost, costs, measurement, quality, tables, training, trainings

PAIR = {"mamba4rec": 2.0, "sasrec": 1.0}


def content(efficiency, *, trained=True, measured=None, **more):
    """Tables of costs, of trainings of the pair, and of the measurements' own rows."""
    own = trainings(*PAIR) if trained else []
    own += [measurement(row, **(measured or {}).get(row["model"], {})) for row in efficiency]
    return tables(experiments=own, efficiency=efficiency, **more)


def ratios(found, **where):
    frame = found.frames["cost_ratios"]
    for key, value in where.items():
        frame = frame[frame[key] == value]
    return frame


def test_a_ratio_is_of_medians_and_its_ends_pair_opposite_quartiles():
    (row,) = ratios(content(costs(PAIR))).itertuples()
    assert (row.comparator, row.source, row.metric) == ("sasrec", "dataset", "step_s")
    assert (row.ratio, row.ratio_low, row.ratio_high) == pytest.approx((2, 1.98 / 1.01, 2.02 / 0.99))  # fmt: skip
    assert row.verdict == "dearer"


@pytest.mark.parametrize(
    ("own", "verdict"), [(0.9, "cheaper"), (1.01, "inconclusive"), (1.1, "dearer")]
)
def test_quartiles_that_overlap_decide_nothing(own, verdict):
    (row,) = ratios(content(costs({"mamba4rec": own, "sasrec": 1.0}))).itertuples()
    assert row.verdict == verdict


@pytest.mark.parametrize("other", [GPU, {"seq_len": 100}, {"track": "tuned"}, CURVE])
def test_models_of_different_sessions_are_not_held_against_each_other(other):
    rows = [cost("mamba4rec", 2.0), cost("sasrec", 1.0, **other)]
    assert ratios(content(rows, trained=False)).empty


def test_curves_are_told_apart_from_the_dataset_and_by_their_size():
    rows = costs(PAIR) + costs(PAIR, **CURVE) + costs(PAIR, **{**CURVE, "sequences": 64})
    found = ratios(content(rows))
    assert list(found.source) == ["dataset", "length-at-constant-batch", "length-at-constant-batch"]
    assert list(found.sequences.dropna()) == [8, 64]


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({}, True),
        ({"targets_per_step": 512}, False),
        ({"precision": "bf16"}, False),
        ({"hyperparameters": '{"d_model": 128}'}, False),
        ({"hyperparameters": '{"d_model": 64}'}, True),
        ({"hyperparameters": '{"n_layers": 1}'}, True),  # the training does not say
    ],
)
def test_a_measurement_with_other_settings_than_what_was_trained_there_is_left_out(change, kept):
    trained = trainings(*PAIR, hyperparameters='{"d_model": 64}')
    same = {"hyperparameters": '{"d_model": 64}'}
    rows = [measurement(row, **same | (change if row["model"] == "sasrec" else {})) for row in costs(PAIR)]  # fmt: skip
    found = tables(experiments=trained + rows, efficiency=costs(PAIR))
    assert len(ratios(found)) == kept
    assert set(found.frames["costs"].model) == ({"mamba4rec", "sasrec"} if kept else {"mamba4rec"})


def test_where_nothing_was_trained_and_along_a_curve_any_setting_is_kept():
    other = {model: {"targets_per_step": 512, "hyperparameters": '{"d_model": 9}'} for model in PAIR}  # fmt: skip
    assert len(ratios(content(costs(PAIR), trained=False, measured=other))) == 1
    assert len(ratios(content(costs(PAIR, **CURVE), measured=other))) == 1


def test_a_value_that_is_missing_is_no_cost():
    rows = [cost("mamba4rec", float("nan")), cost("sasrec", 1.0)]
    found = content(rows)
    assert ratios(found).empty and list(found.frames["costs"].model) == ["sasrec"]


def test_costs_of_a_dataset_are_those_measured_there():
    rows = [
        cost("sasrec", 0.1), cost("sasrec", 12.0, metric="epoch_s"),
        cost("sasrec", 0.5, phase="inference", metric="batch_s", batch_size=250),
        cost("sasrec", 9e8, metric="peak_rss_bytes"),  # on a CPU that of Python and PyTorch
    ]  # fmt: skip
    (row,) = content(rows).frames["costs"].itertuples()
    assert (row.step_s, row.epoch_s, row.inference_s) == pytest.approx((0.1, 12, 2))
    assert (row.inference_s_low, row.inference_s_high) == pytest.approx((1.98, 2.02))
    assert row.cost_source == "dataset" and row.memory_bytes != row.memory_bytes


def windows(**changes):
    return [
        cost("sasrec", 0.2, **CURVE, **changes),
        cost("sasrec", 5e8, metric="peak_allocated_bytes", **CURVE, **changes),
        cost("sasrec", 3.0, metric="energy_j_per_step", **CURVE, **changes),
    ]


def test_full_length_batches_stand_in_where_a_machine_measured_none_of_the_dataset():
    rows = [cost("sasrec", 0.1), *windows(**GPU)]
    found = content(rows, summary=quality("sasrec", 0.1)).frames["costs"].set_index("machine_name")
    row = found.loc["gpu"]
    epochs = (FACTS["n_interactions"] - 3 * FACTS["n_users"]) / CURVE["batch_size"]  # 2048 / 400
    assert (row.epoch_s, row.energy_j) == pytest.approx((0.2 * epochs, 3 * epochs))
    assert (row.cost_source, row.memory_bytes) == ("synthetic", 5e8)
    assert row.step_s != row.step_s  # another batch: a step is not scaled
    assert found.loc["m"].cost_source == "dataset"


@pytest.mark.parametrize(
    "change", [{"seq_len": 100}, {"n_items": 999}, {"track": "tuned"}, {"curve": "batch-size"}]
)
def test_only_batches_as_long_over_as_many_items_stand_in(change):
    rows = [row | change for row in windows()]
    assert content(rows, summary=quality("sasrec", 0.1)).frames["costs"].empty


def test_of_several_curves_the_largest_batch_stands_in():
    rows = windows() + [row | {"sequences": 64, "batch_size": 3200} for row in windows()]
    for row in rows[3:]:
        row["path"] = row["path"].replace("/8/", "/64/")
    (row,) = content(rows, summary=quality("sasrec", 0.1)).frames["costs"].itertuples()
    assert row.epoch_s == pytest.approx(0.2 * 2048 / 3200)


def test_another_split_has_no_known_epoch():
    temporal = {"toy": FACTS | {"split": {"kind": "temporal"}}}
    rows = windows()
    own = [training("sasrec"), *(measurement(row) for row in rows)]
    found = tables(temporal, experiments=own, efficiency=rows, summary=quality("sasrec", 0.1))
    (row,) = found.frames["costs"].itertuples()
    assert row.epoch_s != row.epoch_s and row.memory_bytes == 5e8
