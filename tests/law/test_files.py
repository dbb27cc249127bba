"""Containers of logs: lines, encodings, what is cut off, and how much memory a long log takes."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from entropy_mech.errors import UserError
from entropy_mech.law import analyse_log, read_log

ENTROPY = np.linspace(1.0, 0.1, 30)
ROWS = [
    {"step": i, "entropy": float(h), "accuracy": float(0.9 - 0.2 * np.exp(h))}
    for i, h in enumerate(ENTROPY, 1)
]
LINES = [json.dumps(row) for row in ROWS]
TORN = "the last line is cut off and left out: the run was writing it"


def all_read(path, torn=False):
    log = read_log(path)
    assert log.frame["entropy_nats"].to_numpy() == pytest.approx(ENTROPY)
    assert (TORN in log.notes) == torn


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x1c", "\x0b", "\x0c", "\r"])
def test_a_line_ends_at_a_line_feed_alone(tmp_path, character):
    rows = [{**row, "text": f"one{character}two"} for row in ROWS]
    path = tmp_path / "log.jsonl"
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_bytes(text.encode())
    all_read(path)
    path = tmp_path / "log.json"
    path.write_text(json.dumps({"log_history": rows}, ensure_ascii=False))
    all_read(path)
    if character != "\r":
        pd.DataFrame(rows).to_csv(tmp_path / "log.csv", index=False)
        all_read(tmp_path / "log.csv")
        path = tmp_path / "console.log"
        path.write_text("\n".join(map(str, rows)) + "\n")
        all_read(path)


@pytest.mark.parametrize(
    "end",
    ['{"step": 31, "entr', '{"step": 31, "entropy": 0.0', "{", '{"text": "é"'.encode()[:-2],
     b"\0" * 64, '{"entropy": 1}, {'],
)  # fmt: skip
def test_the_last_line_of_a_live_run_may_be_cut_off(tmp_path, end):
    end = end.encode() if isinstance(end, str) else end
    path = tmp_path / "metrics.jsonl"
    path.write_bytes("\n".join(LINES).encode() + b"\n" + end)
    all_read(path, torn=True)
    all_read(tmp_path, torn=True)
    path.write_bytes("\n".join([*LINES[:9], ""]).encode() + end + "\n".join(["", *LINES]).encode())
    with pytest.raises(UserError, match=r"metrics\.jsonl line 10: not JSON"):
        read_log(path)
    path.write_bytes("\n".join(LINES).encode() + b"\n" + end + b"\n")
    with pytest.raises(UserError, match="line 31: not JSON"):
        read_log(tmp_path)


def test_a_cut_off_row_of_a_table_and_a_cut_off_step_of_a_console(tmp_path):
    path = tmp_path / "log.csv"
    text = pd.DataFrame(ROWS).to_csv(index=False)
    path.write_text(text + "31,0.0")
    all_read(path, torn=True)
    path.write_text(text.rstrip("\n"))
    all_read(path)
    path = tmp_path / "verl.log"
    steps = [
        f"step:{r['step']} - actor/entropy:{r['entropy']} - critic/score/mean:{r['accuracy']}"
        for r in ROWS
    ]
    for end, torn in (("\nstep:31 - actor/entropy:0.0", True), ("", False), ("\n", False)):
        path.write_text("\n".join(steps) + end)
        all_read(path, torn)
    path = tmp_path / "trl.log"
    path.write_text("\n".join(map(str, ROWS)) + "\n{'step': 31, 'entr")
    all_read(path, torn=True)


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.encode("utf-16"),
    ],
    ids=["bom", "crlf", "utf-16"],
)
def test_encodings_and_line_ends(tmp_path, encode):
    for name, text in (
        ("a.jsonl", "\n".join(LINES) + "\n"),
        ("a.csv", pd.DataFrame(ROWS).to_csv(index=False)),
        ("a.json", json.dumps(ROWS)),
        ("a.log", "\n".join(map(str, ROWS)) + "\n"),
    ):
        (tmp_path / name).write_bytes(encode(text))
        all_read(tmp_path / name)


def test_forms_of_json_and_of_tables(tmp_path):
    frame, path = pd.DataFrame(ROWS), tmp_path / "a.json"
    for text in (
        json.dumps(ROWS, indent=2),
        "\n".join(LINES),
        json.dumps({"config": {}, "history": ROWS}),
        json.dumps({"config": {}, **frame.to_dict("list")}),
        " [ ] ".join(["", json.dumps(ROWS)[1:-1]]).replace(" [ ] ", "[") + "]",
    ):
        path.write_text(text)
        all_read(path)
    for step in (frame["step"], [f"{100 * i:,}" for i in frame["step"]]):
        frame.assign(step=step).to_csv(tmp_path / "a.csv", index=False, sep=";")
        all_read(tmp_path / "a.csv")
    assert read_log(tmp_path / "a.csv").frame["step"].tolist() == list(range(100, 3001, 100))
    frame.assign(data=[{"note": 1.0}] * 30).to_parquet(tmp_path / "a.parquet")
    all_read(tmp_path / "a.parquet")


TABLE = pd.DataFrame(ROWS).to_csv(index=False)
HEADER, BODY = TABLE.split("\n", 1)
NUMPY = "# a note\n# " + TABLE


@pytest.mark.parametrize(
    "text",
    [
        TABLE.replace(",", ", "), TABLE.replace(",", " ,"), TABLE.replace(",", "|"),
        HEADER + "\n" + BODY.replace("\n", ",\n"), HEADER + ",\n" + BODY.replace("\n", ",\n"),
        "# seed 1\n\n# lr 1e-6\n" + TABLE, NUMPY, "#" + TABLE, "sep=,\n" + TABLE, "\n" + TABLE,
        TABLE.replace("\n9,", f"\n{HEADER}\n9,"),  # a resume writes the header again
        "".join(f"{line},{cell}\n" for line, cell in zip(TABLE.splitlines(), [
            "test_acc", "None", "null", "NA", *[""] * 27], strict=True)),
    ],
)  # fmt: skip
def test_tables_as_people_write_them(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(text)
    log = read_log(path, performance="accuracy")
    assert log.frame["entropy_nats"].to_numpy() == pytest.approx(ENTROPY)
    assert log.frame["step"].tolist() == list(range(1, 31))
    assert log.step_column == "step"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "entropy,accuracy,entropy\n1,2,3\n", "column 'entropy' comes twice"),
        ("a.csv", TABLE.replace("\n", ",7\n").replace(",7", "", 1), "more cells than the header"),
        ("a.csv", "step,entropy,accuracy\n1,0,9,0,4\n2,0,8,0,5\n", "write decimals with a point"),
        ("a.csv", "step;entropy;accuracy\n1;0,9;0,4\n", "'0,9' is not a number: write it like"),
        ("a.json", json.dumps(ROWS)[:-9], "cannot be read"),
        ("a.log", "nothing here\n", "console text with lines 'step:N - key:value"),
        ("a.jsonl", '{"entropy": true, "accuracy": 1}\n', "'True' is not a number"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        read_log(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nan_is_refused_only_where_it_matters(tmp_path):
    rows = [{**row, "grad/entropy_norm": float("nan"), "loss": float("inf")} for row in ROWS]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    all_read(path)


def test_the_log_in_a_folder_is_found(tmp_path):
    for step in (100, 20):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": ROWS[:step]}))
    (tmp_path / "checkpoint-20" / "trainer_state.json").touch()
    assert read_log(tmp_path).frame["step"].max() == 30
    (tmp_path / "logging.jsonl").write_text("\n".join(LINES[:20]))
    assert len(read_log(tmp_path).frame) == 20
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.csv").write_text(pd.DataFrame(ROWS).to_csv(index=False))
    all_read(other)
    (other / "b.csv").write_text(pd.DataFrame(ROWS).to_csv(index=False))
    with pytest.raises(UserError, match=r"holds 2 files \(a.csv, b.csv\): name one of them"):
        read_log(other)


READS = """
import resource, sys
from entropy_mech.law import read_log
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert len(read_log(sys.argv[1]).frame) == int(sys.argv[2])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_long_log_takes_little_more_memory_than_its_numbers(tmp_path, suffix):
    rows, keys = 60_000, [f"perf/key_{i}/mean" for i in range(17)]
    entropy = np.linspace(1.0, 0.1, rows)
    frame = pd.DataFrame({"step": range(rows), "actor/entropy": entropy, "reward": 1 - entropy})
    frame = frame.assign(**dict.fromkeys(keys, 0.123456789), text="a long answer " * 20)
    path = tmp_path / f"log.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=suffix == "jsonl")
    done = subprocess.run(
        [sys.executable, "-c", READS, path, str(rows)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 10 * rows * 21 * 8 / 2**20  # as objects it was fifty times that


def test_points_beyond_twenty_thousand_are_averaged_over_neighbours(tmp_path):
    entropy = np.linspace(1.0, 0.1, 50_001)
    pd.DataFrame({"entropy": entropy, "accuracy": 0.9 - 0.2 * np.exp(entropy)}).to_csv(
        tmp_path / "log.csv", index=False
    )
    report, _ = analyse_log(tmp_path / "log.csv")
    assert "note: 50001 points, averaged over 3 neighbours each" in report.text()
    assert (report.fit.a, report.fit.b) == pytest.approx((0.2, 0.9), abs=1e-9)
