"""LaTeX read as objects of sympy, and the program that compares two of them as mathematics.

The parser behind math-verify drops primes, takes I for the imaginary unit and gamma for Euler's
constant, and lowers capitals; here each symbol goes through it under a name of its own.

Sympy may take for ever on a short text, so :mod:`entropy_mech.grading.maths` starts this module as
a program: a warm process and in it a pool of one that compares. It loads math-verify once (a
second); pebble ends a comparison that runs over its limit and forks the next process (some
milliseconds). It is a program of its own and no pool in the caller's process, so that whatever the
caller is or does - a thread, a notebook, a fork, an interpreter that hangs - ends in a verdict.
"""

from __future__ import annotations

import functools
import gc
import logging
import os
import re
import resource
import select
import signal
import sys
import threading
from fractions import Fraction
from multiprocessing import get_context

import math_verify
import mpmath
import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, _Latex2Sympy
from pebble import ProcessExpired, ProcessPool
from sympy.core.function import AppliedUndef

from entropy_mech.grading.inside import confine, frames
from entropy_mech.grading.mathematics.normal import normal
from entropy_mech.grading.mathematics.quantity import OF_ANGLE, number
from entropy_mech.grading.mathematics.structure import Closeness, Comparison, rounds_to
from entropy_mech.grading.mathematics.values import (
    DIGITS,
    Evaluation,
    closed,
    constant_ratio,
    same_function,
)  # fmt: skip

logging.disable(logging.CRITICAL)  # math-verify logs every text that it cannot read

