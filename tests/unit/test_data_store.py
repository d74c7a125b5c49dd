"""Opening refuses what is missing or damaged, and says how to make it anew."""

import numpy as np
import pytest

from seqbench.core.errors import UserError
from seqbench.data import open_dataset, prepare


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own.csv").write_text("user,item,t\n" + "1,a,1000000000\n1,b,1000000001\n" * 3)
    local = {"path": str(tmp_path / "own.csv"), "columns": {"time": "t"}}
    prepare("own", {"source": "file", "local": local, "k_core": 1}, tmp_path, tmp_path / "out")
    return tmp_path / "out"


def corrupt_info(out):
    (out / "dataset.json").write_text("{")


def old_schema(out):
    (out / "dataset.json").write_text('{"schema": 0}')


def cut_items(out):
    content = (out / "items.npy").read_bytes()
    (out / "items.npy").write_bytes(content[:-4])


def flip_item(out):
    content = bytearray((out / "items.npy").read_bytes())
    content[-4] ^= 1
    (out / "items.npy").write_bytes(content)


def lose_times(out):
    (out / "times.npy").unlink()


def other_type(out):
    np.save(out / "items.npy", np.load(out / "items.npy").astype(np.int64))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (corrupt_info, "dataset.json is not valid JSON"),
        (old_schema, "schema 0, expected 1"),
        (cut_items, "items.npy cannot be read"),
        (flip_item, "differ from their hash"),
        (lose_times, "times.npy cannot be read"),
        (other_type, "holds int64"),
    ],
)
def test_damaged_folders(folder, damage, message):
    open_dataset(folder)
    damage(folder)
    with pytest.raises(UserError, match=message) as caught:
        open_dataset(folder)
    assert "prepare it with: snakemake --cores 1" in str(caught.value)


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match=r"dataset\.json does not exist; prepare it with"):
        open_dataset(tmp_path / "nothing")
