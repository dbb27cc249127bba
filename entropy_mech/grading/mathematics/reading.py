"""Read normalised LaTeX as an object of sympy, with every symbol's name kept.

The parser behind math-verify drops primes, takes I for the imaginary unit and gamma for
Euler's constant, and lowers capitals; here each symbol goes through it under a name of its own.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction

import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, _Latex2Sympy
from sympy.core.function import AppliedUndef

from entropy_mech.grading.mathematics.values import closed

_KEEP_NAMES = ConversionConfig(lowercase_symbols=False)
_FUNCTIONS = (
    "arcsinh|arccosh|arctanh|arcsin|arccos|arctan|arccot|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|"
    "ln|log|exp|max|min|gcd|lcm|sqrt"
)
_ACCENTS = {
    "overline": "bar", "widehat": "hat", "widetilde": "tilde", "overrightarrow": "vec",
    **{name: name for name in (
        "bar", "hat", "tilde", "vec", "dot", "ddot", "acute", "grave", "check", "breve", "mathcal",
        "mathbb", "mathfrak", "mathscr",
    )},
}  # fmt: skip
_SPELLED = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?:np|numpy|math|sympy)\.(?=[a-z])", ""),
        (r"\*\*", "^"),
        (rf"\\(?:text|operatorname)\{{({_FUNCTIONS})\}}", r"\\\1 "),
        (rf"(?<![\\a-zA-Z])({_FUNCTIONS})(?=[ (\\{{^_\d]|[a-z](?![a-z]))", r"\\\1 "),
        (r"\\sqrt ?\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\^\(([^()]*)\)", r"^{\1}"),
        (r"\\text\{ ?([A-Za-z]) ?\}", r"\1"),  # a letter is a letter, upright or not
        (r"\\lg(?![a-zA-Z])", r"\\log_{10}"),
        (r"\\(?:rightarrow|longrightarrow)(?![a-zA-Z])", r"\\to "),
        (r"\\bmod(?![a-zA-Z])", r"\\mod "),
        (r"\\(?:lvert|rvert|vert|mid)(?![a-zA-Z])", "|"),
        (r"\\(?:lbrace)(?![a-zA-Z])", r"\\{"),
        (r"\\(?:rbrace)(?![a-zA-Z])", r"\\}"),
        (r"\\(arc(?:sin|cos|tan|cot))\\(frac\{(?:[^{}]|\{[^{}]*\})*\}\{(?:[^{}]|\{[^{}]*\})*\})",
         r"\\\1(\\\2)"),
        # numbers side by side are a product, where brackets keep them from being a mixed number
        (r"(?<![\w_^.{])(\d+(?:\.\d+)?)\((?=[-+*/^\d.\\ ]+\))", r"\1\\cdot("),
        (r"\) ?(?=\(|\d)", r")\\cdot "),
        (r"(\d)(\\(?:lim|sum|prod|int)(?![a-zA-Z]))", r"\1\\cdot \2"),
    )
)  # fmt: skip
_GREEK = (
    "alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|vartheta|iota|kappa|lambda|mu|nu|xi|"
    "omicron|rho|varrho|sigma|varsigma|tau|upsilon|phi|varphi|chi|psi|omega|Gamma|Delta|Theta|"
    "Lambda|Xi|Pi|Sigma|Upsilon|Phi|Psi|Omega|ell|hbar|mho|imath|jmath|Re|Im"
)
_ONE = r"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}"  # a group with groups inside
_SYMBOL = re.compile(
    rf"(?P<skip>\\(?:text|begin|end|variable)(?:{_ONE})?|\\(?:d?frac|sqrt|log|ln|lim|sum|prod|int)"
    rf"(?![a-zA-Z])|\\(?!(?:{_GREEK}|{'|'.join(_ACCENTS)})(?![a-zA-Z]))(?:[a-zA-Z]+|.))"
    rf"|(?:\\(?P<accent>{'|'.join(_ACCENTS)})(?![a-zA-Z]) ?(?P<under>{_ONE}|\\?[a-zA-Z]+)"
    rf"|(?P<letter>\\(?:{_GREEK})(?![a-zA-Z])|[a-zA-Z]))"
    rf"(?P<first>'*)(?:_(?P<index>{_ONE}|\\[a-zA-Z]+|\w))?(?P<last>'*)"
    r"(?P<call>\(-?\d+(?:\.\d+)?\)(?!\())?"  # f(0) is a value, not a product
)
_SETS = {rf"\mathbb{{{letter}}}" for letter in "RZNQC"}
_NO_NUMBER = re.compile(r"(?<![_^\d])\d+ \d|!!|\d\.\d*\.\d")


class _Parser(_Latex2Sympy):
    def parse_number(self, text: str) -> sympy.Rational:
        """Exact, and without sympy's own parser of Python, which takes milliseconds a number."""
        value = Fraction(text.replace(",", ""))
        return sympy.Rational(value.numerator, value.denominator)


