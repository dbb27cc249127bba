"""Values of expressions, at a point and to any precision, and whether two have the same ones.

An expression has no value where any part of it has none: a pole, a logarithm of zero, an
infinity, an even root of a negative number among the reals. So nothing that is not finite can
pass for a number, however it is written. Equality is proved, not guessed from the first digits:
values are exact, or computed to more digits than two different results of such expressions could
share.
"""

from __future__ import annotations

import math
import random
from fractions import Fraction

import mpmath
import sympy

DIGITS = 60
_LARGEST_POWER_BITS = 5_000_000
_LARGEST_FACTORIAL = 20_000
_CONSTANTS = {sympy.pi: "pi", sympy.E: "e", sympy.EulerGamma: "euler", sympy.GoldenRatio: "phi"}
_QUOTIENTS = {"tan": ("sin", "cos"), "cot": ("cos", "sin"), "sec": ("", "cos"), "csc": ("", "sin")}
_OF_REALS = {"Max": max, "Min": min, "Mod": lambda a, b: a % b,
             "sign": lambda a: Fraction((a > 0) - (a < 0))}  # fmt: skip
_OF_ONE = (  # that mpmath has under the same name
    "asin acos atan acot asec acsc sinh cosh tanh coth sech csch asinh acosh atanh gamma zeta re im"
    " conj arg"
)


class NoValueError(ArithmeticError):
    """The expression has no finite value at this point."""


class Evaluation:
    """One way to evaluate: a point, a precision, among the reals or the complex numbers.

    ``magnitude`` sums the sizes of all intermediate results, in digits: two values that come
    out of so few digits cannot be nearer to each other than about that many digits without
    being equal. ``peak`` is the largest of them and ``lost`` the digits that went in subtractions;
    ``cancelled``: all of them went somewhere, which is zero only if more digits leave nothing too.
    """

    def __init__(self, point: dict, digits: int = DIGITS, *, among_complex: bool = False):
        self.point, self.digits, self.among_complex = point, digits, among_complex
        self.magnitude = self.peak = self.lost = 0.0
        self.exact, self.cancelled = True, False

    def value(self, expression):
        """A Fraction, or a number of mpmath; raises NoValueError where there is none."""
        with mpmath.workdps(self.digits):
            try:
                return self._value(expression)
            except (ValueError, ZeroDivisionError, OverflowError) as error:
                raise NoValueError(str(error)) from error

    def _value(self, e):
        result = self._checked(self._apply(e))
        exact, size = isinstance(result, Fraction), size_in_digits(result)
        if exact:
            bits = result.numerator.bit_length() + result.denominator.bit_length()
        self.magnitude += 0 if result == 0 else bits * 0.30103 if exact else abs(size)
        self.peak = max(self.peak, size)
        self.exact &= exact
        return result

    def _checked(self, result):
        """Finite, real where that is asked for, and zero where it is nothing but rounding."""
        if isinstance(result, Fraction):
            return result
        if isinstance(result, mpmath.mpc):
            if not result.imag:
                result = result.real
            elif not self.among_complex:
                raise NoValueError("not real")
        if not mpmath.isfinite(result):
            raise NoValueError("not finite")
        return result

    def _apply(self, e):
        if e.is_Rational:
            return Fraction(int(e.p), int(e.q))
        if e.is_Symbol:
            if e not in self.point:
                raise NoValueError(f"no value for {e}")
            return self.point[e]
        if e in _CONSTANTS:
            return +getattr(mpmath.mp, _CONSTANTS[e])
        if e is sympy.I:
            return mpmath.mpc(0, 1)
        if isinstance(e, sympy.Add):
            return self._sum([self._value(a) for a in e.args])
        if isinstance(e, sympy.Mul):
            return _product([self._value(a) for a in e.args])
        if isinstance(e, (sympy.Pow, sympy.exp)):
            base, exponent = e.as_base_exp() if isinstance(e, sympy.exp) else e.args
            a_root = not exponent.free_symbols
            return self._power(self._value(base), self._value(exponent), a_root=a_root)
        return self._function(type(e).__name__, [self._value(a) for a in e.args])

    def _sum(self, terms):
        if is_exact(terms):
            return sum(terms, Fraction(0))
        total = mpmath.fsum(map(inexact, terms))
        left = size_in_digits(total) - max(size_in_digits(t) for t in terms)
        if left < 8 - self.digits:
            return self._nothing_but_rounding()
        self.lost = max(self.lost, -left)
        return total

    def _power(self, base, exponent, *, a_root: bool = True):
        """``a_root``: an odd root of a negative number is real, as schools teach it."""
        if base == 0:
            if isinstance(exponent, mpmath.mpc) or exponent <= 0:
                raise NoValueError("a power of zero")
            return Fraction(0)
        if _whole(exponent):
            bits = max(map(int.bit_length, base.as_integer_ratio())) if is_exact([base]) else 0
            if bits and bits * abs(exponent) < _LARGEST_POWER_BITS:
                return base ** int(exponent)
            return mpmath.power(inexact(base), int(exponent))
        negative = not isinstance(base, mpmath.mpc) and base < 0
        if negative and not self.among_complex:
            odd = isinstance(exponent, Fraction) and exponent.denominator % 2
            if not (odd and a_root):
                raise NoValueError("an even root of a negative number")
            sign = -1 if exponent.numerator % 2 else 1
            return sign * mpmath.power(-inexact(base), inexact(exponent))
        root = exact_root(base, exponent) if is_exact([base, exponent]) and base > 0 else None
        return mpmath.power(inexact(base), inexact(exponent)) if root is None else root

    def _nothing_but_rounding(self):
        self.cancelled, self.exact = True, False
        return Fraction(0)

    def _function(self, name, args):
        if name in ("sin", "cos"):
            return self._wave(name, *args)
        if name in _QUOTIENTS:
            top, bottom = (self._wave(w, *args) if w else Fraction(1) for w in _QUOTIENTS[name])
            return _product([top, self._power(bottom, Fraction(-1))])
        if name == "log":
            return self._logarithm(*args)
        if name in ("floor", "ceiling"):
            return self._rounded(*args, up=name == "ceiling")
        args = args if is_exact(args) else [inexact(a) for a in args]
        if name in _OF_ALL:
            return _OF_ALL[name](*args)
        if name in _OF_REALS and not any(isinstance(a, mpmath.mpc) for a in args):
            return _OF_REALS[name](*args)
        if name in _OF_ONE.split() and len(args) == 1:
            return getattr(mpmath, name)(inexact(args[0]))
        raise NoValueError(f"{name} is not known")

    def _wave(self, name, x):
        result, size = getattr(mpmath, name)(inexact(x)), size_in_digits(x)
        if size < -1 or size_in_digits(result) > max(size, 0) + 8 - self.digits:
            return result
        return self._nothing_but_rounding()

    def _logarithm(self, argument, base=None):
        for x in (argument,) if base is None else (argument, base):
            if x == 0 or (not self.among_complex and x < 0):
                raise NoValueError("a logarithm of what is not positive")
        numerator = mpmath.log(inexact(argument))
        return numerator if base is None else numerator / mpmath.log(inexact(base))

    def _rounded(self, x, *, up: bool):
        if isinstance(x, Fraction):
            return Fraction(math.ceil(x) if up else math.floor(x))
        nearest = mpmath.nint(x)
        if abs(x - nearest) < mpmath.mpf(10) ** (max(size_in_digits(x), 0) + 8 - self.digits):
            return Fraction(int(nearest))
        return Fraction(int(mpmath.ceil(x) if up else mpmath.floor(x)))


