"""The command line: ``entropy-mech`` and its commands, which are functions in ``commands``."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

import entropy_mech
from entropy_mech.commands.doctor import doctor
from entropy_mech.commands.measure import diagnose, evaluate, law
from entropy_mech.commands.reproduce import reproduce
from entropy_mech.commands.train import follow, import_run, pretrain, runs, train
from entropy_mech.errors import UserError, naming_disk_faults, nearest, unknown_name

# Options that take several values; typer's take one and are repeated.
_SEVERAL = {"--benchmarks", "--at"}

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(entropy_mech.__version__)
        raise typer.Exit


@app.callback(epilog="example: entropy-mech reproduce fig01")
def _entropy_mech(
    version: Annotated[
        bool,
        typer.Option("--version", help="print the version", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """The entropy mechanism of RL for reasoning language models, reproduced."""


_EXAMPLES = {
    train: "train reproduce/runs/kl_cov.toml --set seed=4",
    pretrain: "pretrain fig03_qwen2.5_0.5b",
    runs: "runs --state training",
    follow: "follow fig11_7b_kl_cov --seed 2",
    evaluate: "evaluate reproduce/runs/grpo.toml --benchmarks toy",
    reproduce: "reproduce fig11 --seeds 3 -p steps 24",
    import_run: "import-run fig11_7b_kl_cov copied/3f2a --profile paper",
    law: "law run.jsonl --performance val-core/math/acc/mean@1",
    diagnose: "diagnose trainer_state.json --config args.yaml",
    doctor: "doctor",
}
for _command, _line in _EXAMPLES.items():
    app.command(epilog=f"example: entropy-mech {_line}")(_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 unusable input."""
    words = list(_one_word_each(sys.argv[1:] if argv is None else argv))
    _open_streams()
    shown = warnings.formatwarning
    try:
        warnings.formatwarning = lambda message, *_, **__: f"{message}\n"
        command = typer.main.get_command(app)
        if words and not words[0].startswith("-") and words[0] not in command.commands:
            raise unknown_name("command", words[0], list(command.commands))
        with naming_disk_faults(), command.make_context("entropy-mech", words) as context:
            code = command.invoke(context)
        sys.stdout.flush()
        return code
    except typer.Exit as stop:  # --help, --version
        return stop.exit_code
    except BrokenPipeError:
        # The reader (head, less) has closed the pipe: print nothing more, at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except TyperException as error:
        print(_said(error), file=sys.stderr)
        return 2
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    finally:
        warnings.formatwarning = shown


def _open_streams() -> None:
    """Let anything be printed: where a stream is closed, and where it has few characters."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (kept to the end)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _said(error: TyperException) -> str:
    """Return one line about a wrong word of the command line, with the nearest right one."""
    path = error.ctx.command_path if getattr(error, "ctx", None) else "entropy-mech"
    message = error.format_message()
    if hasattr(error, "possibilities"):
        near = nearest(error.option_name, error.possibilities or ())
        message = f"unknown option {error.option_name!r}"
        message += f": did you mean {near!r}?" if near else ""
    return f"{path}: {message} (see {path} --help)"


def _one_word_each(words: Sequence[str]) -> Iterator[str]:
    """Yield the words, with an option that takes several values before each of them.

    >>> list(_one_word_each(["--at", "0.5", "1", "--seed", "2", "-p", "steps", "24"]))
    ['--at', '0.5', '--at', '1', '--seed', '2', '-p', 'steps=24']
    >>> list(_one_word_each(["-p", "steps=24", "fig01"])), list(_one_word_each(["-p", "x", "--y"]))
    (['-p', 'steps=24', 'fig01'], ['-p', 'x', '--y'])
    """
    words = list(words)
    option = ""
    while words:
        word = words.pop(0)
        if word == "-p" and len(words) > 1 and not _is_pair_or_option(*words[:2]):
            yield from (word, f"{words.pop(0)}={words.pop(0)}")
            option = ""
        elif word.startswith("--"):
            option = word if word in _SEVERAL else ""
            yield from (word, *words[:1]) if option else (word,)
            words = words[1:] if option else words
        else:
            yield from (option, word) if option else (word,)


def _is_pair_or_option(name: str, value: str) -> bool:
    """Whether a name is written with its value (NAME=VALUE), or what follows it is no value."""
    return "=" in name or value.startswith("--")
