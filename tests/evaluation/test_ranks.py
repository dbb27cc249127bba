"""An evaluation by two processes: the rows and scores of one, killed or not."""

import json
import subprocess
import sys

import pytest

from entropy_mech.cli import main
from entropy_mech.errors import UserError
from entropy_mech.evaluation.suite import Evaluation
from entropy_mech.problems.benchmarks import load_toy_benchmark
from entropy_mech.sampling.torch_sampler import TorchSampler
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.pretrain import base_model, prepare_base_model
from tests.conftest import tiny

BENCHMARKS = ("toy_maths_8", "toy_code_4")
# A rank that dies in the middle of a line; the launcher then ends the other.
PROGRAM = """
import json, os, signal, sys
from entropy_mech.cli import main
from entropy_mech.evaluation import suite

append, count = suite.MetricsFile.append, [0]

def watched(self, row):
    count[0] += 1
    if (os.environ["RANK"], count[0]) == (sys.argv[1], int(sys.argv[2])):
        with self.path.open("ab") as file:
            file.write(json.dumps(row).encode()[:20])
        os.kill(os.getpid(), signal.SIGKILL)
    append(self, row)

suite.MetricsFile.append = watched
sys.exit(main(sys.argv[3:]))
"""


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """Return a function that evaluates on two ranks, of which one dies at an append (0: none)."""
    program = tmp_path_factory.mktemp("program") / "evaluate.py"
    program.write_text(PROGRAM)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]

    def run(words, rank=0, append=0):
        done = subprocess.run(
            [*launcher, str(program), str(rank), str(append), *words],
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert (done.returncode == 0) == (append == 0), done.stdout + done.stderr[-3000:]
        return done.stdout

    return run


def _words(store, out):
    model = prepare_base_model(store.root, tiny())
    words = ["evaluate", str(model), "--benchmarks", *BENCHMARKS, "--limit", "9"]
    return [*words, "--batch-size", "4", "--out", str(out)]


def _written(folder):
    scores = json.loads((folder / "scores.json").read_text())["scores"]
    return scores, [(folder / f"{name}.jsonl").read_text() for name in BENCHMARKS]


@pytest.fixture
def by_one(store, tmp_path, monkeypatch):
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(store.root))
    assert main(_words(store, tmp_path / "one")) == 0
    return _written(tmp_path / "one")


@pytest.mark.long
def test_killed_twice_and_resumed_by_two_ranks_and_by_one(store, tmp_path, two_ranks, by_one):
    by_two, again = tmp_path / "two", tmp_path / "again"
    two_ranks(_words(store, by_two), rank=1, append=5)
    assert (by_two / "toy_maths_8.rank1.jsonl").read_bytes().count(b"\n") == 4
    said = two_ranks(_words(store, by_two))
    assert _written(by_two) == by_one
    assert said.count("toy_code_4 ") == 1  # rank 0 speaks for both
    assert not list(by_two.glob("*.rank*"))

    two_ranks(_words(store, again), rank=0, append=7)
    assert main(_words(store, again)) == 0
    assert _written(again) == by_one


class _Two(Ranks):
    """Rank 0 of two whose other process has written elsewhere."""

    size = 2

    def __init__(self):
        self.rank = 0

    def from_first(self, value):
        return value

    def meet(self, where):
        pass


def test_samples_that_another_host_did_not_share_are_missed(store, tmp_path):
    model, tokenizer = base_model(store.root, tiny())
    sampler = TorchSampler(
        model, pad_token=tokenizer.pad_token_id, eos_token=tokenizer.eos_token_id
    )
    problems, protocol = load_toy_benchmark("toy_maths_8")
    evaluation = Evaluation(tmp_path, sampler, tokenizer, ranks=_Two())
    with pytest.raises(UserError, match=r"18 samples of a are not there.* that all hosts share"):
        evaluation.run("a", problems[:9], protocol)