def _factorial(n):
    if _whole(n):
        if n < 0:
            raise NoValueError("a factorial of a negative number")
        if n <= _LARGEST_FACTORIAL:
            return Fraction(math.factorial(int(n)))
    return mpmath.gamma(inexact(n) + 1)


def _binomial(top, bottom):
    if _whole(top) and _whole(bottom) and 0 <= top <= _LARGEST_FACTORIAL:
        return Fraction(math.comb(int(top), int(bottom)) if bottom >= 0 else 0)
    return mpmath.binomial(inexact(top), inexact(bottom))


_OF_ALL = {"Abs": abs, "UnevaluatedExpr": lambda a: a, "factorial": _factorial,
           "binomial": _binomial}  # fmt: skip


def _whole(x) -> bool:
    return isinstance(x, Fraction) and x.denominator == 1


def is_exact(values) -> bool:
    return all(isinstance(v, Fraction) for v in values)


def inexact(x):
    return mpmath.mpf(x.numerator) / x.denominator if isinstance(x, Fraction) else x


def _product(factors):
    return math.prod(factors) if is_exact(factors) else mpmath.fprod(map(inexact, factors))


def exact_root(base: Fraction, exponent: Fraction) -> Fraction | None:
    """``base ** exponent`` where that is rational and small, as in 8^(2/3)."""
    if exponent.denominator != 2 or abs(exponent.numerator) > 1000:
        return None
    top, bottom = math.isqrt(base.numerator), math.isqrt(base.denominator)
    if top * top != base.numerator or bottom * bottom != base.denominator:
        return None
    return Fraction(top, bottom) ** exponent.numerator


def size_in_digits(x) -> float:
    """Decimal digits before the point, negative for zeros behind it."""
    if x == 0:
        return -math.inf
    if isinstance(x, Fraction):
        return (x.numerator.bit_length() - x.denominator.bit_length()) * 0.30103
    return float(mpmath.mag(x)) * 0.30103


