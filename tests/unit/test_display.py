"""The registry of quantities: what is entered once is what every table, record and configuration speaks of."""

import numpy as np
import pytest
import yaml

from seqbench.analysis.tidy_cost import COUNTED, EXPECTED, EXTRAPOLATED
from seqbench.core import display, metrics
from seqbench.core.display import QUALITY_METRICS, QUANTITIES
from seqbench.core.jobs import Training
from seqbench.core.provenance import ROOT, closure, measuring_modules, training_modules
from seqbench.data.synthetic import GAINS
from seqbench.training import ranking


@pytest.mark.parametrize("metric", QUALITY_METRICS)
def test_a_quality_metric_is_a_function_of_ranks(metric):
    values = metrics.per_user(np.array([1, 10**6]), metric)
    assert values[0] == 1.0 and values[1] < 1.0
    assert (QUANTITIES[metric].label, QUANTITIES[metric].better) == (metric.upper(), "higher")


def test_what_selects_a_step_is_recorded_at_every_validation():
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    ranks = {"kept": ranking.Ranks(np.array([1]), np.array([0]))}
    recorded = ranking.summary(ranks)["kept"]
    allowed = schema["$defs"]["training"]["properties"]["select_on"]["enum"]
    assert allowed == list(recorded)
    assert set(recorded) <= set(QUALITY_METRICS)
    assert Training().select_on in allowed


def test_the_primary_metric_is_one_that_the_oracle_knows():
    assert display.PRIMARY_METRIC in QUALITY_METRICS
    assert display.PRIMARY_METRIC in GAINS


def test_no_job_depends_on_how_its_results_are_shown():
    every = [*training_modules("sasrec"), *measuring_modules("sasrec")]
    assert "seqbench/core/display.py" not in every
    assert "seqbench/core/display.py" in closure(ROOT, ["seqbench/analysis/collect.py"])


def test_what_is_derived_and_counted_is_in_the_registry():
    named = {*COUNTED, *EXTRAPOLATED, *(m for every in EXPECTED.values() for m in every)}
    assert named <= set(QUANTITIES)


@pytest.mark.parametrize("name", QUANTITIES)
def test_an_entry_says_enough_to_be_shown(name):
    entry = QUANTITIES[name]
    assert entry.better in ("higher", "lower", None)
    assert set(entry.phases) <= set(display.PHASES)
    if entry.compared or entry.fitted:
        assert entry.phases and all(display.phrase(phase, name) for phase in entry.phases)


def test_each_kind_of_device_has_its_memory():
    assert display.peak_memory("cpu") == "peak_rss_bytes"
    assert display.peak_memory("cuda") == "peak_allocated_bytes"
    assert display.fitted("cpu") == (
        ("train", "step_s"),
        ("inference", "batch_s"),
        ("train", "peak_rss_bytes"),
        ("inference", "peak_rss_bytes"),
        ("train", "saved_bytes"),
    )