EXACT = Closeness()
_INFINITE = (sympy.S.Infinity, sympy.S.NegativeInfinity)
_BOUNDS = re.compile(
    r"\\(?:sum|prod|int|lim|bigcup|bigcap)(?![a-z])"
    r"(?: ?[_^](?:\{(?:[^{}]|\{[^{}]*\})*\}|\\[a-z]+|[-+]?\w))*"
)
_NOT_FINITE = (*_INFINITE, sympy.S.ComplexInfinity, sympy.S.NaN)
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
_OF_ANGLE = re.compile(rf"{OF_ANGLE}(?![a-z]|\^\{{-1\}})")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\^\\circ(?![a-zA-Z])")
_ONE = r"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}"  # a group with groups inside
_FRACTION = rf"\\frac{_ONE}{_ONE}"
_SPELLED = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?:np|numpy|math|sympy)\.(?=[a-z])", ""),
        (r"\*\*", "^"),
        (rf"\\(?:text|operatorname)\{{({_FUNCTIONS})\}}", r"\\\1 "),
        (rf"(?<![\\a-zA-Z])({_FUNCTIONS})(?=[ (\\{{^_\d]|[a-z](?![a-z]))", r"\\\1 "),
        (r"\\sqrt ?\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\^\(([^()]*)\)", r"^{\1}"),
        (rf"\^({_FRACTION}|\\sqrt{_ONE})", r"^{\1}"),
        (r"\\(max|min|gcd|lcm) ?\\\{([^{}]*)\\\}", r"\\\1(\2)"),
        (r"(\d+|[a-zA-Z]|\([^()]*\))!(?=\^)", r"(\1!)"),
        # brackets that hold nothing together are Gauss's, for the whole part
        (rf"^\[([^\[\],]*)\]$|(?<!\\sqrt)\[({_FRACTION}|\\sqrt{_ONE})\](?!\^)",
         r"\\lfloor \1\2\\rfloor "),
        (r"\^-(\d+|[a-zA-Z])(?![a-zA-Z\d])", r"^{-\1}"),
        (r"\\log_(\d)(?=\d+(?![\d ({\\a-zA-Z]))", r"\\log_{\1}"),  # as TeX reads it
        (r"\\text\{ ?([A-Za-z]) ?\}", r"\1"),  # a letter is a letter, upright or not
        (r"\\lg(?![a-zA-Z])", r"\\log_{10}"),
        (r"\\(?:rightarrow|longrightarrow)(?![a-zA-Z])", r"\\to "),
        (r"\\bmod(?![a-zA-Z])", r"\\mod "),
        (r"\\(?:lvert|rvert|vert|mid)(?![a-zA-Z])", "|"),
        (r"\\(?:lbrace)(?![a-zA-Z])", r"\\{"),
        (r"\\(?:rbrace)(?![a-zA-Z])", r"\\}"),
        (rf"\\(arc(?:sin|cos|tan|cot))({_FRACTION})", r"\\\1(\2)"),
        (r"(?<![\w_^.}])(\d+) ?(\\frac\{\d+\}\{\d+\})(?=[a-zA-Z(]|\\(?:pi|sqrt)(?![a-zA-Z]))",
         r"(\1+\2)"),
        # numbers side by side are a product, where brackets keep them from being a mixed number
        (r"(?<![\w_^.{])(\d+(?:\.\d+)?)\((?=[-+*/^\d.\\ ]+\)|\\frac)", r"\1\\cdot("),
        (r"\) ?(?=\(|\d|\\frac)", r")\\cdot "),
        (r"(\d)(\\(?:lim|sum|prod|int)(?![a-zA-Z]))", r"\1\\cdot \2"),
    )
)  # fmt: skip
_GREEK = (
    "alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|vartheta|iota|kappa|lambda|mu|nu|xi|"
    "omicron|rho|varrho|sigma|varsigma|tau|upsilon|phi|varphi|chi|psi|omega|Gamma|Delta|Theta|"
    "Lambda|Xi|Pi|Sigma|Upsilon|Phi|Psi|Omega|ell|hbar|mho|imath|jmath|Re|Im"
)
_SYMBOL = re.compile(
    rf"(?P<skip>\\(?:text|begin|end|variable)(?:{_ONE})?|\\(?:d?frac|sqrt|log|ln|lim|sum|prod|int)"
    rf"(?![a-zA-Z])|\\(?!(?:{_GREEK}|{'|'.join(_ACCENTS)})(?![a-zA-Z]))(?:[a-zA-Z]+|.))"
    rf"|(?:\\(?P<accent>{'|'.join(_ACCENTS)})(?![a-zA-Z]) ?(?P<under>{_ONE}|\\?[a-zA-Z]+)"
    rf"|(?P<letter>\\(?:{_GREEK})(?![a-zA-Z])|[a-zA-Z]))"
    rf"(?P<first>'*)(?:_(?P<index>{_ONE}|\\[a-zA-Z]+|\w))?(?P<last>'*)"
    r"(?P<call>\(-?\d+(?:\.\d+)?\)(?!\())?"  # f(0) is a value, not a product
)
_SETS = {rf"\mathbb{{{letter}}}" for letter in "RZNQC"}
_NO_NUMBER = re.compile(
    r"(?<![_^\d])\d+ \d|!!|\d\.\d*\.\d|\\approx|\\pmod|\\equiv.*\\mod", re.DOTALL
)


class _Parser(_Latex2Sympy):
    def parse_number(self, text: str) -> sympy.Rational:
        """Exact, and without sympy's own parser of Python, which takes milliseconds a number."""
        value = Fraction(text.replace(",", ""))
        return sympy.Rational(value.numerator, value.denominator)

    def handle_gcd_lcm(self, name: str, args):
        """Of numbers; sympy would take letters for polynomials, and 1 for gcd(m, n)."""
        if any(arg.free_symbols for arg in args):
            return sympy.Function(name)(*sorted(args, key=str))
        return super().handle_gcd_lcm(name, args)


