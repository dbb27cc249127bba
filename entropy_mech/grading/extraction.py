"""The program in a response: which of its blocks, and with which others."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import textwrap
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from entropy_mech.grading.inside import names as tests_names

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*([^`\n]*)$")
_GLUED = re.compile(r"[^`\n]*[^`\s][ \t]*(`{3,})[ \t]*((?:python|py)[\d.]*)[ \t]*$", re.IGNORECASE)
_QUOTED = re.compile(r"^> ?(?=`{3}|~{3})", re.MULTILINE)
_INLINE = re.compile(r"```(?:python[\d.]*|py)?[ \t]*([^`\n]+)```", re.IGNORECASE)
_PYTHON = re.compile(r"(python|py|ipython|pycon|sage)[\d.]*(-repl)?$", re.IGNORECASE)
_OPENED = re.compile(r"^[ \t]*<think>", re.MULTILINE)
_CLOSED = re.compile(r"(?<![\"'>])</think>")  # not one in a string of the program
_QUOTES = re.compile(r"""#.*|\"\"\"|'''|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?""")
_ENDS = {'"""': re.compile(r'\\.|"""', re.DOTALL), "'''": re.compile(r"\\.|'''", re.DOTALL)}
_READS_INPUT = re.compile(r"\binput\b|\bstdin\b|\bopen\(0|\bfileinput\b|\bos\.read\(0")
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
    if not text.strip() or _parses(text):
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
    if not (opened or closed) or _parses(text):  # then the tag stands in a text of the program
        return text
    if closed and (opened is None or opened.start() > closed.start()):
        text = text[closed.end() :]
    parts = _OPENED.split(text)
    return parts[0] + "".join(part.partition("</think>")[2] for part in parts[1:])


def _parses(text: str) -> bool:
    return _tree(text) is not None


def _tree(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None


# -- fences -------------------------------------------------------------------------------------
def _fenced(text: str) -> list[tuple[str, str]]:
    """The (tag, content) of the blocks; fences inside of a program's strings are no fences.

    A fence with a tag always begins a block, and a block that is never closed ends the text.
    """
    if _QUOTED.search(text):
        text = re.sub(r"^> ?", "", text, flags=re.MULTILINE)
    lines = text.split("\n")
    blocks, torn = _scan(lines, strings=True)
    return _scan(lines, strings=False)[0] if torn else blocks


def _scan(lines: list[str], *, strings: bool) -> tuple[list[tuple[str, str]], bool]:
    blocks: list[tuple[str, str]] = []
    fence, tag, content, quote = "", "", [], ""
    for line in lines:
        found = None if quote else _FENCE.match(line) or _GLUED.match(line)
        info = found[2].strip() if found else ""
        closes = bool(found and fence and not info and found[1].startswith(fence))
        if found and (closes or not fence or (info and _first_word(info))):
            if fence:
                blocks.append((tag, "".join(content)))
            fence, content = ("" if closes else found[1]), []
            tag = _first_word(info)
        elif fence:
            ends = not quote and line.rstrip().endswith(fence)  # glued to the last line
            content.append((line.rstrip()[: -len(fence)] if ends else line) + "\n")
            quote = _open_quote(content[-1][:-1], quote) if strings else ""
            if ends:
                blocks.append((tag, "".join(content)))
                fence, content, quote = "", [], ""
    if fence:
        blocks.append((tag, "".join(content)))
    return blocks, bool(fence and quote)


def _first_word(info: str) -> str:
    words = info.replace("{", " ").replace("}", " ").split()
    return words[0].lstrip(".") if words else ""


def _open_quote(line: str, quote: str) -> str:
    """The kind of triple quote that is open after a line, given the one before it."""
    position = 0
    while position <= len(line):
        if quote:
            ends = [m.end() for m in _ENDS[quote].finditer(line, position) if m[0] == quote][:1]
            if not ends:
                return quote
            position, quote = ends[0], ""
        found = _QUOTES.search(line, position)
        if found is None:
            return ""
        quote, position = (found[0] if found[0] in _ENDS else ""), found.end()
    return quote


# -- blocks -------------------------------------------------------------------------------------
@dataclass(eq=False)
class Block:
    """One block: what it defines at its top level and what it needs from outside."""

    text: str
    tag: str = ""
    parses: bool = False
    defines: set[str] = field(default_factory=set)
    needs: set[str] = field(default_factory=set)
    star: bool = False
    is_tests: bool = False  # imports the program, so it is none
    prepares: bool = False  # only imports, definitions and assignments

    def __post_init__(self):
        tree = None
        for form in (str, textwrap.dedent, _without_prompts):
            tree = _tree(form(self.text))
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
        self.defines, self.needs = _defined_and_needed(self.text)
        self.methods = {
            f.name for node in tree.body if isinstance(node, ast.ClassDef)
            for f in node.body if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))
        }  # fmt: skip
        self.defines |= self.methods

    @property
    def is_python(self) -> bool:
        return bool(_PYTHON.match(self.tag))

    @property
    def reads_input(self) -> bool:
        return self.parses and bool(_READS_INPUT.search(self.text))


def _without_prompts(text: str) -> str:
    """The statements of an interactive session, without what it answered."""
    lines = textwrap.dedent(text).split("\n")
    if not any(line.startswith(">>>") for line in lines):
        return text
    return "".join(f"{line[4:]}\n" for line in lines if line[:4].rstrip() in (">>>", "..."))


def _defined_and_needed(text: str) -> tuple[set[str], set[str]]:
    try:
        top = symtable.symtable(text, "program", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(), set()
    defined = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    used = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    todo = list(top.get_children())
    while todo:
        table = todo.pop()
        todo += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_global():
                (defined if symbol.is_assigned() else used).add(symbol.get_name())
    return defined, {name for name in used - defined if not hasattr(builtins, name)}


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
        counts = [len(b.defines & wanted) for b in pool]
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
        tree = _tree(chunk)
        if tree is not None and any(map(_does_something, tree.body)):
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
