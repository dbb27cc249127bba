"""What a text of tests defines, and what it wants of the program: read from the text alone."""

from __future__ import annotations

import ast
import builtins
import functools
import sys

ALIASES = {"np": "numpy", "pd": "pandas"}
# Where tests that import nothing expect these from, whoever else defines them.
LIBRARY = {
    "isclose": "math", "isnan": "math", "isinf": "math", "sqrt": "math", "inf": "math",
    "nan": "math", "pi": "math", "deepcopy": "copy", "Counter": "collections",
    "defaultdict": "collections", "deque": "collections", "OrderedDict": "collections",
    "namedtuple": "collections", "Decimal": "decimal", "Fraction": "fractions",
}  # fmt: skip
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SETUP = (*DEFINITIONS, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.AugAssign)


def parsed(program: str) -> ast.Module | None:
    """The tree of a program; None where it does not parse."""
    try:
        return ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None


def entry_point(tree: ast.Module | None) -> str | None:
    """The function that a program is about: its last one that none of its others uses.

    Helpers come before what they help or are called by it; a ``main`` is no entry.
    """
    functions = [n for n in tree.body if isinstance(n, DEFINITIONS[:2])] if tree else []
    called = {name for node in functions for name in _loaded(node) - {node.name}}
    names = [n.name for n in functions if n.name != "main"]
    free = [name for name in names if name not in called]
    return (free or names or [None])[-1]


def is_setup(tree: ast.Module) -> bool:
    """Whether statements only prepare: imports, definitions and assignments."""
    return all(isinstance(node, _SETUP) for node in tree.body)