@functools.lru_cache(maxsize=4096)  # a reference meets many answers
def read(text: str):
    """The object that a whole text denotes; None if some of it cannot be read."""
    for pattern, replacement in _SPELLED:
        text = pattern.sub(replacement, text)
    if _OF_ANGLE.search(text):
        text = _DEGREES.sub(r"(\\frac{\1\\pi}{180})", text)
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
    if isinstance(found, list) or (isinstance(found, sympy.Expr) and "\\{" in text):
        return None  # the latter: a fractional part
    return _understood(found)


def _own_name(match: re.Match) -> str:
    """A symbol under a name that the parser keeps, where it would not keep this one."""
    if match["skip"] or match.group() in _SETS:
        return match.group()
    letter, primes = match["letter"], match["first"] + match["last"]
    index = re.sub(r"\\(?:text|mathrm)(?![a-zA-Z])|[{}\s\\]", "", match["index"] or "")
    if letter and not primes and not index:
        known = letter[0] == "\\" and (match["call"] or match.string[match.end() :][:1] == "(")
        lost = match["call"] or letter in ("I", "E", r"\gamma", r"\Gamma", r"\beta")
        lost = lost or (letter == "T" and "\\end{" not in match.string)  # no transposition
        if letter == "e" or known or not lost:  # known: a function that the parser may know
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
    if isinstance(found, sympy.Complement):
        found = sympy.Complement(*found.args)  # the parser leaves it as it is
    unit = sympy.Symbol("i")
    if found.has(unit) and not any(unit in bound for bound in _bound(found)):
        found = found.xreplace({unit: sympy.I})
    return closed(found) if isinstance(found, sympy.Expr) else found


def _bound(found):
    for node in found.atoms(sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit):
        yield node.atoms(sympy.Symbol) - node.free_symbols


def same_algebra(answer: str, reference: str, closeness: Closeness = EXACT) -> bool:
    """Whether two normalised texts denote the same mathematical object.

    Expressions are the same if they have the same values; infinities and what has no value are
    no values, and are the same as nothing but the infinity of the same sign. A decimal is right
    if it is the exact constant, rounded to five digits or more. Equations are the same up to a
    factor. Inequalities, sets and matrices are math-verify's to decide.
    """
    gold, found = (_single(read(text)) for text in (reference, answer))
    if isinstance(gold, sympy.Eq) != isinstance(found, sympy.Eq):
        gold, found = map(_as_set, (gold, found))
    if gold is None or found is None:
        return False
    if gold in _INFINITE or found in _INFINITE:
        return gold == found
    if gold.is_Matrix or found.is_Matrix:
        return _same_matrix(gold, found)
    if isinstance(gold, sympy.Expr) and isinstance(found, sympy.Expr):
        if _reckons_with_infinity(answer) or _reckons_with_infinity(reference):
            return False
        constants = not (gold.free_symbols or found.free_symbols)
        near = constants and _near(gold, found, answer, reference, closeness)
        return near or same_function(gold, found)
    if isinstance(gold, sympy.Eq) and isinstance(found, sympy.Eq):
        return _same_equation(gold, found)
    if any(isinstance(thing, (sympy.Eq, sympy.Expr)) for thing in (gold, found)):
        return False  # an equation is not a value, and a value is not a set
    if gold == found:
        return True
    if isinstance(gold, sympy.Set) == isinstance(found, sympy.Set) and (
        gold.free_symbols != found.free_symbols or _infinities(gold) != _infinities(found)
    ):
        return False
    if _same_inequality(gold, found):
        return True
    gold, found = map(_among_reals, (gold, found))
    return bool(math_verify.verify(gold, found, timeout_seconds=None, allow_set_relation_comp=True))


def _reckons_with_infinity(text: str) -> bool:
    r"""Whether infinity is an operand, as in e^{-\infty}, not a bound of a sum or a limit."""
    return "\\infty" in _BOUNDS.sub("", text)


def found_in(text: str) -> list[str]:
    """What math-verify takes for the answer in a text, normalised; the last of its forms."""
    found = math_verify.parse(text, parsing_timeout=None)
    return [normal(one) for one in found[-1:] if isinstance(one, str)]