@functools.lru_cache(maxsize=4096)  # a reference meets many answers
def read(text: str):
    """The object that a whole text denotes; None if some of it cannot be read."""
    for pattern, replacement in _SPELLED:
        text = pattern.sub(replacement, text)
    if _NO_NUMBER.search(text):  # what the parser would read as something else
        return None
    text = _SYMBOL.sub(_own_name, text)
    if "'" in text or '"' in text:  # behind a number: feet or minutes, not the number
        return None
    try:
        found = _Parser(config=_KEEP_NAMES).parse(text)
    except RecursionError:
        raise
    except Exception:  # the parser raises whatever its grammar and sympy do
        return None
    if isinstance(found, list):
        return None
    return _understood(found)


def _own_name(match: re.Match) -> str:
    """A symbol under a name that the parser keeps, where it would not keep this one."""
    if match["skip"] or match.group() in _SETS:
        return match.group()
    letter, primes = match["letter"], match["first"] + match["last"]
    index = re.sub(r"\\(?:text|mathrm)(?![a-zA-Z])|[{}\s\\]", "", match["index"] or "")
    if letter and letter[0] == "\\" and match["call"] and not primes and not index:
        return match.group()  # a function that the parser may know
    call = match.string[match.end() : match.end() + 1] == "("
    if (
        letter
        and not primes
        and not index
        and not match["call"]
        and (
            letter not in ("I", "E", r"\gamma", r"\Gamma", r"\beta") or (call and letter[0] == "\\")
        )
    ):
        return match.group()
    if letter == "e" and not primes and not index:
        return match.group()
    under = re.sub(r"[{}\s\\]", "", match["under"] or letter)
    accent, call = _ACCENTS.get(match["accent"], ""), match["call"] or ""
    name = f"{accent}.{under}.{index}.{'p' * len(primes)}{call}"
    return rf"\variable{{v{name.encode().hex()}}}"


def _understood(found):
    """With i as the imaginary unit, functions that are no more than names, and closed sums."""
    if not isinstance(found, sympy.Basic):  # a matrix that can be changed
        return found.as_immutable() if hasattr(found, "as_immutable") else None
    named = {}
    for call in found.atoms(AppliedUndef):
        name = call.func.__name__.lstrip("\\")
        if name == "zeta" and len(call.args) == 1:
            named[call] = sympy.zeta(call.args[0], evaluate=False)
        else:
            named[call] = sympy.Symbol(f"{name}({', '.join(map(str, call.args))})")
    if named:
        found = found.xreplace(named)
    unit = sympy.Symbol("i")
    if found.has(unit) and not any(unit in bound for bound in _bound(found)):
        found = found.xreplace({unit: sympy.I})
    return closed(found) if isinstance(found, sympy.Expr) else found


def _bound(found):
    for node in found.atoms(sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit):
        yield node.atoms(sympy.Symbol) - node.free_symbols
