"""Tables as CSV, Markdown and LaTeX: the same cells, raw numbers in the first, everything escaped in the last."""

import csv
import io
import re
import shutil
import subprocess

import pytest

from seqbench.report.tables import Cell, Column, Table, latex, markdown, save, spans

TABLE = Table(
    "example",
    "An example",
    [Column("Model", number=False), Column("NDCG", over="kept"), Column("HR", over="kept"), Column("Why", number=False)],
    [
        [Cell("group of 100 %")],
        [Cell("a_b"), Cell("0.156", "[0.150, 0.163]", 0.15612, "best"), Cell("0.28", value=0.28), Cell("x | y & {z} #1 ~^")],
        [Cell("[c]"), Cell("–", mark="muted"), Cell("−0.1 ± 2", "3 seeds", -0.1), Cell("▲ better ≤ 1 × 2 $")],
    ],
    ["a note of 5 %"],
)  # fmt: skip


def test_csv_holds_raw_numbers_and_headings_as_a_column(tmp_path):
    save(TABLE, tmp_path)
    rows = list(csv.reader(io.StringIO((tmp_path / "example.csv").read_text(encoding="utf-8"))))
    assert rows[0] == ["group", "Model", "kept: NDCG", "kept: HR", "Why"]
    assert rows[1][:4] == ["group of 100 %", "a_b", "0.15612", "0.28"]
    assert len(rows) == 3 and rows[2][2] == "–"
    assert {file.name for file in tmp_path.iterdir()} == {f"example.{k}" for k in ("csv", "md", "tex")}  # fmt: skip


def test_markdown_has_a_row_per_row_and_the_best_in_bold():
    lines = [line for line in markdown(TABLE).splitlines() if line.startswith("|")]
    assert len(lines) == 5 and {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {5}
    assert "**0.156** [0.150, 0.163]" in lines[3] and "−0.1 ± 2 (3 seeds)" in lines[4]


def test_latex_is_balanced_and_escaped():
    text = latex(TABLE)
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert r"\textbf{0.156} [0.150, 0.163]" in body and "{}[c]" in body
    assert len(re.findall(r"(?<!\\)&", body)) == 3 * 3 and r"a\_b" in body
    assert not re.search(r"(?<!\\)[%#]", body)
    assert len(re.findall(r"(?<!\\)\{", body)) == len(re.findall(r"(?<!\\)\}", body))
    assert body.isascii()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex here")
def test_latex_compiles(tmp_path):
    document = r"\documentclass{article}\usepackage{booktabs,amssymb,textcomp}\begin{document}"
    (tmp_path / "x.tex").write_text(f"{document}\n{latex(TABLE)}\n\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_upper_header_joins_equal_neighbours():
    assert spans(TABLE.columns) == [("", 1), ("kept", 2), ("", 1)]