# Decimal digits that a proof of equality may need; what needs more is not decided.
MAX_DIGITS = 200_000
_IN_PIECES = (sympy.floor, sympy.ceiling, sympy.Mod, sympy.sign, sympy.Max, sympy.Min, sympy.Abs)
_UNEVALUATED = (sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit, sympy.Derivative)


class UndecidedError(ArithmeticError):
    """Equal as far as it was computed, which proves nothing here."""


def closed(expression):
    """With sums, products, integrals, limits and derivatives carried out."""
    done = {node: _carried_out(node) for node in expression.atoms(*_UNEVALUATED)}
    return expression.xreplace(done) if done else expression


def _carried_out(node):
    if isinstance(node, sympy.Derivative) and not node.expr.has(*node.variables):
        return sympy.Symbol(str(node))  # dy/dx is a name
    if isinstance(node, sympy.Limit) and node.args[2].is_finite:
        node = sympy.Limit(*node.args[:3], "+-")  # from both sides
    try:
        return node.doit()
    except Exception:  # sympy has a class for each of its reasons: there is no value
        return sympy.nan


def same_value(first, second, point: dict, *, among_complex: bool = False) -> bool:
    """Whether two expressions have the same value at a point; raises where one has none."""
    digits = DIGITS
    while True:
        runs = [Evaluation(point, digits, among_complex=among_complex) for _ in range(2)]
        a, b = (run.value(e) for run, e in zip(runs, (first, second), strict=True))
        if all(run.exact for run in runs):
            return a == b
        with mpmath.workdps(digits):
            gap = size_in_digits(inexact(a) - inexact(b))
        unsure = max(run.peak for run in runs) + max(run.lost for run in runs)
        same = gap < unsure + digits // 4 - digits
        needed = DIGITS + 4 * int(sum(run.magnitude for run in runs))
        if digits >= needed or not (same or any(run.cancelled for run in runs)):
            return same
        if needed > MAX_DIGITS:
            raise UndecidedError("equal to as many digits as were computed")
        digits = needed


def points(symbols, seed: int = 22617, *, more: int = 0) -> list[dict]:
    """Where expressions in these symbols are compared: fractions and whole numbers.

    Positive and negative, small and large, since roots and logarithms have few points and
    factorials and (-1)^n have whole ones only. ``more`` are for functions in pieces.
    """
    names = sorted(symbols, key=str)
    if not names:
        return [{}]
    rng = random.Random(seed)
    ranges = [(1, 9, 10), (1, 9, 7), (11, 39, 10), (11, 39, 7), (-39, -11, 7), (-9, 39, 10),
              (-39, 9, 7)]  # fmt: skip
    found = [
        {name: Fraction(rng.randint(low, high) or 1, scale) for name in names}
        for low, high, scale in ranges
    ]
    found += [{name: Fraction(rng.randint(2, 9)) for name in names} for _ in range(4)]
    return found + [
        {name: Fraction(rng.randint(-900, 900), 97) for name in names} for _ in range(more)
    ]


def same_function(first, second) -> bool:
    """Whether two expressions agree wherever both have a value.

    Decided by their values at several points, each exact or to a precision that proves it. Names
    that cancel out do not count. Raises NoValueError where they meet at fewer than three points.
    """
    for expression in (first, second):
        if not expression.free_symbols:  # what has no value here has none anywhere
            Evaluation({}, among_complex=True).value(expression)
    names = first.free_symbols | second.free_symbols
    among_complex = first.has(sympy.I) or second.has(sympy.I)
    pieces = first.has(*_IN_PIECES) or second.has(*_IN_PIECES)
    places = points(names, more=80 if pieces else 0)
    for complex_too in (False, True) if not among_complex else (True,):
        met = 0
        for point in places:
            try:
                if not same_value(first, second, point, among_complex=complex_too):
                    return False
                met += 1
            except NoValueError:
                continue
        if met >= min(3, len(places)):
            return True
    raise NoValueError("they have no values to compare")


def constant_ratio(first, second):
    """The constant that one expression is of the other, as far as its sign: 1, -1; 0 for none."""
    names = first.free_symbols
    if names != second.free_symbols or not names:
        return 0
    anchor, sign, met = None, 0, 0
    for point in points(names):
        try:
            values = [Evaluation(point).value(e) for e in (first, second)]
            if 0 in values:
                if any(values):
                    return 0
                continue
            if anchor is None:
                at = {name: sympy.Rational(v.numerator, v.denominator) for name, v in point.items()}
                anchor = [e.xreplace(at) for e in (first, second)]
                sign = 1 if (values[0] > 0) == (values[1] > 0) else -1
            if not same_value(first * anchor[1], second * anchor[0], point):
                return 0
            met += 1
        except NoValueError:
            continue
    return sign if met >= 3 else 0
