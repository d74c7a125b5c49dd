"""What a gate says: a table for people, JSON, JUnit XML for CI systems, and Markdown for a comment."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from . import verdict
from .golden import Change
from .verdict import Verdict

OK, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"
STATUS = {OK: 0, FAILED: 1, INCONCLUSIVE: 3}  # 2 is bad input, as everywhere
FILES = ("regression.json", "regression.xml", "regression.md")
# What XML 1.0 cannot hold; the last line of a process that died may.
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
MARKS = {
    verdict.OK: "✅",
    verdict.SLOWER: "❌",
    verdict.FASTER: "🚀",
    verdict.UNSURE: "❔",
    verdict.BROKEN: "💥",
    verdict.GONE: "➖",
}


@dataclass(frozen=True)
class Result:
    """Both tiers of one run: ``changes`` of tier 1 (None: it was not run), ``verdicts`` of tier 2 (None: it was not run)."""

    changes: list[Change] | None
    verdicts: list[Verdict] | None
    about: dict[str, Any] = field(default_factory=dict)
    reason: str = ""  # why tier 2 could not be run

    @property
    def outcome(self) -> str:
        """Failed if anything is, else inconclusive if tier 2 cannot tell, else passed."""
        if self.changes or (self.verdicts and verdict.overall(self.verdicts) == verdict.SLOWER):
            return FAILED
        unsure = self.reason or (
            self.verdicts is not None and verdict.overall(self.verdicts) == verdict.UNSURE
        )
        return INCONCLUSIVE if unsure else OK


def write(result: Result, out: Path) -> None:
    """The result as ``FILES`` in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    made = (to_json(result).encode() + b"\n", to_junit(result), to_markdown(result).encode())
    for name, content in zip(FILES, made, strict=True):
        (out / name).write_bytes(content)


def to_text(result: Result) -> str:
    """For a terminal."""
    lines = []
    if result.changes is not None:
        lines.append(f"tier 1, counts and golden metrics: {len(result.changes) or 'no'} change(s)")
        lines += [f"  {change}" for change in result.changes]
    if result.verdicts is not None:
        lines.append(f"tier 2, time of head over base: {verdict.overall(result.verdicts)}")
        width = max((len(v.stage) for v in result.verdicts), default=0)
        for v in _sorted(result.verdicts):
            change = v.change.text() if v.change else ""
            lines.append(f"  {v.stage:{width}}  {v.verdict:14}  {change:27}  {v.reason}".rstrip())
    if result.reason:
        lines.append(f"tier 2: {result.reason}")
    return "\n".join([*lines, f"regression: {result.outcome}"])


def clear(out: Path) -> None:
    """Take away what an earlier run left, before anything is found: it would pass for the output of one that breaks."""
    for name in FILES:
        (out / name).unlink(missing_ok=True)


def to_json(result: Result) -> str:
    """Everything, for programs."""
    content = {
        "schema": 1, "outcome": result.outcome, "about": result.about, "reason": result.reason,
        "tier1": None if result.changes is None else [asdict(c) for c in result.changes],
        "tier2": None if result.verdicts is None else [asdict(v) for v in result.verdicts],
    }  # fmt: skip
    return json.dumps(content, indent=1, sort_keys=True)


def to_junit(result: Result) -> bytes:
    """One test case per stage and one for all of tier 1; what cannot be told is skipped, not failed."""
    suite = xml.Element("testsuite", name="regression")
    if result.changes is not None:
        case = xml.SubElement(
            suite, "testcase", classname="tier1", name="counts and golden metrics"
        )
        if result.changes:
            text = "\n".join(map(str, result.changes))
            xml.SubElement(case, "failure", message=f"{len(result.changes)} changed").text = text
    for v in result.verdicts or []:
        case = xml.SubElement(suite, "testcase", classname="tier2", name=v.stage)
        words = " ".join(part for part in (v.change.text() if v.change else "", v.reason) if part)
        if v.verdict in (verdict.SLOWER, verdict.BROKEN):
            xml.SubElement(case, "failure", message=words)
        elif v.verdict in (verdict.UNSURE, verdict.GONE):
            xml.SubElement(case, "skipped", message=words)
    if result.reason:
        case = xml.SubElement(suite, "testcase", classname="tier2", name="wall time")
        xml.SubElement(case, "skipped", message=result.reason)
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    for element in suite.iter():
        element.text = element.text and FORBIDDEN.sub("?", element.text)
        for key, value in element.items():
            element.set(key, FORBIDDEN.sub("?", value))
    xml.indent(suite)
    return xml.tostring(suite, encoding="utf-8", xml_declaration=True)


def to_markdown(result: Result) -> str:
    """A comment on a change: what failed first, the whole table folded."""
    lines = [f"### Regression: {result.outcome}", ""]
    if result.changes is not None:
        said = f"{len(result.changes)} value(s) changed" if result.changes else "nothing changed"
        lines += [f"**Counts and golden metrics:** {said}.", ""]
        lines += [*(f"- `{change}`" for change in result.changes), ""] if result.changes else []
    if result.verdicts is not None:
        slower = [v for v in result.verdicts if v.verdict in (verdict.SLOWER, verdict.BROKEN)]
        lines += [f"**Time, head over base:** {verdict.overall(result.verdicts)}.", ""]
        lines += [
            f"- {MARKS[v.verdict]} **{v.stage}** {v.change.text() if v.change else v.verdict}: {v.reason}"
            for v in slower
        ]
        lines += [
            "",
            "<details><summary>Every stage</summary>",
            "",
            "| | stage | change | equal code | verdict |",
        ]
        lines.append("| --- | --- | --: | --: | --- |")
        for v in _sorted(result.verdicts):
            change, noise = (e.text() if e else "" for e in (v.change, v.noise))
            why = "; " + " ".join(v.reason.replace("|", "\\|").split()) if v.reason else ""
            lines.append(
                f"| {MARKS[v.verdict]} | {v.stage} | {change} | {noise} | {v.verdict}{why} |"
            )
        lines += ["", "</details>", ""]
    if result.reason:
        lines += [f"**Wall time:** not compared: {result.reason}", ""]
    about = ", ".join(f"{key} {value}" for key, value in result.about.items())
    return "\n".join([*lines, f"<sub>{about}</sub>", ""])


def _sorted(verdicts: Sequence[Verdict]) -> list[Verdict]:
    order = [
        verdict.BROKEN,
        verdict.SLOWER,
        verdict.UNSURE,
        verdict.FASTER,
        verdict.OK,
        verdict.GONE,
    ]
    return sorted(verdicts, key=lambda v: order.index(v.verdict))
