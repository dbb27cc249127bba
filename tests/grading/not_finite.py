# ruff: noqa: E501 (tables)
"""Answers that are no finite number: infinities, poles, divergences, words that say so."""

NOT_FINITE = [
    # infinities
    r"\infty", r"-\infty", r"+\infty", "∞", "-∞", r"\pm\infty", "infinity", "-inf", r"\text{infinity}",
    r"\infty+5", r"5-\infty", r"2\infty", r"\infty^2", r"\sqrt{\infty}", r"\frac{\infty}{2}", r"|-\infty|",
    r"\ln\infty", r"e^{\infty}", r"\infty!", r"x+\infty", r"x=\infty", r"x=-\infty", r"\infty i",
    # what limits of infinities would be
    r"\frac{1}{\infty}", r"1/\infty", r"e^{-\infty}", r"\infty^{-1}", r"\infty^0", r"0^{\infty}", r"1^{\infty}",
    r"\arctan\infty", r"\tanh\infty", r"\infty-\infty", r"\frac{\infty}{\infty}", r"0\cdot\infty", r"\cos\infty",
    # poles
    r"\frac10", r"\frac{1}{0}", "5/0", "-1/0", r"\frac{\pi}{0}", r"\frac{0}{0}", "0/0", "0^{-1}", "0^{-2}", r"\frac{x}{0}",
    "x/0", r"\frac{1}{1-1}", r"\frac{17}{5-5}", r"17+\frac{1}{0}", r"0\cdot\frac{1}{0}", r"(1-1)^{-1}", "0^0",
    r"\tan\frac{\pi}{2}", r"\tan(\pi/2)", r"\tan 90^\circ" + r"\cdot 0^{-1}", r"\cot 0", r"\cot\pi", r"\sec(\pi/2)", r"\csc 0", r"\csc\pi",
    r"\Gamma(0)", r"\Gamma(-1)", "(-1)!", "(-3)!", r"\zeta(1)", r"\frac{1}{\sin\pi}", r"\frac{1}{\sqrt{2}-\sqrt{2}}",
    # logarithms
    r"\ln 0", r"\log 0", r"\log(0)", r"\log_2 0", r"\log_{10}{0}", r"\log_1 5", r"\log_1 1", r"\log_0 5", r"\ln(1-1)", r"-\ln 0", r"\frac{1}{\ln 1}", r"0\cdot\ln 0",
    # divergences
    r"\sum_{n=1}^\infty 1", r"\sum_{n=1}^{\infty}\frac{1}{n}", r"\sum_{n=1}^{\infty}n", r"\sum_{n=0}^{\infty}(-1)^n", r"\sum_{n=1}^{\infty}2^n",
    r"\int_0^\infty 1 dx", r"\int_0^1\frac{1}{x}dx", r"\int_{-1}^{1}\frac{1}{x}dx", r"\int_1^\infty\frac{1}{x}dx", r"\int_0^\infty x^2 dx",
    r"\lim_{x\to0}\frac{1}{x}", r"\lim_{x\to0}\frac{1}{x^2}", r"\lim_{x\to\infty}x", r"\lim_{n\to\infty}2^n", r"\lim_{x\to0}\frac{|x|}{x}", r"\lim_{x\to\infty}\sin x", r"\prod_{n=1}^{\infty}2",
    # words and shapes
    "NaN", "nan", r"\text{NaN}", "undefined", r"\text{undefined}", r"\text{DNE}", "does not exist", r"\text{diverges}", "no solution", "unbounded",
    r"(\infty,\infty)", r"(-\infty,\infty)", r"[0,\infty)", r"\{\infty\}", r"\{-\infty,\infty\}", r"\infty,-\infty", r"(1,\infty)", r"(\infty,2,3)",
    r"(-\infty,0)\cup(0,\infty)", r"x<\infty", r"x>-\infty", r"\begin{pmatrix}\infty\\\infty\end{pmatrix}", r"\infty=\infty", r"\infty:\infty",
]  # fmt: skip
