"""Find the program in a response, and grade it by unit tests in the forms of the training sets."""

from __future__ import annotations

import ast
import builtins
import functools
import itertools
import json
import math
import re
import textwrap
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from entropy_mech.grading.inside import names as tests_names
from entropy_mech.grading.process import ChildGone, ChildTimeout, GraderFailed
from entropy_mech.grading.sandbox import Limits, Sandbox
from entropy_mech.grading.verdict import Verdict

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_BLANKS = " \t\r\n\x0b\x0c"


class BadTests(ValueError):
    """Tests that no program could be judged by; the verdict is ``error``."""


@dataclass(frozen=True)
class CodeTests:
    """Unit tests in one shape: ``kind`` is stdin, calls, asserts or pytest."""

    kind: str
    total: int
    inputs: tuple = ()
    outputs: tuple = ()
    message: dict | None = None  # what goes to the tests' process
    names: frozenset[str] | None = None  # what they want of the program; None for a script
    libraries: tuple[str, ...] = ()  # the modules that they import
    provide: bool = False  # whether the program gets the names of LeetCode's judges


def grade_program(
    program: str, tests, sandbox: Sandbox, limits: Limits, *, float_tolerance: float = 1e-6
) -> Verdict:
    """Grade in a given sandbox; :func:`entropy_mech.grading.grade_code` finds one by itself."""
    try:
        plan = read_tests(tests)
    except BadTests as bad:
        return Verdict("error", f"tests: {bad}", 0, 0)
    if not isinstance(program, str) or not (text := extract_program(program, plan.names)).strip():
        return Verdict("no_answer", "no program in the response", 0, plan.total)
    text = text.encode("utf-8", "replace").decode()
    plan = _prepared(plan, text)
    for attempt in (1, 2):
        try:
            if plan.kind == "stdin":
                verdict = _judge_stdin(plan, text, sandbox, limits, float_tolerance)
            else:
                verdict = _judge_tests(plan, text, sandbox, limits)
        except ChildTimeout:
            verdict = Verdict("timeout", f"over {limits.timeout_s:g} s", 0, plan.total)
        except (ChildGone, GraderFailed) as gone:
            # Once may be bad luck (the machine's memory); a program that does it twice did it.
            if attempt == 1:
                limits = replace(limits, timeout_s=max(0.1, limits.timeout_s / 2))
                continue
            if isinstance(gone, GraderFailed):
                return Verdict("error", str(gone), 0, plan.total)
            verdict = Verdict("wrong", f"took its sandbox down: {gone}", 0, plan.total)
        if verdict.name in ("wrong", "timeout") and (lacking := sandbox.lacking(limits)):
            return Verdict("error", f"the sandbox: {lacking}", 0, plan.total)
        return verdict


def _judge_stdin(plan, program, sandbox, limits, float_tolerance) -> Verdict:
    reply = sandbox.run_stdin(program, list(plan.inputs), limits)
    passed, first, timed_out = 0, "", False
    for number, (case, expected) in enumerate(zip(reply["cases"], plan.outputs, strict=True)):
        if case["ended"] == "exit" and case["exit"] == 0:
            if same_output(case["stdout"], expected, float_tolerance):
                passed += 1
                continue
            why = f"printed {_short(case['stdout'])} instead of {_short(expected)}"
        elif case["ended"] == "timeout":
            timed_out, why = True, f"over {limits.timeout_s:g} s"
        elif case["ended"] == "output":
            why = f"printed more than {limits.output_mib:g} MiB"
        else:
            lines = case["stderr"].strip().splitlines()
            why = f"ended with {case['exit']}" + (f": {lines[-1][:200]}" if lines else "")
        first = first or f"case {number}: {why}"
    if passed == plan.total:
        return Verdict("correct", "", passed, plan.total)
    return Verdict("timeout" if timed_out else "wrong", first, passed, plan.total)


def _judge_tests(plan, program, sandbox, limits) -> Verdict:
    about = {"names": list(plan.names), "libraries": plan.libraries, "provide": plan.provide}
    reply = sandbox.run_tests(program, plan.message, limits, **about)
    if reply["ended"] == "timeout":
        return Verdict("timeout", f"over {limits.timeout_s:g} s", 0, plan.total)
    try:
        report = json.loads(reply["result"])
        passed, total = int(report["passed"]), int(report.get("total", plan.total))
    except (ValueError, KeyError, TypeError):
        why = f"the tests' process ended without a report ({reply['ended']}, {reply['exit']})"
        return Verdict("wrong", why, 0, plan.total)
    if "bad_tests" in report:
        return Verdict("error", f"tests: {report['bad_tests']}", 0, total)
    failure = report.get("failure", "")
    if passed == total > 0 and not failure:
        return Verdict("correct", "", passed, total)
    return Verdict("wrong", failure, passed, total)


