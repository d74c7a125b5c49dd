"""A point of the brief answer, and how counts by masking are written in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

OTHERS = {"worse": "worse", "equivalent": "equal", "inconclusive": "inconclusive"}  # beside better
Count = tuple[Sequence[int], Sequence[int]]  # at how many, of how many; by masking


@dataclass(frozen=True)
class Point:
    """What was found in a few words, and what that rests on."""

    lead: str
    details: list[str]

    def __str__(self) -> str:
        """As an item of a Markdown list, with a list of its own; a single detail stands behind the lead."""
        if len(self.details) == 1:
            return f"- **{self.lead}** {self.details[0]}"
        return "\n".join([f"- **{self.lead}**", *(f"  - {text}" for text in self.details)])


def counted(count: Count) -> str:
    """At how many places of how many, by masking; one number where only one masking is known."""
    said = [f"{passed} of {n}" for passed, n in zip(*count, strict=True) if n]
    passed, of = count
    second = passed[1] if len(set(of)) == 1 else said[-1]
    return said[0] if len(said) == 1 else f"{said[0]} ({second})"


def pair(numbers: Sequence[int | None]) -> str:
    """A count with seen items kept and, in brackets, masked, if that is known."""
    first, second = numbers
    return f"{first}" if second is None else f"{first} ({second})"


def listed(by_track: list[str], what: str = "comparisons") -> str:
    """Counts by track, what is counted said once."""
    return ", ".join(by_track).replace(" of track", f" {what} of track", 1)


def added(counts: Iterable[Count]) -> Count:
    """The sum of counts."""
    passed, of = zip(*counts, strict=True)
    return [sum(ns) for ns in zip(*passed, strict=True)], [sum(ns) for ns in zip(*of, strict=True)]
