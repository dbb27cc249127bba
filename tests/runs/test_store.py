"""A file or folder that is written is whole or not there, whatever happens meanwhile."""

import signal
import subprocess
import sys

import pytest

from entropy_mech.runs.store import atomic_write, write_json


def test_a_file_or_a_folder_takes_the_place_of_another(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    write_json(tmp_path / "a.json", {"x": 2})
    assert (tmp_path / "a.json").read_text() == '{\n "x": 2\n}\n'
    for text in ("old", "new"):
        with atomic_write(tmp_path / "folder") as temporary:
            (temporary / "inside").mkdir(parents=True)
            (temporary / "inside" / text).write_text(text)
    assert [p.name for p in (tmp_path / "folder" / "inside").iterdir()] == ["new"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "folder"]


@pytest.mark.parametrize("is_folder", [False, True])
def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path, is_folder):
    write_json(tmp_path / "a.json", [])

    def write_half():
        with atomic_write(tmp_path / "a.json") as temporary:
            temporary.mkdir() if is_folder else temporary.write_text("half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_half()
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "[]\n"


def test_what_a_kill_left_half_is_not_the_file(tmp_path):
    program = """
import os, signal, sys
from pathlib import Path
from entropy_mech.runs.store import atomic_write
with atomic_write(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "a.json"
    write_json(path, [])
    done = subprocess.run([sys.executable, "-c", program, str(path)], timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "[]\n"