def _prepared(plan: CodeTests, program: str) -> CodeTests:
    """Add what only the two together tell: HumanEval's function, LeetCode's provided names."""
    if plan.kind == "stdin":
        return plan
    if "entry" in plan.message and not plan.message["entry"]:
        entry = tests_names.entry_point(tests_names.parsed(program))
        plan = replace(plan, message={**plan.message, "entry": entry})
    leetcode = plan.kind == "calls" or (plan.kind == "asserts" and _defines_solution(program))
    return replace(plan, provide=leetcode)


def _defines_solution(program: str) -> bool:
    tree = tests_names.parsed(program) if "Solution" in program else None
    nodes = tree.body if tree else []
    return any(isinstance(node, ast.ClassDef) and node.name == "Solution" for node in nodes)


def _short(text: str) -> str:
    text = repr(text.strip())
    return text if len(text) <= 60 else text[:57] + "..."


def same_output(printed: str, expected: str, float_tolerance: float = 1e-6) -> bool:
    r"""Line by line and word by word; decimals may differ by ``float_tolerance`` (both ways).

    Spaces at line ends, empty lines at the start and at the end and the amount of space between
    words do not count. Lines end at a line feed and words at ASCII white space, nowhere else.
    Integers must be the same to the digit.

    >>> same_output("1 2\n0.3333333\n", "1 2\n0.33333334")
    True
    >>> same_output("1\n2\n", "1 2")
    False
    """
    mine, theirs = (text.strip(_BLANKS).split("\n") for text in (printed, expected))
    return len(mine) == len(theirs) and all(
        a == b or _same_words(_words(a), _words(b), float_tolerance)
        for a, b in zip(mine, theirs, strict=True)
    )


def _words(line: str) -> list[bytes]:
    return line.encode("utf-8", "surrogatepass").split()  # of bytes: at ASCII white space only


def _same_words(mine: list[bytes], theirs: list[bytes], tolerance: float) -> bool:
    return len(mine) == len(theirs) and all(
        a == b or _same_decimal(a.decode("latin-1"), b.decode("latin-1"), tolerance)
        for a, b in zip(mine, theirs, strict=True)
    )


def _same_decimal(mine: str, expected: str, tolerance: float) -> bool:
    if not (_NUMBER.fullmatch(mine) and _NUMBER.fullmatch(expected)):
        return False
    if not any(c in ".eE" for c in expected):
        return False
    a, b = float(mine), float(expected)
    return math.isfinite(b) and math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)


# -- the four forms ---------------------------------------------------------------------------
def read_tests(tests) -> CodeTests:
    """Bring tests of any of the four forms into one shape; raises BadTests.

    A dict of ``inputs`` and ``outputs``, with ``fn_name`` for function calls; a list of assert
    statements; the text of a pytest file, or of HumanEval's ``check``; or any of these as JSON
    text. Also the rows of HumanEval (a dict with ``test`` and ``entry_point``) and MBPP
    (``test_list``, with ``test_setup_code`` or ``test_imports``).
    """
    if isinstance(tests, str):
        stripped = tests.strip()
        if stripped[:1] in ("{", "["):
            try:
                return read_tests(json.loads(stripped))
            except json.JSONDecodeError:
                pass  # then it is Python
        return _pytest_file(tests)
    if isinstance(tests, dict):
        if "test_list" in tests:
            before = [tests.get("test_setup_code") or "", *(tests.get("test_imports") or ())]
            return _asserts([*filter(None, before), *tests["test_list"]])
        if isinstance(tests.get("test"), str):
            return _pytest_file(tests["test"], tests.get("entry_point"))
        return _inputs_and_outputs(tests)
    if isinstance(tests, (list, tuple)):
        return _asserts(list(tests))
    raise BadTests(f"a {type(tests).__name__} is none of the known forms")


def _read(text, what: str) -> tests_names.TestText:
    try:
        return tests_names.TestText(text)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise BadTests(f"not {what}: {error}") from None


@functools.lru_cache(maxsize=4096)  # the samples of a group have the same tests
def _pytest_file(text: str, entry: str | None = None) -> CodeTests:
    read = _read(text, "Python")
    if not read.has_tests():
        raise BadTests("no test function and no assert")
    total = max(1, len(read.tests))
    message = {"form": "pytest", "read": read.data(), "total": total}
    return _with_names("pytest", total, message, read, entry)