def bound_by(node: ast.AST) -> set[str]:
    """The names that one node binds where it stands, without looking into it."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        return {node.id}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {a.asname or a.name.partition(".")[0] for a in node.names if a.name != "*"}
    if isinstance(node, ast.arg):
        return {node.arg}
    named = (*DEFINITIONS, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)
    return {node.name} if isinstance(node, named) and node.name else set()


def _same_scope(node):
    """The node and all below it that belong to the same scope."""
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, _SCOPES):
            todo += ast.iter_child_nodes(node)


def _loaded(node) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _loaded_or_asked(node) -> set[str]:
    """The names that are read, and those of arguments, which a fixture may answer."""
    return _loaded(node) | {a.arg for a in ast.walk(node) if isinstance(a, ast.arg)}


class TestText:
    """The names in a text of tests. ``solution`` is the program's module.

    Read once, where the tests are prepared; :meth:`data` takes it to where they run.
    """

    __test__ = False

    def __init__(self, text: str):
        self.text, self.tree = text, ast.parse(text)
        nodes = list(ast.walk(self.tree))
        self.used = _loaded(self.tree)
        self.bound = set().union(*map(bound_by, _same_scope(self.tree)))
        self.bound_anywhere = set().union(*map(bound_by, nodes))
        self.modules, self.imported, self.imports = {"solution"}, set(), set()
        self.libraries = set()  # the modules that are imported, by their whole names
        self.star = self.imports_program = False
        for node in nodes:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self._read_import(node)
        self.called = {
            n.func.id for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        }
        self.attributes_of: dict[str, list[str]] = {}
        for n in nodes:
            if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name):
                self.attributes_of.setdefault(n.value.id, []).append(n.attr)
        self.asked_of_module = set().union(*(self.attributes_of.get(m, ()) for m in self.modules))
        self.asked_of_module |= {
            n.args[1].value for n in nodes
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and len(n.args) > 1
            and n.func.id in ("hasattr", "getattr") and isinstance(n.args[0], ast.Name)
            and n.args[0].id in self.modules and isinstance(n.args[1], ast.Constant)
        }  # fmt: skip
        self.tests = {node.name for node in self.tree.body if _is_test(node)}
        # Under no condition, or under one.
        self.possible_tests = {node.name for node in _same_scope(self.tree) if _is_test(node)}

    def data(self) -> dict:
        """What was found, as JSON."""
        found = {**vars(self)}
        del found["tree"]
        return {name: list(v) if isinstance(v, set) else v for name, v in found.items()}

    @classmethod
    def of(cls, data: dict) -> TestText:
        text = cls.__new__(cls)
        vars(text).update({k: set(v) if isinstance(v, list) else v for k, v in data.items()})
        return text

    @functools.cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def _read_import(self, node):
        ours = isinstance(node, ast.ImportFrom) and node.module == "solution"
        self.libraries |= {getattr(node, "module", None) or alias.name for alias in node.names}
        for alias in node.names:
            self.imports.add(alias.asname or alias.name.partition(".")[0])
            if ours and alias.name != "*":
                self.imported.add(alias.name)
            self.star |= ours and alias.name == "*"
            if isinstance(node, ast.Import) and alias.name == "solution":
                self.modules.add(alias.asname or "solution")
                ours = True
        self.imports_program |= ours

    def wanted(self) -> set[str]:
        """The names that the tests take from the program, as far as the text tells."""
        free = {n for n in self.used - self.bound_anywhere if not hasattr(builtins, n)}
        free -= {"solution", "pytest", "candidate"}
        known = {n for n in free if _module_for(n) and n not in self.called}
        return self.imported | self.asked_of_module | (free - known)

    def from_program(self, names: set[str]) -> set[str]:
        """Which of the program's names mean the program's own object in the tests.

        What the tests define themselves is theirs. Builtins, and the library functions that
        tests expect without an import, keep their meaning unless the tests test that very
        name: then some test uses no other name of the program. The name of a module means
        the module where only its attributes are used (``math.isclose``), and the program's
        object where it is called (``trace(matrix)``).
        """
        names = names - self.bound
        tested = self._tested(names)
        return {n for n in names if (n in tested or not _is_library(n)) and not self._is_module(n)}

    def _is_module(self, name) -> bool:
        module = _module_for(name)
        if module is None or name in self.called or name not in self.attributes_of:
            return False
        try:
            module = __import__(module)
        except ImportError:
            return False
        return all(hasattr(module, attribute) for attribute in self.attributes_of[name])

    def _tested(self, names) -> set[str]:
        """Names of the library that some test uses alone, so that they are what it tests."""
        if self.imports_program and not self.star:
            return set()  # what they do not import is not the program's
        if not any(_is_library(n) for n in names & self.used):
            return set()
        bodies: dict[str, set[str]] = {}
        for node in self.tree.body:
            for name in set().union(*map(bound_by, _same_scope(node))):
                bodies.setdefault(name, set()).update(_loaded_or_asked(node))
        found = set()
        for node in self.tree.body:
            if not (isinstance(node, (ast.Assert, ast.Expr)) or _is_test(node)):
                continue
            uses, todo = set(), [_loaded_or_asked(node)]
            while todo:
                for name in todo.pop() - uses:
                    uses.add(name)
                    todo.append(bodies.get(name, set()))
            ours = uses & names
            if ours and all(map(_is_library, ours)):
                found |= ours
        return found

    # -- tests --------------------------------------------------------------------------------
    def has_tests(self) -> bool:
        """Whether there may be anything to run: a test, an assert, or HumanEval's ``check``."""
        return bool(self.has_check()) or any(
            isinstance(n, ast.Assert) or (bound_by(n) and any(map(_test_name, bound_by(n))))
            or (isinstance(n, ast.ClassDef) and n.bases) for n in ast.walk(self.tree)
        )  # fmt: skip

    def is_script(self) -> bool:
        """Whether the text asserts, or calls its own ``check``, as it is run."""
        return any(
            isinstance(node, ast.Assert) for top in self.tree.body if not isinstance(top, _SCOPES)
            for node in _same_scope(top)
        ) or any(map(self._calls_check, self.tree.body))  # fmt: skip

    def has_check(self) -> bool:
        """Whether HumanEval's form is used: a function ``check`` of one ``candidate``."""
        return any(
            isinstance(node, ast.FunctionDef) and node.name == "check" and len(node.args.args) == 1
            for node in self.tree.body
        )

    def _calls_check(self, node) -> bool:
        call = node.value if isinstance(node, ast.Expr) else None
        return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and (
            call.func.id == "check" and self.has_check()
        )  # fmt: skip

    def checked(self) -> str | None:
        """The function that a call of ``check``, even one that is not reached, is given."""
        for node in ast.walk(self.tree):
            if self._calls_check(node) and node.value.args:
                argument = node.value.args[0]
                return argument.id if isinstance(argument, ast.Name) else None
        return None


def _test_name(name) -> bool:
    return name.startswith(("test", "Test"))


def _is_test(node) -> bool:
    if isinstance(node, ast.ClassDef):
        return any(_is_test(inner) for inner in node.body)
    return isinstance(node, DEFINITIONS) and node.name.startswith("test")


def _module_for(name) -> str | None:
    real = ALIASES.get(name, name)
    return real if real in sys.stdlib_module_names or real in ALIASES.values() else None


def _is_library(name) -> bool:
    return hasattr(builtins, name) or name in LIBRARY


def library_object(name):
    """What a name of the library means, in a text that does not import it."""
    if hasattr(builtins, name):
        return getattr(builtins, name)
    if name in LIBRARY:
        return getattr(__import__(LIBRARY[name]), name)
    return __import__(_module_for(name))
