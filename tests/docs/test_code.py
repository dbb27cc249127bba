"""Every block of code in README.md and docs/ is executed, or checked by what would read it.

Python runs in order, in one namespace a page; commands are parsed by the real parser and run where
that is cheap; differences apply to a copy of the package. What is only looked at is listed here.
"""

from __future__ import annotations

import contextlib
import io
import re

import pytest

from entropy_mech.cli import main
from tests.docs.checkout import Checkout
from tests.docs.commands import check, lines_of, parse, write_log
from tests.docs.pages import BLOCKS, PAGES, ROOT, Block
from tests.needs import needs_trl

EXECUTED = ("python", "sh", "toml", "diff")
# Blocks that are no code, by their first words.
TEXT = {
    "README.md": ["pyproject.toml, environment.yml"],
    "docs/guides/diagnose.md": ["inert_kl_cov: KL-Cov does nothing: this is plain policy gradient"],
}
# What a page prints, in this order.
PRINTED = {
    "README.md": ["\n4\n", "correct\n", "name='wrong'", "passed=1, total=2"],
    "docs/guides/grading.md": ["[1.0, 0.0]", "'no_answer': 1"],
    "docs/guides/integrations.md": ["[1.0, 0.0]\n", "[1.0]\n"],
    "docs/guides/adding_a_benchmark.md": ["2 1\n", "['42', '144']\n", "correct\n", "'all': 0."],
    "docs/guides/adding_a_figure.md": ["0.05 [0.05, 0.05]", "reproduced", "['holds']", "2\n"],
    "docs/guides/adding_an_objective.md": ["[[-0.6399", ", -0.5]]\n", "[[True, False]]\n"],
}


def _parameters():
    for block in BLOCKS:
        if block.language in EXECUTED:
            needs = [needs_trl] if block.needs_trl else []
            yield pytest.param(block, id=str(block), marks=needs)


@pytest.fixture(scope="module")
def checkouts(tmp_path_factory):
    """The pages' checkouts, by page; made when the first block is reached."""
    made: dict[str, Checkout] = {}

    def of(page: str) -> Checkout:
        if page not in made:
            made[page] = Checkout(page, tmp_path_factory.mktemp("page"))
        return made[page]

    return of


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("block", list(_parameters()))
def test_block(block: Block, checkouts, monkeypatch, capsys):
    checkout = checkouts(block.page)
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(checkout.folder / "runs"))
    with contextlib.chdir(checkout.folder):
        _prepare(block, checkout)
        checkout.reach(block)
    if block.needs_trl:
        assert checkout.names["trainer"].state.global_step == 2
    checkout.printed += capsys.readouterr().out
    if block in [b for b in BLOCKS if b.page == block.page and b.language == "python"][-1:]:
        place = 0
        for text in PRINTED[block.page]:
            place = checkout.printed.find(text, place)
            assert place >= 0, f"{text!r} is not in {checkout.printed!r}"


def _prepare(block: Block, checkout: Checkout) -> None:
    """Put there what a page says is the reader's own."""
    if block.needs_trl:
        from datasets import Dataset

        from tests.integrations.tiny_model import TOKENIZER, tiny_model

        tiny_model().save_pretrained("model")
        TOKENIZER.save_pretrained("model")
        data = Dataset.from_dict({"prompt": ["1+1=", "1+2="], "answer": ["2", "3"]})
        checkout.names |= {"model": "model", "dataset": data}
    for name, seed in re.findall(r"(?:launch\(\"|follow )(\w+)(?:\", seed=(\d))?", block.text):
        # The run is there already, as a log that was imported: nothing is left to train.
        write_log(checkout.folder / "log.jsonl", 48)
        words = ["import-run", name, "log.jsonl", "--profile", "toy", "--seed", seed or "1"]
        assert main([*words, "--replace"]) == 0


def test_no_block_is_of_an_unknown_kind():
    for block in BLOCKS:
        assert block.language in (*EXECUTED, "text"), f"{block}: {block.language!r}"


def test_text_is_listed():
    there: dict[str, list[str]] = {}
    for block in BLOCKS:
        if block.language == "text":
            there.setdefault(block.page, []).append(re.split(r"\s{2,}|\n", block.text)[0])
    assert there == TEXT


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_inside_sentences_are_understood(page):
    text = re.sub(r"^(`{3,}).*?^\1$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for command in re.findall(r"`((?:entropy-mech|make) [^`\[]+)`", text):
        (line,) = lines_of(command.replace("...", ""))
        if line.startswith("make"):
            check(line)
        else:
            words = line.split()[1:]
            with contextlib.redirect_stdout(io.StringIO()):
                parse(words if len(words) > 1 else [*words, "--help"])


def test_a_wrong_command_is_seen():
    for line in (
        "entropy-mech train reproduce/runs/kl_cov.toml --sed 3",
        "entropy-mech reproduce fig99",
        "make reproduc",
        "make reproduce SEDS=3",
        "papermill notebooks/lemma1.ipynb out.ipynb -p polices 50",
        "pip install 'entropy-mech[tlr]'",
        "NO_SUCH_VARIABLE=1 entropy-mech doctor",
    ):
        with contextlib.chdir(ROOT), pytest.raises(AssertionError):
            check(line)
    with pytest.raises(NotImplementedError):
        check("rm -rf runs")
