"""Progress of long work: a bar in a terminal, plain lines in a log."""

from __future__ import annotations

import sys

from tqdm import tqdm

DECIDES = "nothing"


class Progress:
    """Counts steps of ``total``; ``line`` prints a sentence without tearing the bar."""

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label = label
        bar = sys.stderr.isatty()
        self._bar = tqdm(total=total, initial=done, desc=label, unit="step", disable=not bar)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self) -> None:
        """One step is done."""
        self._bar.update()

    def line(self, text: str) -> None:
        """Print ``text`` behind the label."""
        tqdm.write(f"{self.label}: {text}", file=sys.stderr)
        sys.stderr.flush()
