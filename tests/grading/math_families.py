# ruff: noqa: E501 (tables)
"""Relatives of faults that were found from outside, by kind: pairs (answer, reference)."""

SAME = {
    "computations": [
        (r"\frac{18}{3}=6", "6"), (r"2^{10}=1024", "1024"), (r"\frac34=0.75", "0.75"), (r"\frac34=0.75", r"\frac34"), ("6=6", "6"), ("3+4=7", "7"),
        (r"5\cdot 6=30", "30"), (r"x=\frac{18}{3}=6", "6"), ("x=2+3=5", "x=5"), ("12/4=3", "3"), (r"\binom{5}{2}=10", "10"), ("5!=120", "120"),
        (r"\sqrt{16}=4", "4"), ("1+2+3=6", "6"), ("50-8=42", "42"), (r"AB=\sqrt{9+16}=5", "5"), (r"\sqrt2\approx1.414", r"\sqrt2"), (r"\sqrt2\approx1.414", "1.414"),
        (r"x=\frac13\approx0.333", r"\frac13"), (r"\frac{2}{4}=\frac12=0.5", "0.5"), ("5=x", "5"), ("7", "3+4=7"),
        (r"\frac{63}{9}=7\text{ cm}", "7"), (r"f(2)=4-1=3", "3"), (r"P(A)=\frac{2}{6}=\frac13", r"\frac13"),
    ],
    "relations": [
        ("y=4x-7", "4x-y-7=0"), ("4x-y-7=0", "y=4x-7"), ("2x-y+3=0", "y=2x+3"), (r"y=\frac{2}{3}x-1", "2x-3y=3"), (r"\frac{x}{2}+\frac{y}{3}=1", "3x+2y=6"),
        ("xy=1", r"y=\frac{1}{x}"), ("x^2+y^2=25", "y^2+x^2-25=0"), ("-x-y+2=0", "x+y=2"), ("2x+2y=4", "x+y=2"), ("y-3=2(x-1)", "y=2x+1"), ("x=2y+3", "x-2y-3=0"),
        ("(x-1)^2+(y-2)^2=4", "x^2+y^2-2x-4y+1=0"), (r"\frac{x^2}{4}+\frac{y^2}{9}=1", "9x^2+4y^2=36"), ("y^2=4x", "x=\\frac{y^2}{4}"), ("x+y+z=1", "z=1-x-y"), ("0=x+y-2", "x+y=2"),
        (r"x\geq 5", r"5\le x"), ("2x>6", "x>3"), ("x<3", "3>x"), (r"-2\le x\le 7", r"[-2,7]"), ("f(t)=2t", "f(x)=2x"), ("g(n)=n^2+1", "g(x)=x^2+1"), ("x=5", "5=x"), ("2x+2y<4", "x+y<2"), ("-x<-3", "x>3"),
        ("y=-x", "x+y=0"), (r"3y=6x+9", "y=2x+3"),
    ],
    "lists in prose": [
        ("4, 7, and 9", "4,7,9"), ("4, 7 and 9", "4,7,9"), ("4 and 7", "4,7"), ("4, 7, or 9", "4,7,9"), (r"4,7,\text{ and }9", "4,7,9"), (r"4\text{ and }7", "4,7"),
        (r"$4$, $7$, and $9$", "4,7,9"), ("x=4, x=7, and x=9", "4,7,9"), ("both 4 and 7", "4,7"), ("x=4 or x=7", "4,7"), ("x=4,7", "4,7"), ("9, 7, and 4", "4,7,9"),
        (r"-1, 0 \text{, and } 1", "-1,0,1"), ("(1,2) and (3,4)", "(1,2),(3,4)"), (r"\frac12, \frac13, and \frac14", r"\frac12,\frac13,\frac14"), ("1; 2; and 3", "1,2,3"),
        (r"\{4, 7, 9\}", "4,7,9"), ("4 and 7 and 9", "4,7,9"), (r"x = 4 \text{ or } x = 7", "x=4,7"), ("n=1,2,3", "1,2,3"),
    ],
    "words that announce": [
        ("The answer is $5$.", "5"), ("the answer is 5", "5"), ("The final answer is: 5", "5"), ("Answer: 5", "5"), ("x equals 5", "5"), ("x is 5", "5"), ("so x = 5", "5"),
        ("Therefore, 5", "5"), ("we get 5", "5"), ("it is 5", "5"), (r"\text{The answer is }5", "5"), (r"\text{Answer: } \frac12", "0.5"), ("5 is the answer", "5"),
        ("The value of x is 5", "5"), ("the sum is 5", "5"), ("the area is 5", "5"), ("The largest n is 34", "34"), ("thus the result is (1,2)", "(1,2)"), ("答案是5", "5"),
        ("which is 5", "5"), ("option B", "B"), ("Hence, the probability is 1/2.", r"\frac12"), ("The solutions are 1 and 2", "1,2"),
    ],
    "nouns behind a number": [
        ("18 marbles", "18"), ("18", "18 marbles"), ("5小时", "5"), ("10weeks", "10"), ("10 weeks", "10"), (r"18\text{ marbles}", "18"), ("3 people", "3"), ("5 apples", "5"), ("12 cm", "12"), ("12cm", "12"),
        ("7 students", "7"), ("1 day", "1"), ("1.5 hours", "1.5"), ("20 miles per hour", "20"), ("4 square feet", "4"), ("1,200 dollars", "1200"), (r"\frac12\text{ cup}", "0.5"), ("6 ways", "6"),
        ("$18$ marbles", "18"), ("25 red marbles", "25"), (r"15\,\mathrm{kg}", "15"), ("3 o'clock", "3"), ("8 sides", "8"), ("90 degrees", r"90^\circ"), ("2 real roots", "2"), ("5 children", "5"), ("7.6 m", "7.6"),
    ],
    "numbers": [
        ("5 3/4", r"\frac{23}{4}"), ("5 3/4", "5.75"), ("-2 1/2", "-2.5"), (r"5\frac34", "5 3/4"), (r"0.\overline{7}", r"\frac79"), (r"0.\overline{142857}", r"\frac17"), (r"0.1\overline{6}", r"\frac16"),
        (r"1.\overline{3}", r"\frac43"), (r"0.\bar{3}", r"\frac13"), ("0.(3)", r"\frac13"), (r"2.3\overline{45}", r"\frac{129}{55}"), (r"-0.\overline{9}", "-1"), (r"0.\dot{3}", r"\frac13"),
        ("(4)(5)", "20"), ("2(3)", "6"), ("(2)(3)(4)", "24"), ("2(3+4)", "14"), (r"(1+2)(3)", "9"), ("forty-two", "42"), ("Seven", "7"), ("2 million", "2000000"), ("two hundred and five", "205"), ("three dozen", "36"),
        ("1.5 million", "1500000"), (r"\sqrt{p}\sqrt{q}", r"\sqrt{pq}"), (r"\sqrt{2}\sqrt{3}", r"\sqrt6"), (r"\sqrt[3]{-8}", "-2"), (r"x\sqrt{x}", "x^{3/2}"), (r"\ln x^2", r"2\ln x"),
    ],
    "looks": [
        (r"\textcolor{blue}{18}", "18"), (r"\color{red}{18}", "18"), (r"{\color{red}18}", "18"), (r"\color{red} 18", "18"), (r"\bm{x}+1", "x+1"), (r"\boldsymbol{\frac12}", "0.5"), (r"\underline{18}", "18"), (r"\mathbf{18}", "18"),
        (r"\mathbf{v}", "v"), (r"\mathrm{x}+1", "x+1"), (r"\displaystyle\frac12", "0.5"), (r"\large 18", "18"), (r"\textbf{18}", "18"), (r"\emph{18}", "18"), (r"18\phantom{0}", "18"), (r"18 \tag{1}", "18"),
        (r"\colorbox{yellow}{18}", "18"), (r"\mathrm{d}x", "dx"), (r"\ensuremath{18}", "18"), (r"\textcolor{red}{x}+\textcolor{blue}{1}", "x+1"), (r"\pmb{3}", "3"), (r"\bm{(1,2)}", "(1,2)"), ("**18**", "18"), (r"\underline{\textbf{18}}", "18"),
    ],
    "carried out": [
        (r"\lim_{x\to0}\frac{\sin x}{x}", "1"), (r"\lim_{n\to\infty}\left(1+\frac1n\right)^n", "e"), (r"\lim_{x \to 2} x^2", "4"), (r"\lim\limits_{x\to\infty}\frac{2x}{x+1}", "2"), (r"\sum_{k=1}^{4}k", "10"), (r"\sum_{n=1}^{\infty}\frac{1}{n^2}", r"\frac{\pi^2}{6}"),
        (r"\sum_{n=0}^{\infty}\frac{1}{2^n}", "2"), (r"\int_0^1 2x\,dx", "1"), (r"\int_0^{\pi}\sin x\,dx", "2"), (r"\prod_{k=1}^{5}k", "120"), (r"\sum_{k=1}^{n}k", r"\frac{n(n+1)}{2}"), (r"\lim_{x\to0}\frac{\sin x}{x}=1", "1"), (r"\log_2 8", "3"), (r"\sin\frac{\pi}{6}", r"\frac12"),
        (r"\gcd(12,18)", "6"), (r"\lfloor 3.7\rfloor", "3"), (r"\max(3,7)", "7"), (r"|{-5}|", "5"), (r"17 \bmod 5", "2"), (r"\arctan 1", r"\frac{\pi}{4}"), (r"(1+i)^2", "2i"), (r"e^{i\pi}", "-1"), (r"\sqrt{-4}", "2i"), (r"\cos^2x+\sin^2x", "1"),
    ],
    "choices": [
        (r"\text{(C) }42", "42"), ("(C) 42", "C"), ("C. 42", r"\text{(C)}"), (r"\textbf{(C)}\ 42", "C"), (r"\textbf{(C) } 42", "42"), ("C) 42", "42"), ("C: 42", "C"), ("(C)", r"\text{C}"), ("C", "(C) 42"), ("42", "(C) 42"), (r"\text{C}", "C"),
        (r"\mathrm{(C)}\ \frac12", "0.5"), ("(B) Tuesday", "B"), ("option C", r"\textbf{(C)}"), ("(A) x+1", "x+1"), (r"\text{(E) none of these}", "E"), ("(D) 3", "(D)"), ("D.", "D"), ("(C).", "C"), (r"\boxed{\text{C}}", "C"),
    ],
    "unicode": [
        ("１８", "18"), ("（１，２）", "(1,2)"), ("－５", "-5"), ("５０％", r"50\%"), ("３＋ｘ", "3+x"), ("１／２", "0.5"), ("１，２", "1,2"), ("ｘ＝５", "5"), ("12元", "12"), ("12 元", "12"), ("30个", "30"),
        ("√2", r"\sqrt2"), ("2√3", r"2\sqrt3"), ("√(x+1)", r"\sqrt{x+1}"), ("∛8", "2"), ("½", "0.5"), ("5½", "5.5"), ("¾", "0.75"), ("x³", "x^3"), ("x²+y²", "x^2+y^2"), ("x⁻¹", r"\frac1x"), ("x¹⁰", "x^{10}"), ("a₁", "a_1"), ("2π", r"2\pi"), ("θ", r"\theta"),
        ("3×4", "12"), ("3·4", "12"), ("12÷4", "3"), ("1±√5", r"1\pm\sqrt5"), ("x≥5", r"x\ge5"), ("x ≤ 5", r"x\le 5"), ("−5", "-5"), ("90°", r"90^\circ"), ("(0, ∞)", r"(0,\infty)"), ("𝑥+1", "x+1"), ("1,000", "1000"), ("(1、2)", "(1,2)"), ("∅", r"\emptyset"), ("x′", "x'"),
    ],
    "currency": [
        (r"\$30", "30"), ("30", r"\$30"), ("£30", "30"), ("€30", "30"), ("USD 30", "30"), ("30 USD", "30"), ("30 dollars", r"\$30"), ("£30", "30 pounds"), (r"\pounds 30", "£30"), ("30 euros", "€30"), ("EUR 30", "€30"), ("US\\$30", "30"), ("¥30", "30"), ("Rs. 30", "30"), ("₹30", "30"),
        (r"\$1,200.50", "1200.5"), (r"-\$5", "-5"), (r"\text{USD }30", "30"), ("$30", "30"), ("30 cents", "30"), ("GBP 12.5", "12.5"), (r"\$\frac12", "0.5"), ("30€", "30"), ("25¢", "25 cents"),
    ],
    "times and dates": [
        ("3:30 PM", "3:30 p.m."), ("3:30pm", "3:30 PM"), ("03:30 PM", "3:30 PM"), ("3:30", "3:30"), (r"3:30\text{ PM}", "3:30 PM"), ("15:30", "3:30 PM"), ("3:30", "3:30 PM"), ("3 PM", "3:00 PM"), ("12:00 PM", "12:00 p.m."), ("9:05 AM", r"\text{9:05 a.m.}"), ("7:32", "7:32"),
        ("March 5", "5 March"), ("March 5th", "March 5"), ("5th of March", "March 5"), ("March 5, 2020", "5 March 2020"), ("Mar 5, 2020", "March 5, 2020"), (r"\text{March 5}", "March 5"), ("Dec. 25", "December 25"), ("Monday, March 5", "March 5"), ("july 4", "July 4"), ("Tuesday", r"\text{Tuesday}"),
    ],
    "large numbers": [
        ("2^{40000}", r"2^{20000}\cdot 2^{20000}"), ("4^{20000}", "2^{40000}"), (r"\frac{4000!}{3999!}", "4000"), ("(2^{100})^{400}", "2^{40000}"), (r"\sqrt{2^{40000}}", "2^{20000}"), (r"\frac{3^{5001}-3^{5000}}{2}", "3^{5000}"), (r"10^{5000}+1-1", "10^{5000}"),
        (r"\log_2 2^{40000}", "40000"), ("2000!", r"2000\cdot 1999!"), (r"\frac{7^{3000}}{7^{2999}}", "7"), (r"2^{40000}-1", "-1+4^{20000}"), ("x+2^{40000}", "2^{40000}+x"), (r"\binom{3000}{1}", "3000"), (r"(2^{500}+1)(2^{500}-1)", "2^{1000}-1"), (r"e^{1000}e^{-1000}", "1"),
        (r"\sqrt{10^{400}+2\cdot 10^{200}+1}", "10^{200}+1"),
    ],
    "infinities": [
        (r"\infty", r"\infty"), (r"+\infty", r"\infty"), ("∞", r"\infty"), ("infinity", r"\infty"), (r"-\infty", "-∞"), (r"x=\infty", r"\infty"), (r"(-\infty,3)", r"(-\infty, 3)"), (r"(2,+\infty)", r"(2,\infty)"), (r"x>2", r"(2,\infty)"), (r"(-\infty,0)\cup(1,\infty)", r"(1,\infty)\cup(-\infty,0)"),
        (r"\text{infinity}", r"\infty"),
    ],
}  # fmt: skip

