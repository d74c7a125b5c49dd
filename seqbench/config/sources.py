"""The built-in sources: where their publishers keep them, and what must come out.

Checksums: MovieLens archives are pinned alike by many independent projects. For the Amazon files a
single registry pins them, so a mismatch there is reported and left to the user (`sure=False`).
The RecBole mirror offers the same interactions in another container, without published checksums;
the counts after the 5-core are what is verified there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.checksums import remembered_sha256

DECIDES = "nothing"  # but for what `decisive` says of one source

MIB = 2**20
GROUPLENS = "https://files.grouplens.org/datasets/movielens"
AMAZON = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
RECBOLE = "https://recbole.s3-accelerate.amazonaws.com/ProcessedDatasets"

MOVIELENS_TERMS = (
    "research use with acknowledgement; no endorsement implied; no redistribution and no "
    "commercial use without permission (README in the archive)"
)
MOVIELENS_CITATION = (
    "F. M. Harper and J. A. Konstan, The MovieLens Datasets: History and Context, "
    "ACM TiiS 5(4):19, 2015, doi:10.1145/2827872"
)
AMAZON_TERMS = "offered for research with citation, no licence text; treat as not redistributable"
AMAZON_CITATION = (
    "R. He and J. McAuley, Ups and Downs, WWW 2016; J. McAuley, C. Targett, Q. Shi and "
    "A. van den Hengel, Image-based Recommendations on Styles and Substitutes, SIGIR 2015"
)


@dataclass(frozen=True)
class Origin:
    """One place that offers a source, and the form in which it does."""

    url: str
    file: str  # name in data_dir; unique among the origins of all sources
    format: str  # a key of layouts.LAYOUTS
    max_bytes: int  # more than this, packed or unpacked, is refused
    sha256: str | None = None  # of the downloaded file; None: not published
    sure: bool = True  # False: a mismatch is for the user to judge, not skipped over


@dataclass(frozen=True)
class Source:
    """A named public dataset."""

    origins: tuple[Origin, ...]  # tried in this order; the first is the publisher's
    five_core: dict[str, int]  # counts after the iterative 5-core
    time: str  # unix | rank | partial | none
    terms: str
    citation: str


def _counts(users: int, items: int, interactions: int) -> dict[str, int]:
    return {"users": users, "items": items, "interactions": interactions}


def _mirror(path: str, file: str) -> Origin:
    return Origin(f"{RECBOLE}/{path}", f"recbole-{file}", "inter", 512 * MIB)


SOURCES = {
    "ml-1m": Source(
        (
            Origin(
                f"{GROUPLENS}/ml-1m.zip",
                "ml-1m.zip",
                "movielens",
                64 * MIB,
                "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
            ),
            _mirror("MovieLens/ml-1m.zip", "ml-1m.zip"),
        ),
        _counts(6040, 3416, 999611),
        "unix",
        MOVIELENS_TERMS,
        MOVIELENS_CITATION,
    ),
    "ml-100k": Source(
        (
            Origin(
                f"{GROUPLENS}/ml-100k.zip",
                "ml-100k.zip",
                "ml-100k",
                64 * MIB,
                "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
            ),
            _mirror("MovieLens/ml-100k.zip", "ml-100k.zip"),
        ),
        _counts(943, 1349, 99287),
        "unix",
        MOVIELENS_TERMS,
        MOVIELENS_CITATION,
    ),
    "amazon-beauty": Source(
        (
            Origin(
                f"{AMAZON}/ratings_Beauty.csv",
                "ratings_Beauty.csv",
                "amazon-ratings",
                512 * MIB,
                "17d5232b90444beecfe758ce1446e5300230491f3a88ac802992ca95fc4c150f",
                sure=False,
            ),
            _mirror("Amazon_ratings/Amazon_Beauty.zip", "Amazon_Beauty.zip"),
        ),
        _counts(22363, 12101, 198502),
        "unix",
        AMAZON_TERMS,
        AMAZON_CITATION,
    ),
    "amazon-video-games": Source(
        (
            Origin(
                f"{AMAZON}/ratings_Video_Games.csv",
                "ratings_Video_Games.csv",
                "amazon-ratings",
                512 * MIB,
                "f0ca171050c2e0f208d47f5267992476b21ab68a01439c21c8be1a4432982cfa",
                sure=False,
            ),
            _mirror("Amazon_ratings/Amazon_Video_Games.zip", "Amazon_Video_Games.zip"),
        ),
        _counts(24303, 10672, 231780),
        "unix",
        AMAZON_TERMS,
        AMAZON_CITATION,
    ),
}


def raw_file(block: Mapping[str, Any], data_dir: Path) -> Path | None:
    """The file that a dataset block would be prepared from: its local copy, or one in ``data_dir``; None: a download."""
    if local := block.get("local"):
        return Path(local["path"])
    files = (data_dir / origin.file for origin in _origins(block))
    return next((file for file in files if file.is_file()), None)


def raw_content(block: Mapping[str, Any], data_dir: Path, prepared: Path) -> str | None:
    """SHA-256 that stands for the content of a dataset's file before it is read, known when planning.

    The publisher's checksum stands for a file that is still to be downloaded, and for the mirror's file that the
    data in the folder ``prepared`` were or will be made from. None: generated data, or a file that nobody has.
    """
    made_from = _made_from(prepared)
    published = next((o.sha256 for o in _origins(block)), None)
    try:
        file = raw_file(block, data_dir)
        found = remembered_sha256(file) if file is not None and file.is_file() else None
    except OSError:  # preparing says what is wrong with the file
        found = None
    if found is None:
        return published or made_from
    mirrored = published and not block.get("local") and file.name != _origins(block)[0].file
    return published if mirrored and made_from in (None, found) else found


def decisive(block: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the table above says of one dataset's source and preparing depends on; None for a source of the user's own."""
    source = SOURCES.get(block["source"])
    formats = [origin.format for origin in source.origins] if source else []
    return source and {"formats": formats, "time": source.time, "five_core": source.five_core}


def _origins(block: Mapping[str, Any]) -> tuple[Origin, ...]:
    source = SOURCES.get(block["source"])
    return source.origins if source and not block.get("local") else ()


def _made_from(prepared: Path) -> str | None:
    with suppress(OSError, ValueError, AttributeError):
        facts = json.loads((prepared / "dataset.json").read_text(encoding="utf-8"))
        return (facts.get("provenance") or {}).get("sha256")
    return None
