"""What the gate writes, and the history it keeps: every format names what failed, change points are those planted."""

import json
from xml.etree import ElementTree as xml

import numpy as np
import pytest
from gate_blocks import blocks

from tools.gate import history, output, pairs, verdict
from tools.gate.golden import Change
from tools.gate.output import Result

# --- output -------------------------------------------------------------------------------------------------------


def results():
    slow = verdict.judge("train/sasrec/L50", *blocks(12, 1.12), blocks(8, 1.12, seed=1)[0])
    same, unsure = (
        verdict.judge(n, *blocks(b, noise=x))
        for n, b, x in (("evaluate", 12, 0.01), ("report", 5, 0.4))
    )
    gone = verdict.Verdict("prepare", verdict.GONE, None, None, "base: no <such> thing")
    return slow, same, unsure, gone


def test_the_outcome_is_the_worst_of_both_tiers():
    slow, same, unsure, gone = results()
    change = Change("x", 1, 2)
    for changes, verdicts, expected in (
        ([], [same], output.OK), ([change], [same], output.FAILED), ([], [slow, unsure], output.FAILED),
        ([], [same, unsure], output.INCONCLUSIVE), ([], [same, gone], output.INCONCLUSIVE), (None, None, output.OK),
        ([], None, output.OK), ([], [same, verdict.Verdict("x", verdict.BROKEN, None, None, "head: no")], output.FAILED),
    ):  # fmt: skip
        assert Result(changes, verdicts).outcome == expected
    apart = Result([], None, reason="other pins")
    assert apart.outcome == output.INCONCLUSIVE
    assert 'skipped message="other pins"' in output.to_junit(apart).decode()
    assert sorted(output.STATUS.values()) == [0, 1, 3]


def test_every_format_names_what_failed(tmp_path):
    result = Result(
        [Change("sasrec/L50/train/saved_bytes", 100, 101)], list(results()), {"machine": "m"}
    )
    output.write(result, tmp_path)
    text, comment = output.to_text(result), (tmp_path / "regression.md").read_text()
    for said in (text, comment):
        assert (
            "sasrec/L50/train/saved_bytes: 100 -> 101 (+1.00 %)" in said
            and "train/sasrec/L50" in said
        )
    content = json.loads((tmp_path / "regression.json").read_text())
    assert content["outcome"] == "failed" and content["tier2"][0]["change"][
        "ratio"
    ] == pytest.approx(1.12, rel=0.03)
    suite = xml.fromstring((tmp_path / "regression.xml").read_bytes())
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("5", "2", "2")
    assert (
        "base: no <such> thing"
        in (case := suite.find("testcase[@name='prepare']/skipped").get("message"))
        and case
    )


# --- history ------------------------------------------------------------------------------------------------------


def test_what_a_dead_process_said_last_makes_no_broken_xml(tmp_path):
    said = "\x1b[31mboom\x00 a | b\n"
    broken = verdict.Verdict("x", verdict.BROKEN, None, None, said)
    output.write(Result([Change("y\x02", 1, 2)], [broken], {}, said), tmp_path)
    suite = xml.fromstring((tmp_path / "regression.xml").read_bytes())
    assert "?[31mboom? a | b" in suite.find("testcase[@name='x']/failure").get("message")
    (row,) = [line for line in (tmp_path / "regression.md").read_text().splitlines() if "| x |" in line]  # fmt: skip
    assert row.replace("\\|", "").count("|") == 6


def test_change_points_of_a_planted_step_and_of_none():
    rng = np.random.default_rng(0)
    level = np.repeat([0.1, 0.12], 15) * np.exp(0.01 * rng.standard_normal(30))
    assert history.change_points(level) == [15]
    flat = [
        history.change_points(0.1 * np.exp(0.02 * np.random.default_rng(s).standard_normal(40)))
        for s in range(40)
    ]
    assert sum(map(bool, flat)) <= 4
    assert history.change_points(np.array([0.1, 0.2, 0.3])) == []


def test_a_history_keeps_machines_apart_and_survives_a_torn_line(tmp_path):
    file = tmp_path / "history.jsonl"
    found = pairs.Comparison(head={"a": [[1.0, 3.0]], "b": [[5.0, 5.0]]})
    for machine in ("m1", "m2", "m1"):
        facts = {"machine": machine, "machine_name": machine, "packages": {"torch": "2"}}
        history.append(file, facts, "c0ffee", found)
    with file.open("a") as lines:
        lines.write('{"schema": 1}\n[]\n{"schema": 1, "at"')
    lines = history.read(file)
    assert len(lines) == 3
    whole = file.read_bytes()
    history.append(file, facts, "c0ffee", found)
    assert len(history.read(file)) == 4, "what comes after a torn line is a line of its own"
    file.write_bytes(whole)
    with file.open("a") as more:
        more.write("\n" + json.dumps(lines[0] | {"workload": history.WORKLOAD - 1}) + "\n")
    assert history.read(file) == lines, "what timed something else is no part of the series"
    found = {
        (machine, stage): seconds.tolist() for machine, stage, _, seconds in history.series(lines)
    }
    assert found == {
        ("m1", "a"): [2.0, 2.0],
        ("m1", "b"): [5.0, 5.0],
        ("m2", "a"): [2.0],
        ("m2", "b"): [5.0],
    }


def test_the_trend_says_since_when_the_latest_level_holds():
    rng = np.random.default_rng(0)
    lines = []
    for run in range(14):
        seconds = {"train/sasrec/L50": 0.05 * (1.15 if run >= 8 else 1), "prepare": 0.9}
        lines.append({
            "at": f"2026-11-{run + 1:02d}T03:00:00+00:00", "revision": f"{run}e" + "4" * 38, "machine": "m", "machine_name": "box",
            "seconds": {k: float(v * np.exp(0.01 * rng.standard_normal())) for k, v in seconds.items()},
        })  # fmt: skip
    rows = [row.strip("| ").split(" | ") for row in history.to_markdown(lines).splitlines()[2:]]
    found = {row[1]: [row[0], *row[2:]] for row in rows}
    machine, runs, seconds, change, since = found["train/sasrec/L50"]
    assert (machine, runs, since) == ("box (m)", "14", "2026-11-09T03:00:00+00:00, 8e4444444444")
    assert float(seconds) == pytest.approx(0.0575, rel=0.02) and change.startswith("+1")
    assert found["prepare"][-1] == "the first run"