DIFFERENT = {
    "computations": [
        ("2^{10}=1025", "1024"), ("2^{10}=1025", "1025"), (r"\frac{18}{3}=5", "6"), (r"\frac{18}{3}=5", "5"), ("6=7", "6"), ("6=7", "7"), ("x=5=6", "5"), ("x=5=6", "6"), (r"x=\frac{18}{3}=7", "7"), ("x=2+3=6", "6"), (r"\frac34=0.7", "0.7"), ("x^2+5x=6", "6"), ("2x=10", "10"),
        ("2x+3=13", "13"), ("x+y=5", "5"), ("4k+7=6", "6"), (r"\sqrt2\approx1.5", "1.5"), (r"1.41\approx\sqrt2", r"\sqrt3"), ("1=2=3", "3"), ("1=2=3", "1"), (r"\sqrt{16}=5", "4"), ("7=3+4", "8"), ("x=5,6", "5"), ("3=4=5", "4"),
    ],
    "relations": [
        ("y=4x-7", "4x-y+7=0"), ("y=4x-7", "4x+y-7=0"), ("y=2x+3", "y=2x-3"), ("x=2y+3", "y=2x+3"), ("x+y=2", "x+y=3"), ("x^2+y^2=25", "x^2+y^2=5"), ("y=x", "y=-x"), ("xy=1", "xy=-1"), ("2x=10", "x=5"), ("2x+3=13", "5"), ("x^2=25", "x=5"), ("x+5=10", "x=5"), ("0=0", "x=5"),
        ("x=x", "x=5"), ("y=5", "x=5"), ("x>5", "x=5"), (r"x\ge5", "x>5"), (r"x\ne5", "x=5"), ("x<3", "y<3"), ("z=4x-7", "y=4x-7"), ("y=4X-7", "y=4x-7"), ("f(x)=2x", "g(x)=2x"), ("f(t)=2x", "f(x)=2x"), ("0=0", "x+y=2"), ("0x+0y=0", "x+y=2"), ("(x+y-2)(x-y)=0", "x+y=2"), ("y=4x-7", "4x-7=0"),
    ],
    "words": [
        ("it is certainly not 9", "9"), ("not 9", "9"), ("never 9", "9"), ("anything but 9", "9"), ("9 is wrong", "9"), ("no 9", "9"), ("9 or 10", "9"), ("9 or 10", "10"), ("either 9 or 10", "9"), ("about 9", "9"), ("less than 9", "9"), ("more than 9", "9"), ("at least 9", "9"), ("at most 9", "9"), ("greater than 9", "9"),
        ("minus 9", "9"), ("negative 9", "9"), ("9 squared", "9"), ("half of 9", "9"), ("twice 9", "9"), ("9 dozen", "9"), ("9 million", "9"), ("9 hundred", "9"), ("9 thousand", "9"), ("9 less than 20", "9"), ("9 times 2", "9"), ("9 plus 1", "9"), ("between 8 and 10", "9"), ("up to 9", "9"), ("the opposite of 9", "9"),
        ("maybe 9", "9"), ("I guess 9", "9"), ("9 if x is even", "9"), ("9 and a half", "9"), ("one over 9", "9"), ("square root of 9", "9"), ("the answer is not 9", "9"), ("The answer isn't 9", "9"), (r"\text{not }9", "9"), (r"9\text{ or }10", "9"), (r"\text{not equal to }9", "9"), (r"9 \text{ is false}", "9"),
        ("9 unless x is odd", "9"), ("x is not 9", "9"), ("8, maybe 9", "9"), ("all numbers except 9", "9"), ("numbers below 9", "9"), ("any of 7, 8, 9", "9"), ("7 8 9", "9"), ("it is 7 no 8 no 9", "9"), ("do not answer 9", "9"), ("x=9 is false", "9"), ("9 wrong", "9"), ("false", "true"), ("no", "yes"),
        ("not x=9", "9"), (r"\text{not }x=9", "9"), ("never x=9", "9"), ("half x=9", "9"), (r"\text{half of }x=9", "9"), ("twice x = 9", "9"), ("x isn't = 9", "9"), ("it is false that x = 9", "9"), ("x = not 9", "9"), (r"\neg x=9", "9"), ("if x=9", "9"),
        ("5不对", "5"), ("5万", "5"), ("5或6", "5"), ("不是5", "5"), ("约5", "5"), ("5倍", "5"), ("9 fails", "9"), (r"\text{if }x=9", "9"), ("-x=9", "9"), ("x+1=9", "9"), (r"\frac{x}{2}=9", "9"), ("9 modulo 10", "9"), ("9 thirds", "9"), ("9 percent of 10", "9"), ("9th", "10"), ("double 9", "9"), ("9 pairs", "9"), ("9 negative", "9"), ("9 minus", "9"),
    ],
    "units": [
        ("4k+7", "4k+7h"), ("4k+7h", "4k+7"), ("4k+7m", "4k+7"), ("2x", "2xm"), ("2xs", "2x"), ("2x+3g", "2x+3"), (r"\frac{a}{2}m", r"\frac{a}{2}"), ("ab", "abh"), ("n^2h", "n^2"), (r"3x\mathrm{m}", "3x"), ("x=2a+3h", "x=2a+3"), ("4k", "4"), ("4x", "4"), ("4n", "4"), ("4a", "4"), ("(2a,3h)", "(2a,3)"), ("7y", "7"),
        (r"10\text{ cm}", r"10\text{ m}"), ("10 weeks", "10 days"), ("18 apples", "18 marbles"), ("5 kg", "5 g"), (r"\$5", "€5"), ("£5", r"\$5"), ("12元", r"\$12"), ("3 miles per hour", "3 km per hour"), ("10 weeks", "11"), ("18 marbles", "19"), (r"5\text{ cm}^2", r"5\text{ cm}^3"), (r"x\text{ m}", "x"), ("k=1h", "k=2"),
    ],
    "symbols": [
        (r"\frac{h}{H}", r"\frac{H}{h}"), ("u'+3", "u+3"), ("u+3", "u'+3"), ("X+1", "x+1"), ("N", "n"), ("x''", "x'"), (r"\hat{x}", "x"), (r"\bar{x}+1", "x+1"), (r"\vec{v}", "v"), (r"\tilde{n}", "n"), (r"\dot{x}", "x"), (r"\ddot{x}", r"\dot{x}"), (r"\hat{x}", r"\bar{x}"), (r"\alpha", "a"), (r"\beta", "b"), (r"\nu", "v"), (r"\omega", "w"),
        (r"\rho", "p"), (r"\Delta", r"\delta"), (r"\Omega", r"\omega"), (r"\phi", r"\psi"), ("x_1", "x_2"), ("x_1", "x"), ("a_n", "a_m"), ("A_1", "a_1"), (r"x_{\max}", r"x_{\min}"), ("I", "i"), ("1+2I", "1+2i"), ("E", "e"), (r"\gamma", "g"), (r"\mathcal{F}", "F"), (r"\mathbb{F}", "F"), ("x^*", "x"), ("x'+y", "x+y'"), ("Ab", "aB"),
        ("f'(x)", "f(x)"), ("F(x)=2x", "f(x)=2x"), ("r^{2}H", "r^{2}h"), (r"\pi R^2", r"\pi r^2"), ("n", "m"), ("2n", "2m"), ("ab", "AB"), ("x^{n}", "x^{N}"), (r"\sin X", r"\sin x"), (r"\theta'", r"\theta"), ("I(0)", "I'(0)"), ("y(0)", "z(0)"),
    ],
    "numbers": [
        ("5 3/4", "5.5"), ("5 3/4", r"\frac{15}{4}"), ("4 5", "20"), ("4 5", "9"), (r"0.\overline{7}", "0.7"), (r"0.\overline{7}", r"\frac{7}{10}"), (r"0.1\overline{6}", r"\frac{16}{99}"), (r"0.\overline{16}", r"\frac16"), ("(4)(5)", "9"), ("2(3)", "5"), ("(4)(5)", "45"), ("forty-two", "43"), ("two million", "2"), ("1 million", "1000"), ("three dozen", "3"),
        (r"\sqrt{x^2}", "x"), (r"\sqrt{p}+\sqrt{q}", r"\sqrt{p+q}"), (r"\sqrt{p}\sqrt{q}", "pq"), ("5!!", "120!"), ("1/2/3", r"\frac12"), ("0.5.5", "0.5"), (r"\sqrt{2}+\sqrt{3}", r"\sqrt5"), (r"x+10^{-9}", "x"), (r"1.0000001x", "x"), ("0.3333", r"\frac13"), (r"(x+1)^2", "x^2+1"), (r"\lfloor x+0.1\rfloor", r"\lfloor x\rfloor"), (r"\left\lfloor\frac{\sqrt{4+8n}-1}{2}\right\rfloor", r"\left\lfloor\frac{\sqrt{1+8n}-1}{2}\right\rfloor"),
    ],
    "choices": [("B", "C"), ("(B) 42", "C"), (r"\text{(C) }43", "42"), ("(C) 43", "(C) 42"), ("(B) 42", "(C) 42"), ("C. 43", "42"), ("AB", "A"), ("(A) or (B)", "A"), ("not C", "C"), ("(A),(C)", "C"), ("(C) or (D)", "C"), ("A: 5", "6")],
    "currency": [("£30", "31"), ("£30", "€30"), ("USD 30", "€30"), (r"\$30", "3"), ("30 cents", r"\$30"), ("USD 30", "300"), ("¥30", "30 dollars"), ("12元", "13")],
    "times and dates": [("3:30 AM", "3:30 PM"), ("3:30", "3:31"), ("15:30", "3:30 AM"), ("3:30 PM", "4:30 PM"), ("12:00 AM", "12:00 PM"), ("15:30", "3:30"), ("March 5", "March 6"), ("March 5", "May 5"), ("March 5, 2020", "March 5, 2021"), ("Monday", "Tuesday"), ("1:00", "12:00"), ("7:23", "7:32"), ("July 4", "4")],
    "large numbers": [
        ("2^{40000}", "2^{40000}+1"), ("2^{40000}-1", "2^{40000}"), ("4000!-1", "4000!"), ("4000!+1", "4000!"), ("2^{40001}", "2^{40000}"), ("10^{10000}+1", "10^{10000}"), (r"\sqrt{2^{40000}+1}", "2^{20000}"), (r"2^{40000}+\sqrt2", "2^{40000}"), (r"\frac{2^{40000}+1}{2^{40000}}", "1"), (r"1+10^{-20000}", "1"), (r"\pi+10^{-20000}", r"\pi"),
        (r"e^{-50000}+1", "1"), ("x+2^{40000}", "x+2^{40000}+1"), (r"\frac{1}{2^{40000}}", "0"), ("3000!", "3000!-2999!"), (r"\sqrt{10^{400}+1}", "10^{200}"), (r"7^{7^{5}}", r"7^{7^{5}}+1"), (r"\binom{4000}{2000}", r"\binom{4000}{2000}+1"), ("9^{9^{9}}", "9^{9^{9}}+1"), (r"2^{1006}\sqrt{2^{2010}+5}-2^{2011}", r"2^{1006}\sqrt{2^{2010}+2}-2^{2011}"),
    ],
    "intervals with infinities": [
        (r"(4,9)", r"(-\infty,9)"), (r"(-\infty,9)", "(4,9)"), (r"(4,\infty)", "(4,9)"), (r"(-\infty,\infty)", "(4,9)"), (r"(\infty,9)", r"(-\infty,9)"), (r"(-\infty,9)", r"(\infty,9)"), (r"[4,\infty)", r"(4,\infty)"), (r"(4,\infty)", r"(-\infty,4)"), (r"\{1,\infty\}", r"\{1,2\}"), (r"1,\infty", "1,2"), (r"(1,\infty)\cup(3,4)", r"(1,2)\cup(3,4)"),
        (r"\begin{pmatrix}1\\\infty\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"), (r"x<\infty", "x<17"), (r"x>-\infty", "x>17"), (r"\infty", r"-\infty"), (r"2\infty", r"\infty^2"), (r"17", r"\infty"), (r"\frac10", r"\infty"), (r"\text{undefined}", r"\infty"), (r"\infty", r"\text{undefined}"), (r"x=\infty", "x=17"), (r"1:\infty", "1:2"), (r"17+\frac{1}{0}", "17"),
    ],
}  # fmt: skip