def _asserts(statements: list) -> CodeTests:
    if not statements:
        raise BadTests("an empty list")
    trees = [_read(s, f"a statement: {_short(str(s))}").tree for s in statements]
    if not any(isinstance(n, ast.Assert) for tree in trees for n in ast.walk(tree)):
        raise BadTests("no assert among the statements")
    total = sum(not tests_names.is_setup(tree) for tree in trees)
    if not total:
        raise BadTests("the statements define asserts and run none")
    read = _read("\n".join(statements), "Python")
    message = {"form": "asserts", "read": read.data(), "statements": statements, "total": total}
    return _with_names("asserts", total, message, read)


def _with_names(kind, total, message, read, entry=None) -> CodeTests:
    wanted = read.wanted()
    if read.has_check() or "candidate" in read.used - read.bound_anywhere:
        message["entry"] = read.checked() or entry or ""
        wanted |= {message["entry"]} - {""}
    libraries = tuple(sorted(read.libraries))
    return CodeTests(kind, total, message=message, names=frozenset(wanted), libraries=libraries)


def _inputs_and_outputs(tests: dict) -> CodeTests:
    inputs, outputs = tests.get("inputs"), tests.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise BadTests("a dict needs the lists 'inputs' and 'outputs'")
    if not inputs or len(inputs) != len(outputs):
        raise BadTests(f"{len(inputs)} inputs and {len(outputs)} outputs")
    total, name = len(inputs), tests.get("fn_name")
    if not name:
        if None in inputs or None in outputs:
            raise BadTests("an input or output is None")
        inputs, outputs = (tuple(map(_as_text, texts)) for texts in (inputs, outputs))
        return CodeTests("stdin", total, inputs, outputs)
    if not isinstance(name, str) or not name.isidentifier():
        raise BadTests(f"fn_name {name!r} is no name")
    cases = [{"args": a, "expected": b} for a, b in _calls(inputs, outputs)]
    message = {"form": "calls", "name": name, "cases": cases, "total": total}
    return CodeTests("calls", total, message=message, names=frozenset({name}))


def _calls(inputs: list, outputs: list) -> list[tuple[list, object]]:
    """The arguments and the result of each call, by what the whole row is written in.

    Inputs that are all texts, each line a JSON value, are JSON text: one line an argument. Then
    outputs that are all JSON text, too, are values written as JSON. In every other row values
    stand for themselves, so that ``"11"`` is text; an input that is no list is the one argument.
    """
    arguments = [_json_lines(given) for given in inputs]
    if None in arguments:
        arguments = [given if isinstance(given, list) else [given] for given in inputs]
        return list(zip(arguments, outputs, strict=True))
    results = [_json_lines(wanted) for wanted in outputs]
    if all(r is not None and len(r) == 1 for r in results):
        outputs = [r[0] for r in results]
    return list(zip(arguments, outputs, strict=True))


def _json_lines(text) -> list | None:
    if not isinstance(text, str):
        return None
    try:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError):
        return None


def _as_text(value) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


