"""Data files with rows that cannot be used: one line with file, row, column, value and fix."""

import json

import pandas as pd
import pytest

from entropy_mech.errors import UserError
from entropy_mech.problems.benchmarks import load_benchmark
from entropy_mech.problems.sources import load_training_set

GOOD = {"problem": "What is 1+1?", "answer": "2"}
LINE = json.dumps(GOOD)


def refused(folder, name="math500"):
    with pytest.raises(UserError) as caught:
        load_benchmark(name, folder)
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) < 700
    return line


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([LINE, "{"], "line 2 is not JSON"),
        ([LINE, "", LINE, '{"problem": "x", "ans'], "line 4 is not JSON"),
        ([LINE, "nan?"], "line 2 is not JSON"),
        ([LINE, "3"], "line 2 is not a JSON object: give one JSON object a row"),
        ([LINE, "[]"], "line 2 is not a JSON object"),
        ([LINE, "null"], "line 2 is not a JSON object"),
        ([LINE, '"text"'], "line 2 is not a JSON object"),
        ([LINE, "\0\0"], "line 2 is not JSON"),
        ([LINE, "[" * 50_000], "line 2 is not JSON"),
        ([LINE, '{"answer": "2"}'], "line 2 has none of the columns problem, question, prompt"),
        ([LINE, '{"problem": "x"}'], "line 2 has none of the columns answer"),
        ([LINE, "{}"], "line 2 has none of the columns"),
        ([LINE, '{"problem": 5, "answer": "2"}'], "line 2, column problem = 5: give text"),
        ([LINE, '{"problem": "", "answer": "2"}'], "line 2, column problem = '': give text"),
        ([LINE, '{"problem": "  ", "answer": "2"}'], "line 2, column problem = ' ': give text"),
        ([LINE, '{"problem": [], "answer": "2"}'], "line 2, column problem = []: give text"),
        ([LINE, '{"problem": {}, "answer": "2"}'], "line 2, column problem = {}: give text"),
        ([LINE, '{"problem": ["x"], "answer": "2"}'], "line 2, column problem = ['x']: give text"),
        ([LINE, '{"problem": [{"role": "user"}], "answer": "2"}'], "line 2, column problem = "),
        ([LINE, '{"problem": true, "answer": "2"}'], "line 2, column problem = True: give text"),
        (
            [LINE, '{"problem": "x", "answer": "2", "error": "small"}'],
            "line 2, column error = small: give a number",
        ),
        (
            [LINE, '{"problem": "x", "answer": "2", "error": [1]}'],
            "line 2, column error = [1]: give a number",
        ),
        (
            [LINE, '{"problem": "x", "answer": "2", "error": true}'],
            "line 2, column error = True: give a number",
        ),
    ],
)
def test_a_malformed_line_is_named(tmp_path, lines, message):
    (tmp_path / "math500.jsonl").write_text("\n".join(lines))
    line = refused(tmp_path)
    assert message in line
    assert "math500.jsonl" in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("", "cannot be read"),
        ("3", "give one JSON object a row"),
        ("{}", "give one JSON object a row"),
        ("[]", "no row is left"),
        (f"[{LINE}, 3]", "row 2 is not a JSON object"),
        (f"[{LINE}, null]", "row 2 is not a JSON object"),
        (f'[{LINE}, {{"problem": 7, "answer": "2"}}]', "row 2, column problem = 7: give text"),
    ],
)
def test_a_malformed_json_file_is_named(tmp_path, text, message):
    (tmp_path / "math500.json").write_text(text)
    assert message in refused(tmp_path)


def test_a_malformed_parquet_file_is_named(tmp_path):
    (tmp_path / "math500.parquet").write_bytes(b"PAR1 and no more")
    assert "cannot be read" in refused(tmp_path)
    frame = pd.DataFrame({"problem": ["x", None], "answer": ["1", "2"]})
    frame.to_parquet(tmp_path / "math500.parquet")
    line = refused(tmp_path)
    assert "math500.parquet, row 2" in line
    assert "problem" in line


def test_a_file_of_the_wrong_encoding_or_a_folder_is_named(tmp_path):
    (tmp_path / "math500.jsonl").write_bytes(LINE.encode("utf-16"))
    assert "cannot be read" in refused(tmp_path)
    (tmp_path / "math500.jsonl").unlink()
    (tmp_path / "math500.jsonl").mkdir()
    assert "cannot be read" in refused(tmp_path)


def test_what_is_no_fault_is_read(tmp_path):
    rows = [GOOD, {"problem": [{"role": "user", "content": "And 2+2?"}], "answer": "4"}]
    rows.append({"problem": "A line\u2028in a line\x85?", "answer": "1", "error": None})
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "math500.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n\r\n")
    loaded = load_benchmark("math500", tmp_path)
    assert [p.text for p in loaded.problems] == ["What is 1+1?", "And 2+2?", rows[2]["problem"]]
    # Missing numbers come from a table as NaN.
    frame = pd.DataFrame({"problem": ["x", "y"], "answer": ["1", "2"], "error": [None, 0.5]})
    folder = tmp_path / "table"
    folder.mkdir()
    frame.to_parquet(folder / "math500.parquet")
    first, second = load_benchmark("math500", folder).problems
    assert (first.absolute_tolerance, second.absolute_tolerance) == (0.0, 0.5)


def test_training_sets_are_read_alike(tmp_path):
    (tmp_path / "gsm8k.jsonl").write_text('{"question": "x", "answer": "1"}\n{"question": 3}\n')
    with pytest.raises(UserError, match=r"gsm8k.jsonl, line 2"):
        load_training_set("gsm8k", tmp_path)
