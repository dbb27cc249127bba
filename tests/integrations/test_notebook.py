"""The notebook trains where TRL is, and says what to install where it is not."""

import json
import subprocess
import sys
from pathlib import Path

from entropy_mech.integrations import trl_demo

ROOT = Path(__file__).parents[2]


def _papermill(folder, **parameters):
    words = [sys.executable, "-m", "papermill", "--no-progress-bar"]
    words += [str(ROOT / "notebooks" / "with_trl.ipynb"), str(folder / "out.ipynb")]
    for name, value in parameters.items():
        words += ["-p", name, str(value)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    cells = json.loads((folder / "out.ipynb").read_text())["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


def test_the_notebook_passes_and_is_quiet(tmp_path, module_store, monkeypatch):
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(module_store))
    outputs = _papermill(tmp_path, steps=4, out_dir=tmp_path / "kept")
    assert any("image/png" in output.get("data", {}) for output in outputs)
    printed = ["".join(o["text"]) for o in outputs if o["output_type"] == "stream"]
    if (tmp_path / "kept").exists():
        assert not printed
        lines = (tmp_path / "kept" / "trl-kl_cov" / "steps.jsonl").read_text().splitlines()
        assert len(lines) == 4
        assert all(json.loads(line)["entropy_nats"] > 0 for line in lines)
    else:
        (said,) = printed
        assert said.count("\n") == 1
        assert "pip install 'entropy-mech[trl]'" in said


def test_without_trl_nothing_is_trained(monkeypatch, capsys):
    monkeypatch.setattr(trl_demo.importlib.util, "find_spec", lambda name: None)
    log = trl_demo.train_with_trl(["kl_cov"])
    assert list(log.columns) == list(trl_demo.COLUMNS)
    assert log.empty
    assert capsys.readouterr().out.startswith("TRL is not installed here")
