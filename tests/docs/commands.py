"""A line of a shell block, checked: parsed by what would read it, and run where that is cheap.

``python -m tests.docs.commands LINE`` does the same in another checkout.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import typer
from typer.exceptions import TyperException

from entropy_mech.cli import main
from tests.command_line import parsed
from tests.docs.verl_words import check_verl

ROOT = Path(__file__).parents[2]


def lines_of(text: str) -> list[str]:
    """Return the commands of a block: continued lines joined, comments gone, ``&&`` taken apart."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while "&&" in words:
            place = words.index("&&")
            found.append(shlex.join(words[:place]))
            words = words[place + 1 :]
        found += [shlex.join(words)] if words else []
    return found


def check(line: str) -> None:
    """Check one command in the current folder; what is wrong is an AssertionError.

    Raises:
        NotImplementedError: a program that nothing here knows how to check.

    """
    words = shlex.split(line)
    while re.match(r"[A-Z_]+=", words[0]):
        name = words.pop(0).partition("=")[0]
        sources = (ROOT / "entropy_mech").rglob("*.py")
        assert any(f'"{name}"' in path.read_text() for path in sources), f"nobody reads {name}"
    program = words[0].removeprefix(".venv/bin/")
    if program not in _PROGRAMS:
        raise NotImplementedError(f"{line}: say in tests/docs/commands.py how {program} is checked")
    _PROGRAMS[program](words[1:])


def parse(words: list[str]) -> tuple[str, SimpleNamespace]:
    """Return the command and what it takes; a fault of the user is an AssertionError."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            name, parameters = parsed(words)
    except typer.Exit:  # --help
        return "", SimpleNamespace()
    except TyperException as error:
        raise AssertionError(error.format_message()) from None
    return name, SimpleNamespace(**parameters)


def write_log(path: Path, steps: int) -> None:
    """Write the log of a run in which the law holds: R = -0.3 exp(H) + 0.9."""
    entropy = [1.0 - 0.9 * step / steps for step in range(steps)]
    rows = [
        {"step": step, "entropy_nats": h, "validation_accuracy": 0.9 - 0.3 * 2.718281828**h}
        for step, h in enumerate(entropy)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


# -- entropy-mech ------------------------------------------------------------------------------
def _entropy_mech(words: list[str]) -> None:
    name, arguments = parse(words)
    _RUN.get(name, _as_it_is)(words, arguments)


def _as_it_is(words: list[str], _: SimpleNamespace) -> None:
    printed, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        code = main(words)
    assert code == 0, said.getvalue()


def _dry(words: list[str], arguments: SimpleNamespace) -> None:
    _as_it_is([*words, "--dry-run"], arguments)


def _parsed(_: list[str], __: SimpleNamespace) -> None:
    """Do no more than parse: test_cli.py runs it, which takes its time."""


def _law(words: list[str], arguments: SimpleNamespace) -> None:
    write_log(Path(arguments.log), 12)
    _as_it_is(words, arguments)


def _diagnose(words: list[str], arguments: SimpleNamespace) -> None:
    """Diagnose a healthy run; a script starts verl, other settings are those of TRL."""
    write_log(Path(arguments.log), 12)
    of_verl = "python -m verl.trainer.main_ppo data.train_batch_size=256\n"
    text = of_verl if arguments.config.endswith(".sh") else "num_generations: 8\n"
    Path(arguments.config).write_text(text)
    _as_it_is(words, arguments)


def _evaluate(_: list[str], arguments: SimpleNamespace) -> None:
    """Check the run and the benchmarks, and load those whose problems are here."""
    from entropy_mech.config.files import load_config
    from entropy_mech.problems.benchmarks import GROUPS, benchmark_names, load_sets

    if arguments.model.endswith(".toml"):
        load_config(arguments.model)
    for name in benchmark_names(arguments.benchmarks):
        if name in GROUPS["toy"] or Path(arguments.data_dir, f"{name}.jsonl").exists():
            (ready,), _ = load_sets([name], data_dir=arguments.data_dir, limit=arguments.limit)
            assert len(ready.problems)


def _import_run(words: list[str], arguments: SimpleNamespace) -> None:
    """Import what is made here: a log of that name or, for a folder, another import of one."""
    from entropy_mech.runs.store import default_store

    if arguments.path.suffix:
        write_log(arguments.path, 20)
    else:
        log = Path("elsewhere.jsonl")
        write_log(log, 20)
        _as_it_is(["import-run", arguments.name, str(log), "--replace"], arguments)
        (folder,) = [p.parent for p in default_store().root.glob("*/manifest.json")]
        shutil.move(folder, arguments.path)
    _as_it_is(words, arguments)


_RUN: dict[str, Callable[[list[str], SimpleNamespace], None]] = {
    "train": _dry,
    "reproduce": _dry,
    "doctor": _parsed,
    "law": _law,
    "diagnose": _diagnose,
    "evaluate": _evaluate,
    "import-run": _import_run,
}


# -- other programs -----------------------------------------------------------------------------
def _make(words: list[str]) -> None:
    variables = {word.partition("=")[0] for word in words if "=" in word}
    makefile = (ROOT / "Makefile").read_text()
    assert variables <= set(re.findall(r"^(\w+) \?=", makefile, re.MULTILINE)), variables
    done = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _papermill(words: list[str]) -> None:
    notebook, _, *options = words
    cells = json.loads(Path(notebook).read_text())["cells"]
    (cell,) = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    there = set(re.findall(r"^(\w+) =", "".join(cell["source"]), re.MULTILINE))
    while options:
        option, name, _, *options = options
        assert option == "-p"
        assert name in there, f"{notebook} has no parameter {name}"


def _torchrun(words: list[str]) -> None:
    from torch.distributed.run import get_args_parser

    arguments = get_args_parser().parse_args(words)
    assert arguments.module
    assert arguments.training_script == "entropy_mech"
    _entropy_mech(arguments.training_script_args)


def _deepspeed(words: list[str]) -> None:
    place = words.index("--module")
    assert words[place + 1] == "entropy_mech"
    _entropy_mech(words[place + 2 :])


def _python(words: list[str]) -> None:
    if words[0] != "-m":
        assert Path(words[0]).is_file(), words[0]
        return
    module, options = words[1], [word for word in words[2:] if word.startswith("--")]
    if module.startswith("verl."):
        check_verl(words[2:])
        return
    command = [sys.executable, "-m", module, "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(option.partition("=")[0] in said for option in options), said


def _pip(words: list[str]) -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert words[0] == "install"
    for word in words[1:]:
        if not word.startswith("-"):
            wanted = Requirement(word)
            if wanted.name == project["name"]:
                assert wanted.extras <= project["optional-dependencies"].keys()


def _pytest(words: list[str]) -> None:
    """Run the named tests where a page has changed the package, else see that they are there."""
    assert all(Path(word.partition("::")[0]).exists() for word in words if "/" in word)
    if not Path("entropy_mech").is_symlink():
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


_PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "entropy-mech": _entropy_mech,
    "make": _make,
    "papermill": _papermill,
    "torchrun": _torchrun,
    "deepspeed": _deepspeed,
    "python": _python,
    "pip": _pip,
    "pytest": _pytest,
}


if __name__ == "__main__":
    check(sys.argv[1])