# -- the program in a response: which of its blocks, and with which others ------------------------
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*([^`\n]*)$")
_GLUED = re.compile(r"[^`\n]*[^`\s][ \t]*(`{3,})[ \t]*((?:python|py)[\d.]*)[ \t]*$", re.IGNORECASE)
_QUOTED = re.compile(r"^> ?(?=`{3}|~{3})", re.MULTILINE)
_INLINE = re.compile(r"```(?:python[\d.]*|py)?[ \t]*([^`\n]+)```", re.IGNORECASE)
_PYTHON = re.compile(r"(python|py|ipython|pycon|sage)[\d.]*(-repl)?$", re.IGNORECASE)
_OPENED = re.compile(r"^[ \t]*<think>", re.MULTILINE)
_CLOSED = re.compile(r"(?<![\"'>])</think>")  # not one in a string of the program
_FENCES_IN_STRINGS = 6  # of a block, at most
_READS_INPUT = re.compile(r"\binput\b(?!\s*=[^=])|\bstdin\b|\bopen\(0|\bfileinput\b|\bos\.read\(0")
_CONTINUES = re.compile(r"(else|elif|except|finally|case)\b|[)\]}]")


def extract_program(response: str, names: Collection[str] | None = None) -> str:
    r"""The program in a response, for tests that want ``names`` of it (None: a script).

    What a response thinks, up to ``</think>``, is not read. A response that is Python as a whole
    is the program; else its fenced blocks are read, Python's first, then those without a tag.
    The program is the last block that defines most of what the tests want; for a script, the
    last that reads input; else the last. A block that needs names which others define is joined
    with them, in their order: imports, helpers, a main part. Without a block that will do, the
    lines of the response that are Python are taken, if they define what is wanted.

    >>> extract_program("Here:\n```python\nprint(1)\n```\nDone.")
    'print(1)\n'
    >>> extract_program("```py\ndef f(x): return x\n```\nUse:\n```py\nf(3)\n```", {"f"})
    'def f(x): return x\n'
    """
    text = _after_thinking(response.replace("\r\n", "\n").lstrip("\ufeff"))
    if not text.strip() or tests_names.parsed(text):
        return text
    blocks = [Block(content, tag) for tag, content in _fenced(text)]
    usable = [b for b in blocks if (b.is_python or not b.tag) and not b.is_tests]
    python = [b for b in usable if b.is_python]
    wanted = set(names or ())
    chosen = _choose(python, usable, wanted, script=names is None)
    if chosen is None or not chosen.parses or (wanted and not chosen.defines & wanted):
        for other in map(Block, (*_INLINE.findall(text), text, _lines_of_python(text))):
            fits = other.defines & wanted if wanted else chosen is None
            if other.parses and other.text.strip() and fits:
                return other.text
    return text if chosen is None else _joined(chosen, usable, wanted)


def _after_thinking(text: str) -> str:
    """Without the thoughts: all up to a first ``</think>``, and whatever is opened later."""
    opened, closed = _OPENED.search(text), _CLOSED.search(text)
    if not (opened or closed) or tests_names.parsed(text):  # then the tag is in a string of it
        return text
    if closed and (opened is None or opened.start() > closed.start()):
        text = text[closed.end() :]
    parts = _OPENED.split(text)
    return parts[0] + "".join(part.partition("</think>")[2] for part in parts[1:])


# -- fences -------------------------------------------------------------------------------------
def _fenced(text: str) -> list[tuple[str, str]]:
    """The (tag, content) of the blocks.

    A fence with a tag always begins a block, and a block that is never closed ends the text. But
    where a content with triple quotes is no Python, and is with some of the next fences in it,
    these are in a string of the program.
    """
    if _QUOTED.search(text):
        text = re.sub(r"^> ?", "", text, flags=re.MULTILINE)
    lines = text.split("\n")
    blocks, at = [], 0
    while at < len(lines):
        found = _FENCE.match(lines[at]) or _GLUED.match(lines[at])
        at += 1
        if found:
            ends = itertools.islice(_ends(lines, at, found[1]), 1 + _FENCES_IN_STRINGS)
            end = next(ends)
            if not _is_whole(end[0]):
                end = next((other for other in ends if _is_whole(other[0])), end)
            blocks.append((_first_word(found[2]), end[0]))
            at = end[1]
    return blocks


def _ends(lines: list[str], start: int, fence: str) -> Iterator[tuple[str, int]]:
    """Where a block may end: its content, and the line at which the next one is looked for."""
    for at in range(start, len(lines)):
        line = lines[at].rstrip()
        found = _FENCE.match(line) or _GLUED.match(line)
        tagged = bool(found and _first_word(found[2]))
        closes = bool(found and found[1].startswith(fence) and not found[2].strip())
        glued = not found and line.endswith(fence)
        if tagged or closes or glued:
            last = [line[: -len(fence)]] if glued else []
            yield "".join(f"{part}\n" for part in (*lines[start:at], *last)), at + (not tagged)
    yield "".join(f"{part}\n" for part in lines[start:]), len(lines)


def _is_whole(content: str) -> bool:
    triple = '"""' in content or "'''" in content
    return not triple or any(tests_names.parsed(f(content)) for f in (str, textwrap.dedent))


def _first_word(info: str) -> str:
    words = info.replace("{", " ").replace("}", " ").split()
    return words[0].lstrip(".") if words else ""


# -- blocks -------------------------------------------------------------------------------------
@dataclass(eq=False)
class Block:
    """One block: what it defines at its top level and what it needs from outside."""

    text: str
    tag: str = ""
    parses: bool = False
    defines: set[str] = field(default_factory=set)
    announces: set[str] = field(default_factory=set)  # of those it defines: without a body
    needs: set[str] = field(default_factory=set)
    star: bool = False
    is_tests: bool = False  # imports the program, so it is none
    prepares: bool = False  # only imports, definitions and assignments

    def __post_init__(self):
        tree = None
        for form in (str, textwrap.dedent, _without_prompts):
            tree = tests_names.parsed(form(self.text))
            if tree is not None:
                self.text = form(self.text)
                break
        if tree is None:
            found = re.findall(r"^\s*(?:async\s+)?(?:def|class)\s+(\w+)", self.text, re.MULTILINE)
            self.defines = set(found)
            return
        self.parses, self.prepares = True, tests_names.is_setup(tree)
        imports = [n for n in tree.body if isinstance(n, ast.ImportFrom)]
        self.is_tests = any(n.module == "solution" for n in imports)
        self.star = any(n.names[0].name == "*" for n in imports)
        names = tests_names.TestText(self.text)
        free = names.used - names.bound_anywhere
        self.needs = {name for name in free if not hasattr(builtins, name)}
        self.defines = names.bound | {
            f.name for node in tree.body if isinstance(node, ast.ClassDef)
            for f in node.body if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))
        }  # fmt: skip
        nodes = [n for n in ast.walk(tree) if isinstance(n, tests_names.DEFINITIONS)]
        self.announces = {n.name for n in nodes} - {n.name for n in nodes if not _is_stub(n)}

    @property
    def is_python(self) -> bool:
        return bool(_PYTHON.match(self.tag))

    @property
    def reads_input(self) -> bool:
        return self.parses and bool(_READS_INPUT.search(self.text))


