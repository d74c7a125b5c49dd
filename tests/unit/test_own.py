"""What `make own` makes of a file: a configuration that is valid, or one line that names what to say instead."""

import gzip

import pytest
import yaml

from seqbench.config.load import load
from seqbench.core.errors import UserError
from tools.own import configuration

HEAD = "user,item,time\n"
ALL = {name: name for name in ("user", "item", "time")}
PAIR = {name: name for name in ("user", "item")}


def given(folder, text, **variables):
    file = folder / "clicks.csv"
    file.write_text(text)
    return {"CSV": str(file), **variables}


@pytest.mark.parametrize(
    ("text", "variables", "columns", "time"),
    [
        (f"{HEAD}1,2,1500000000\n", {}, ALL, "unix"),
        (f"{HEAD}1,2,3\n", {"TIME": "rank"}, ALL, "rank"),
        (f"{HEAD}1,2,noon\n", {"TIME": "none"}, PAIR, None),
        ("user,item\n1,2\n", {"COLUMNS": "{user: user, item: item}"}, PAIR, None),
        ("a,b\n1,2\n", {"COLUMNS": "{user: b, item: a}"}, {"user": "b", "item": "a"}, None),
    ],
)
def test_a_file_becomes_a_valid_configuration(tmp_path, text, variables, columns, time):
    found = configuration(given(tmp_path, text, **variables))
    local = found["datasets"]["own"]["local"]
    assert (local["columns"], local.get("time")) == (columns, time)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(found))
    assert load([tmp_path / "own.yaml"])["run"]["datasets"] == ["own"]


@pytest.mark.parametrize(
    ("text", "variables", "said"),
    [
        ("user,item\n1,2\n", {}, r'COLUMNS="\{user: user, item: item\}"'),
        ("user,item\n1,2\n", {"COLUMNS": "user"}, "COLUMNS=user"),
        (f"{HEAD}1,2,3\n", {}, "TIME=rank"),
        (f"{HEAD}1,2,2020-01-01\n", {}, "TIME=none"),
        (f"{HEAD}1,2,3\n", {"TIME": "days"}, "TIME=days"),
        ("", {}, "no lines"),
        (HEAD, {"CSV": ""}, "CSV="),
        (HEAD, {"CSV": "no.csv"}, "CSV=no.csv"),
        (f"{HEAD}1,2,1500000000000\n", {}, "TIME=unix-ms, TIME=rank"),
        (f"{HEAD}1,2,3\n", {"COLUMNS": "{user: a, user: b}"}, "stands in line 1 and in line 1"),
        (f"{HEAD}1,2,3\n", {"COLUMNS": "{user: user, item: on}"}, "YAML reads on as true"),
    ],
)
def test_what_cannot_be_taken_is_named_with_what_to_say(tmp_path, text, variables, said):
    with pytest.raises(UserError, match=said) as error:
        configuration(given(tmp_path, text) | variables)
    assert "\n" not in str(error.value)


def test_a_name_may_hold_what_shells_read_and_the_file_may_be_packed(tmp_path):
    file = tmp_path / "it's {my} $HOME.csv.gz"
    file.write_bytes(gzip.compress(f"{HEAD}1,2,1500000000\n".encode()))
    found = configuration({"CSV": str(file)})
    assert found["datasets"]["own"]["local"]["path"] == str(file)


def test_the_home_folder_is_meant_by_its_sign(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "clicks.csv").write_text(f"{HEAD}1,2,1500000000\n")
    found = configuration({"CSV": "~/clicks.csv"})
    assert found["datasets"]["own"]["local"]["path"] == str(tmp_path / "clicks.csv")
