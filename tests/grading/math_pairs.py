# ruff: noqa: E501 (tables)
"""Pairs (answer, reference) that any fair grader agrees on, by kind of reference."""

SAME = {
    "integers": [("42", "42"), ("042", "42"), ("+42", "42"), ("1,000", "1000"), ("10{,}080", "10080"), (r"10,\!080", "10080"), ("1 000 000", "1000000"), ("142.0", "142"), (r"$42$", "42"), (r"\(42\)", "42"), ("{42}", "42"), ("42.", "42"), (r"\text{42}", "42"), (r"\mathbf{42}", "42"), ("−5", "-5")],
    "decimals": [(".5", "0.5"), ("0.50", ".5"), ("1/2", "0.5"), (r"\frac{1}{2}", "0.5"), ("1.5e3", "1500"), (r"1.5\times 10^3", "1500"), (r"1.5 \cdot 10^{3}", "1.5e3"), ("3.83e35", r"3.83 \times 10^{35}"), ("0,25", "0.25"), ("2.6667", r"\frac83"), ("1.41421", r"\sqrt{2}")],
    "fractions": [(r"\frac12", r"\frac{1}{2}"), (r"\dfrac{3}{4}", "3/4"), (r"\tfrac34", "0.75"), (r"-\frac{1}{2}", r"\frac{-1}{2}"), (r"\frac{2}{4}", r"\frac{1}{2}"), (r"1\frac{4}{5}", "9/5"), (r"137 \frac{1}{2}", "137.5"), (r"\frac{\pi}{2}", r"\pi/2"), ("(1/2)", r"\frac12"), (r"\frac{-1}{3}", r"-\frac13")],
    "units": [("10", r"10\text{ cm}"), (r"10 \text{ cm}", "10"), (r"15\mbox{ cm}^2", "15"), (r"15\text{ square cm}", r"15\text{ cm}^2"), (r"90^\circ", "90"), ("90", r"90^{\circ}"), (r"90\text{ degrees}", r"90^\circ"), (r"\$36", "36"), ("36", r"\$36"), ("5.4", r"5.4 \text{ cents}"), (r"50\%", "50"), ("0.5", r"50\%"), (r"62.5\%", "62.5 %"), ("125 miles", r"125\text{ miles}"), (r"48 \mathrm{~km} / \mathrm{h}", "48"), ("7.6 m", "7.6"), ("120°", r"120^\circ")],
    "expressions": [(r"2+\sqrt{3}", r"\sqrt3+2"), ("x+1", "1+x"), (r"(x-2)(x+2)", "x^2-4"), (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt2}"), ("2n-2", "2(n-1)"), (r"4\pi", r"\pi\cdot 4"), (r"\sin^2 x", r"1-\cos^2 x"), (r"2^{10}", "1024"), (r"e^{2 i t}", r"e^{2it}"), (r"\binom{5}{2}", "10"), ("5!", "120"), (r"\log_2 8", "3"), (r"\sqrt[3]{8}", "2"), (r"\lfloor \frac{n}{2}\rfloor", r"\left\lfloor n/2\right\rfloor"), ("1-12i", "-12i+1"), (r"11\sqrt2", r"11 \sqrt{2}"), (r"\frac{t}{m}", r"\frac{1}{m} t"), (r"|x|", r"\left|x\right|")],
    "named values": [("x=5", "5"), ("5", "x=5"), (r"f(x)=2x", "2x"), ("k = 3", "k=3"), (r"x \in [-2,7]", "[-2,7]"), ("(p,q)=(3,2)", "(3,2)"), (r"y=2x+3", "y = 3+2x"), (r"m_{\max}=n^2", "n^{2}"), ("x_1=3", "3")],
    "tuples": [("(1, 2)", "(1,2)"), (r"\left(3,\frac{\pi}{2}\right)", r"(3,\pi/2)"), ("(0.5,2)", r"(\frac12,2)"), (r"(6,31,-1)", "(6, 31, -1)"), (r"\left( \sqrt{8}, 1\right)", r"(2\sqrt2,1)")],
    "intervals": [("[0, 1)", "[0,1)"), (r"(-\infty, 0]", r"(-\infty,0]"), (r"(0,9)\cup(9,36)", r"(9,36) \cup (0,9)"), (r"(-\infty, 2) \cup (3, \infty)", r"(-\infty,2)\cup(3,+\infty)"), (r"-2\le x\le 7", r"x \in [-2,7]"), (r"\left[\frac12,1\right]", "[0.5,1]")],
    "lists": [("2, 1", "1,2"), ("1 and 2", "1,2"), (r"1 \text{ or } 2", "1, 2"), (r"\{1,2\}", r"\{2,1\}"), (r"\{1, 2\}", "1,2"), (r"x=1, x=2", "1,2"), (r"x=1 \text{ or } x=2", "1,2"), (r"1\pm\sqrt{5}", r"1-\sqrt5, 1+\sqrt5"), (r"3 \pm 2\sqrt2", r"3\pm2\sqrt{2}"), ("(1,2),(3,4)", "(3,4), (1,2)"), (r"\{1\pm\sqrt{5},-2\}", r"-2,1\pm\sqrt{5}"), ("x=1,y=2", "y=2,x=1"), (r"\frac32, \frac12", "0.5,1.5"), ("1;2", "1,2")],
    "matrices": [(r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}"), (r"\begin{pmatrix} 0.5 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1/2 \\ 2\\ \end{pmatrix}"), (r"\begin{array}{cc}1&2\end{array}", r"\begin{pmatrix}1 & 2\end{pmatrix}")],
    "bases": [("204_5", "204_{5}"), ("204", "204_5"), ("4210_{5}", "4210_5"), ("(11)_2", "11_2")],
    "text": [("Evelyn", r"\text{Evelyn}"), (r"\text{even}", "Even"), (r"\textbf{(C)}", r"\text{(C)}"), ("C", r"\text{(C)}"), ("(B)", "B"), (r"\text{east}", "East"), (r"\mathrm{ellipse}", r"\text{ellipse}")],
    "relations": [(r"x\geq 5", r"5\le x"), (r"x > 5", "5<x"), (r"5x-7y=4", r"7y-5x=-4"), (r"f(2) < f(1) < f(4)", "f(2)<f(1)<f(4)"), ("a:b=7:32", "7:32")],
}  # fmt: skip

DIFFERENT = {
    "integers": [("43", "42"), ("-42", "42"), ("420", "42"), ("4 2", "43"), ("42,43", "42"), ("32, 349", "32349"), ("0", "42"), (r"42\text{ or }43", "42")],
    "decimals": [("0.33", r"\frac13"), ("3.14", r"\pi"), (".0000673", ".0000672"), ("1.4142", "1.4143"), ("1e3", "1e4"), ("0.5", "0.05"), ("1.41422", r"\sqrt2")],
    "fractions": [(r"\frac21", r"\frac12"), ("1/3", "1/2"), (r"1\frac{3}{5}", "9/5"), (r"\frac{1}{2}", "12"), (r"-\frac12", r"\frac12")],
    "units": [(r"10\text{ cm}", r"10\text{ m}"), (r"50\%", "51"), (r"5\%", "0.5"), (r"\$3", r"3\text{ cents}"), (r"10 \text{ cm}", "11"), (r"90^\circ", r"91^\circ")],
    "expressions": [(r"2+\sqrt3", r"2-\sqrt3"), ("x+1", "x-1"), ("2^{2015}", "2^{2015}+1"), (r"\frac13+\frac{1}{3\cdot 2^{2003}}", r"\frac13"), ("n", "m"), (r"\frac{1}{m}", r"\frac{1}{m}t"), (r"\sqrt{x^2}", "x"), ("2n", "n^2"), ("e^x", "e^{-x}"), ("1-12i", "1+12i"), (r"\lambda_{red}/\sqrt3", r"\lambda_{red}/\sqrt2"), (r"10^{100}", r"10^{100}+1"), ("100!", "100!+1"), (r"\frac{2013^{2014}}{2013^{2013}-3}", r"\frac{2013^{2014}}{2013^{2013}-1}")],
    "named values": [("x=5", "6"), ("x=5", "y=6"), ("x+y=5", "5"), ("f(x)=2x", "x^2"), ("x<5", "5")],
    "tuples": [("(2,1)", "(1,2)"), ("(1,2)", "(1,2,3)"), ("(1,2)", "(1,3)"), ("[1,2]", "(1,2)")],
    "intervals": [("[0,1]", "[0,1)"), ("(0,1)", "(0,2)"), (r"(0,1)\cup(1,2)", "(0,2)"), (r"(-\infty,0)", r"(0,\infty)"), ("(0,9)", r"(0,9)\cup(9,36)"), (r"x<3", r"x\le 3")],
    "lists": [("1", "1,2"), ("1,2,3", "1,2"), ("1,3", "1,2"), ("1,1", "1,2"), ("16,3,3,1", "16,3,1,1"), (r"1+\sqrt5", r"1\pm\sqrt5"), ("2021", r"\pm 2021"), ("(2,1),(3,4)", "(1,2),(3,4)"), (r"\{1,2,3\}", r"\{1,2\}"), ("x=2,y=1", "x=1,y=2")],
    "matrices": [(r"\begin{pmatrix} 1 & 2 \\ 3 & 5 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"), (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"), (r"\begin{pmatrix} -1/13 \\ 2/3 \end{pmatrix}", r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}")],
    "bases": [("205_5", "204_5"), ("204_6", "204_5"), ("54", "204_5")],
    "text": [("Briana", r"\text{Evelyn}"), (r"\text{(D)}", r"\text{(C)}"), ("odd", "even"), ("d", r"\text{E}")],
    "relations": [(r"x\le 5", r"x\ge5"), ("x>-1", "x<1"), ("7:23", "7:32"), ("1:00", "12:00"), ("x=5", "x>5")],
}  # fmt: skip