def _near(gold, found, answer: str, reference: str, closeness: Closeness) -> bool:
    """Whether one of two real constants is a decimal that rounds the other, or is near enough."""
    decimals = number(answer), number(reference)
    if closeness == EXACT and not any(d and d.decimals is not None for d in decimals):
        return False
    values = [Evaluation({}).value(e) for e in (found, gold)]
    if any(isinstance(value, mpmath.mpc) for value in values):
        return False
    mine, theirs = map(_as_fraction, values)
    near = closeness != EXACT and closeness.same(mine, theirs)
    pairs = zip(decimals, (theirs, mine), strict=True)
    return near or any(decimal and rounds_to(decimal, exact) for decimal, exact in pairs)


def _as_fraction(value) -> Fraction:
    if isinstance(value, Fraction):
        return value
    with mpmath.workdps(DIGITS):
        return Fraction(mpmath.nstr(value, DIGITS))


def _as_set(thing):
    """The set in "x is in a set", which the parser reads as an equation."""
    if isinstance(thing, sympy.Eq) and thing.lhs.is_Symbol and isinstance(thing.rhs, sympy.Set):
        return thing.rhs
    return thing


def _single(thing):
    """The only element of a set that has no other."""
    alone = isinstance(thing, sympy.FiniteSet) and len(thing.args) == 1
    return thing.args[0] if alone and isinstance(thing.args[0], sympy.Expr) else thing


def _same_matrix(gold, found) -> bool:
    """The same shape and, carried out, the same entries."""
    if not (gold.is_Matrix and found.is_Matrix):
        return False
    gold, found = gold.doit(), found.doit()
    return gold.shape == found.shape and all(map(same_function, gold, found))


def _same_equation(gold, found) -> bool:
    """The same solutions: one side minus the other is the same, up to a factor.

    An equation in one unknown that is solved is a value with its name: restating the problem
    does not answer it.
    """
    if _solved(gold) and not _solved(found):
        return False
    sides = [e.lhs - e.rhs for e in (gold, found) if _has_sides(e)]
    if len(sides) < 2 or any(side.has(*_NOT_FINITE) for side in sides):
        return gold == found
    if constant_ratio(*sides):
        return True
    cleared = [sympy.fraction(sympy.together(side))[0] for side in sides]
    return cleared != sides and bool(constant_ratio(*cleared))


def _same_inequality(gold, found) -> bool:
    """One side minus the other is the same, up to a positive factor."""
    if not all(hasattr(e, "gts") and _has_sides(e) for e in (gold, found)):
        return False
    strict = [isinstance(e, (sympy.StrictGreaterThan, sympy.StrictLessThan)) for e in (gold, found)]
    return strict[0] == strict[1] and constant_ratio(*(e.gts - e.lts for e in (gold, found))) == 1


def _among_reals(thing):
    """With symbols for real numbers, without which sympy solves no inequality."""
    return thing.xreplace({s: sympy.Symbol(s.name, real=True) for s in thing.free_symbols})


def _has_sides(equation) -> bool:
    return all(isinstance(side, sympy.Expr) for side in equation.args)


def _solved(equation) -> bool:
    sides = (equation.args, equation.args[::-1])
    return any(a.is_Symbol and not b.free_symbols for a, b in sides)


def _infinities(thing) -> list[str]:
    return sorted(map(str, thing.atoms(*map(type, _NOT_FINITE))))


# -- the program ----------------------------------------------------------------------------------
MEMORY_GIB = 4
OUR_FAULT = (OSError, ImportError)  # of a comparison: no answer can bring these about
WARM_UP = (
    r"\frac{x+2}{7}", r"\frac{3\sqrt{5}-\pi}{4}", r"2^{n-1}(n+1)!", r"\binom{n}{2}", r"x^2-4x+3",
    r"-\frac{\sqrt[3]{7}}{2}", r"e^{-2t}\cos(3t)", r"\log_{2}5", r"y=2x", r"6-5i", r"2\pi/\omega",
)  # fmt: skip


