"""Do the scan kernels of this machine compute what the reference computes? Run before numbers are trusted."""

from __future__ import annotations

from models._scan import selfcheck as compare

from . import device


def selfcheck() -> int:
    """Print one line per backend and check; 1 if a kernel made for this device fails or cannot run, else 0."""
    where = device.pick()
    rows = compare(where)
    for row in rows:
        print(_line(row))
    verdict = "ok" if all(row["ok"] for row in rows) else "FAILED"
    print(f"selfcheck on {where.type}: {verdict}")
    return int(verdict != "ok")


def _line(row: dict) -> str:
    if row["reason"]:
        return f"{row['backend']:10} cannot run: {row['reason']}"
    error, tolerance = row["relative_error"], row["tolerance"]
    verdict = "ok" if row["ok"] else "WRONG"
    return f"{row['backend']:10} {row['check']:34} {error:.1e} (at most {tolerance:.0e}) {verdict}"
