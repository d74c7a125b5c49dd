"""Interaction data: from a publisher's file, or a seeded generator, to arrays that open instantly.

Opening needs numpy only; downloading, parsing and generating live in modules that are loaded when
something is prepared.
"""

from pathlib import Path

from .store import Dataset, open_dataset

__all__ = ["Dataset", "open_dataset", "prepare"]


def prepare(name: str, definition: dict, data_dir: Path, out: Path) -> dict:
    """Turn one dataset block of the configuration into the folder `out`; returns its dataset.json.

    Raises UserError when a file cannot be had, differs from its checksum, holds a bad row, or does
    not give the expected counts. An older `out` stays as it was until the new data are complete.
    """
    from .pipeline import build  # keeps pyarrow out of every process that only opens

    return build(name, definition, Path(data_dir), Path(out))