def _is_stub(node: ast.stmt) -> bool:
    """Whether it is a function without a body, or a class with methods that have none."""
    if isinstance(node, ast.ClassDef):
        methods = [n for n in node.body if isinstance(n, tests_names.DEFINITIONS)]
        return bool(methods) and all(map(_is_stub, methods))
    return all(
        isinstance(n, ast.Pass) or (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
        for n in node.body
    )


def _without_prompts(text: str) -> str:
    """The statements of an interactive session, without what it answered."""
    lines = textwrap.dedent(text).split("\n")
    if not any(line.startswith(">>>") for line in lines):
        return text
    return "".join(f"{line[4:]}\n" for line in lines if line[:4].rstrip() in (">>>", "..."))


def _choose(python, usable, wanted, *, script) -> Block | None:
    """The one block that is the program, or the main part of it."""
    if script:
        pool = python or usable
        readers = [b for b in pool if b.reads_input]
        if not readers:
            return pool[-1] if pool else None
        last = readers[-1]
        callers = [b for b in pool[pool.index(last) + 1 :] if b.needs & last.defines]
        return callers[-1] if last.prepares and callers else last
    for pool in ([b for b in usable if b.parses], usable):
        counts = [len((b.defines - b.announces) & wanted) for b in pool]
        if any(counts):
            return pool[len(counts) - 1 - counts[::-1].index(max(counts))]
    for pool in ([b for b in python if b.parses and b.defines], python, usable):
        if pool:
            return pool[-1]
    return None


def _joined(chosen: Block, blocks: list[Block], wanted: set[str]) -> str:
    """The block with those that define what it needs: earlier ones first, then later ones."""
    if not chosen.parses:
        return chosen.text
    at = blocks.index(chosen)
    taken, missing = {at}, chosen.needs | (wanted - chosen.defines)
    for number in (*range(at - 1, -1, -1), *range(at + 1, len(blocks))):
        other = blocks[number]
        if other.parses and (missing & other.defines or (missing and other.star)):
            taken.add(number)
            missing = (missing | other.needs) - other.defines
    return "\n".join(blocks[number].text for number in sorted(taken))


# -- text without fences ------------------------------------------------------------------------
def _lines_of_python(text: str) -> str:
    """The statements in a text that is partly prose: those that parse and do something."""
    kept = []
    for chunk in _chunks(line for line in text.split("\n") if not _FENCE.match(line)):
        tree = tests_names.parsed(chunk)
        if tree and any(map(_does_something, tree.body)):
            kept.append(chunk)
    return "".join(kept)


def _chunks(lines) -> Iterator[str]:
    """Statements of the top level with all that is indented below them."""
    chunk: list[str] = []
    for line in lines:
        below = not line.strip() or line[0] in " \t" or _CONTINUES.match(line)
        decorated = chunk and chunk[-1].startswith("@")
        if chunk and not below and not decorated:
            yield "".join(chunk)
            chunk = []
        chunk.append(line + "\n")
    if chunk:
        yield "".join(chunk)


def _does_something(node: ast.stmt) -> bool:
    return not isinstance(node, ast.Expr) or isinstance(node.value, (ast.Call, ast.Await))
