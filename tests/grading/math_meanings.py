# ruff: noqa: E501 (tables)
"""What notation means, and what cancels out, by kind: pairs (answer, reference)."""

SAME = {
    "what cancels out": [
        (r"\sqrt2-\sqrt2", "0"), (r"\sin\pi", "0"), (r"5+\ln2-\ln2", "5"), ("e^x-e^x+x", "x"), (r"\sqrt2-\frac{2}{\sqrt2}", "0"), (r"x\sin\pi", "0"),
    ],
    "congruences": [
        (r"n\equiv1\pmod{4}", r"n \equiv 1 \pmod 4"), (r"n\equiv 1\mod 4", r"n\equiv1\pmod 4"), (r"n\equiv 1 (\bmod 4)", r"n\equiv1\pmod 4"), ("n≡1 (mod 4)", r"n\equiv1\pmod 4"), (r"n\equiv-1\pmod{4}", r"n\equiv3\pmod4"), (r"\frac{17\bmod5}{2}", "1"), (r"p\equiv 1,3\pmod 8", r"p\equiv3\text{ or }1\pmod{8}"), (r"x\equiv1\pmod3,x\equiv2\pmod5", r"x\equiv2\pmod5,x\equiv1\pmod3"),
    ],
    "cases": [
        (r"\begin{cases} x & x>0\\ -x & x\le 0\end{cases}", r"\begin{cases} x & x > 0 \\ -x & x \leq 0\end{cases}"), (r"\begin{cases} x, & \text{if } x>0\\ -x, & \text{otherwise}\end{cases}", r"\begin{cases} x & x>0\\ -x & \text{otherwise}\end{cases}"),
        (r"\begin{cases}1&x=0\\0&x\ne0\end{cases}", r"\begin{cases}1 & \text{if }x=0\\0& \text{if }x\neq0\end{cases}"), (r"\begin{aligned}x&=1\\y&=2\end{aligned}", "x=1,y=2"), (r"\begin{cases}x+y=1\\x-y=3\end{cases}", "x+y=1,x-y=3"),
    ],
    "products, powers and functions": [
        (r"2(\frac12)", "1"), (r"\frac12(\frac12)", r"\frac14"), (r"5\frac12\pi", r"\frac{11\pi}{2}"), (r"2^\frac12", r"\sqrt2"), (r"\frac{(2n)!}{n!^2}", r"\binom{2n}{n}"), (r"\tbinom52", "10"), (r"\sum^{n}_{k=1}k", r"\frac{n(n+1)}{2}"), (r"2\gcd(m,n)", r"\gcd(n,m)\cdot2"),
        (r"\max\{a,b\}", r"\max(a,b)"), (r"[\frac{n}{2}]", r"\lfloor\frac n2\rfloor"), ("[5]", "5"), ("x^{T}", "x^T"), (r"3\mathrm{i}", "3i"), (r"2+3\mathrm{i}", "2+3i"), (r"\mathrm{e}^{2\mathrm{i}}", "e^{2i}"), (r"1,000\pi", r"1000\pi"), (r"10{,}000\sqrt{3}", r"10000\sqrt3"),
        (r"\sin(x+30^\circ)", r"\sin(x+\frac{\pi}{6})"), (r"\cos(90^\circ-x)", r"\sin x"), (r"\sin\frac{60^\circ}{2}", r"\frac12"),
    ],
    "sets and words": [
        (r"\mathbb{R}\setminus\{0\}", r"(-\infty,0)\cup(0,\infty)"), (r"(-\infty,0)\cup(0,\infty)", r"\mathbb{R}-\{0\}"), (r"(x,y)\in\{(1,2),(3,4)\}", "(1,2),(3,4)"), (r"\text{DNE}", r"\text{does not exist}"), (r"\text{No solutions}", r"\emptyset"), ("all real numbers", r"x\in\mathbb{R}"), (r"\approx 3.14", "3.14"),
    ],
}  # fmt: skip

DIFFERENT = {
    "what cancels out": [
        (answer, reference)
        for answer in (r"\sqrt2-\sqrt2", r"\sin\pi", "e^x-e^x", r"\ln2-\ln2", r"x\sin\pi", r"\sqrt x-\sqrt x+1", r"\sqrt{1+10^{-500}}-1")
        for reference in (r"\sqrt3", "x+1", "2", r"3\pi", "10^{-30}", "y=2x", r"\binom n2", "-1")
    ],
    "congruences": [
        (r"n\equiv1\pmod{4}", r"n\equiv1\pmod5"), (r"n\equiv1\pmod{4}", r"n\equiv3\pmod4"), (r"n\equiv1\mod4", r"n\equiv1\mod5"), (r"n\equiv1\pmod{4}", "n=1"), ("n=1", r"n\equiv1\pmod4"), (r"m\equiv1\pmod{4}", r"n\equiv1\pmod4"), (r"p\equiv 1,3\pmod 8", r"p\equiv1,5\pmod8"), (r"p\equiv 1,3\pmod 8", r"p\equiv1\pmod8"), (r"2x\approx10", "10"),
    ],
    "cases": [
        (r"\begin{cases}1&x=0\\0&x\ne0\end{cases}", r"\begin{cases}2&x=0\\0&x\ne0\end{cases}"), (r"\begin{cases}1&x=0\\0&x\ne0\end{cases}", r"\begin{cases}1&x=1\\0&x\ne1\end{cases}"), (r"\begin{cases} 1&x=0\\2&x=1\end{cases}", "1,2"), (r"\begin{cases}1&2\\3&4\end{cases}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    ],
    "products, powers and functions": [
        (r"2(\frac12)", "2.5"), (r"(1)\frac12", "1.5"), (r"5\frac12\pi", r"\frac{5\pi}{2}"), ("e^T", "e"), ("P(1+r)^T", "P(1+r)"), (r"\gcd(m,n)", "1"), (r"\operatorname{lcm}(m,n)", "mn"), (r"\gcd(m,n)", r"\gcd(m,k)"), (r"\log^3_2x", r"\log^3x"), (r"x-\{x\}", "0"),
        (r"[\frac{n^2+2n-1}{2}]", r"\frac{n^2+2n-1}{2}"), (r"n+[\frac{n}{2}]", r"\frac{3n}{2}"), ("[x]", "x"), (r"3\mathrm{i}", "3"), (r"3\text{e}", "3"), (r"5\text{^2}", "5"), (r"5\text{!}", "5"), (r"1,000\pi", r"\pi"), (r"\sin(x+30^\circ)", r"\sin(x+30)"),
    ],
    "sets and words": [
        (r"\mathbb{R}\setminus\{0\}", r"(-\infty,1)\cup(1,\infty)"), (r"\mathbb{R}\setminus\{0\}", r"(-\infty,0]\cup(0,\infty)"), (r"\mathbb{R}\setminus\{0\}", r"(-\infty,\infty)"), (r"\text{no solution}", "0"), (r"\text{DNE}", r"\text{no solution}"), (r"\text{DNE}", "0"), (r"(x,y)\in\{(1,2)\}", "(2,1)"),
    ],
}  # fmt: skip
