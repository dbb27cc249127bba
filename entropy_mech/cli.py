"""The command line: ``entropy-mech`` and its commands, one module each in ``commands``."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import entropy_mech
from entropy_mech.errors import (
    UserError,
    naming_disk_faults,
    nearest,
    unknown_name,
)


class _Help(argparse.HelpFormatter):
    """Help with room for an option and what it takes on the line that explains it."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=30)


class _Parser(argparse.ArgumentParser):
    """Says one line about a wrong argument, with the nearest right one, and exits with 2."""

    def __init__(self, **settings: Any):
        super().__init__(**{"formatter_class": _Help, **settings})

    def parse_known_args(self, args=None, namespace=None):
        """Refuse what is left over here, where the command and its options are known."""
        found, left_over = super().parse_known_args(args, namespace)
        if left_over:
            self.error(self._about(left_over[0]))
        return found, left_over

    def _about(self, word: str) -> str:
        if not word.startswith("-"):
            return f"{word!r} is one argument too many"
        option = word.partition("=")[0]
        near = nearest(option, self._option_string_actions)
        return f"unknown option {option!r}" + (f": did you mean {near!r}?" if near else "")

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            self.error(str(unknown_name(action.dest or "value", str(value), action.choices)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 unusable input."""
    arguments = _parser().parse_args(argv)
    shown = warnings.formatwarning
    try:
        warnings.formatwarning = lambda message, *_, **__: f"{message}\n"
        with naming_disk_faults():
            code = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Who read the output (head, less) has seen enough; nothing is to be said at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    finally:
        warnings.formatwarning = shown


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="entropy-mech",
        description="The entropy mechanism of RL for reasoning language models, reproduced.",
        epilog="example: entropy-mech reproduce fig01",
    )
    parser.add_argument("--version", action="version", version=entropy_mech.__version__)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=_Parser
    )
    from entropy_mech.commands import (
        doctor,
        evaluate,
        follow,
        import_run,
        law,
        pretrain,
        reproduce,
        runs,
        train,
    )

    for module in (train, pretrain, runs, follow, evaluate, reproduce, import_run, law, doctor):
        module.register(commands)
    return parser
