"""The guide's code runs; its notebook trains where TRL is, and says what to install where not."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from entropy_mech.integrations import trl_demo
from tests.needs import needs_trl, needs_verl

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "integrations.md").read_text()
IN_TRL, REWARDS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@needs_trl
@pytest.mark.filterwarnings("ignore")
def test_the_trainer_of_the_guide_trains(tmp_path, monkeypatch):
    from datasets import Dataset

    from tests.integrations.tiny_model import TOKENIZER, tiny_model

    monkeypatch.chdir(tmp_path)
    tiny_model().save_pretrained("model")
    TOKENIZER.save_pretrained("model")
    data = Dataset.from_dict({"prompt": ["1+1=", "1+2="], "answer": ["2", "3"]})
    names = {"model": "model", "dataset": data}
    exec(compile(IN_TRL, "integrations.md", "exec"), names)
    assert names["trainer"].state.global_step == 2


def test_the_rewards_of_the_guide(capsys):
    exec(compile(REWARDS, "integrations.md", "exec"), {})
    assert capsys.readouterr().out == "[1.0, 0.0]\n[1.0]\n"


@needs_verl
def test_verls_settings_of_the_guide_exist():
    """In a process of its own, since verl and TRL cannot be imported together."""
    code = (
        "import sys; sys.modules['trl'] = None\n"
        "from entropy_mech.integrations.verl import LOSS_MODES\n"
        "from verl.workers.config import HFModelConfig\n"
        "from verl.workers.config.actor import PolicyLossConfig\n"
        "from verl.utils.import_utils import load_extern_object\n"
        "place = 'pkg://entropy_mech.integrations.rewards'\n"
        "assert load_extern_object(place, 'verl_math_score')('', '1', '1')['score'] == 1\n"
        "names = [*PolicyLossConfig.__dataclass_fields__, *HFModelConfig.__dataclass_fields__]\n"
        "print(*LOSS_MODES, *names)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    known = set(done.stdout.split())
    settings = re.findall(r"^    actor_rollout_ref\S*?(\w+)=(\S+)", GUIDE, re.MULTILINE)
    assert {name for name, _ in settings} <= known
    assert dict(settings)["loss_mode"] in known
    assert set(re.findall(r"`(\w+_cov_\w+_batch)`", GUIDE)) <= known


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