def compare(job: dict) -> dict:
    """Compare each answer, and what is found in a text, with each reference until two agree."""
    closeness = Closeness(job["relative_tolerance"], job["absolute_tolerance"])
    comparison = Comparison(closeness, same_algebra)
    answers, problems = list(job["answers"]), [""]

    def tried(function, *texts):
        try:
            return function(*texts)
        except OUR_FAULT:
            raise
        except Exception as error:
            problems.append(_in_a_line(error))

    try:
        for text in job["prose"]:
            answers += tried(found_in, text) or []
        for reference in job["references"]:
            if any(tried(comparison.same, answer, reference) for answer in answers):
                return {"same": True}
    except OUR_FAULT as error:
        return {"failed": _in_a_line(error)}
    return {"same": False, "problem": problems[-1]}


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def memory_limit() -> tuple[int, int]:
    """The bytes that a comparison may take, and those that this machine grants it."""
    wanted, hard = MEMORY_GIB << 30, resource.getrlimit(resource.RLIMIT_AS)[1]
    return wanted, wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _confine(*not_its_files: int) -> None:
    """Begin the process that compares: it reads libraries only, in bounded memory."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # ends it at once; pebble's own handler waits
    own = [sys.prefix, sys.base_prefix, *filter(None, sys.path)]
    libraries = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    confine.landlock([*own, *libraries, "/usr", "/lib", "/lib64"], [os.devnull])
    _, granted = memory_limit()
    resource.setrlimit(resource.RLIMIT_AS, (granted, granted))
    for descriptor in not_its_files:
        os.close(descriptor)


def whose_fault(answer: dict | None, code: int) -> dict:
    """Return the answer; where there is none, who ended it: the comparison or this machine.

    A process that ends by a signal of its own ran out of memory or of stack over what it compared.
    """
    if answer is None and code == -signal.SIGKILL:  # the caller starts another, once
        sys.exit("the process that does the algebra was killed from outside")
    if answer is None and code >= 0:
        return {"failed": f"the process that does the algebra ended with {code}"}
    wanted, granted = memory_limit()
    starved = answer is None or answer.get("problem", "").startswith("MemoryError")
    if starved and granted < wanted:
        return {"failed": f"a comparison may take {MEMORY_GIB} GiB, and this machine grants a "
                f"process {granted / (1 << 30):.3g} (see ulimit -H -v)"}  # fmt: skip
    return {"died": f"signal {-code}"} if answer is None else answer


def ask(pool: ProcessPool, job: dict) -> dict:
    """The answer of ``compare``, or whether it was late, or why there is none."""
    try:
        return whose_fault(pool.schedule(compare, args=[job], timeout=job["timeout_s"]).result(), 0)
    except TimeoutError:
        return {"late": True}
    except (ProcessExpired, RuntimeError) as lost:  # the latter: before it began
        return whose_fault(None, getattr(lost, "exitcode", -signal.SIGKILL))


def _end_with_caller(control_in: int) -> None:
    """End this program, and what it compares just now, when its caller has died."""
    end = select.poll()
    end.register(control_in, 0)
    end.poll()
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    control_in, control_out = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    for text in WARM_UP:  # parsers learn from what they read; every later fork inherits it
        same_algebra(text, f"{text}+1")
    gc.collect()
    gc.freeze()
    pool = ProcessPool(
        1, initializer=_confine, initargs=(control_in, control_out), context=get_context("fork")
    )
    threading.Thread(target=_end_with_caller, args=[control_in], daemon=True).start()
    frames.send(control_out, {"ready": True})
    while (job := frames.receive(control_in)) is not None:
        frames.send(control_out, {"begun": True})
        frames.send(control_out, ask(pool, job))


if __name__ == "__main__":
    main()
