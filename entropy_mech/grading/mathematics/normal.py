"""One spelling for what LaTeX and Unicode can spell in many ways.

All functions are linear in the text and safe on any text: they run in the caller's process.
"""

from __future__ import annotations

import re
import unicodedata

_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`"))
_END = r"(?![a-zA-Z])"  # the end of a command's name
_PLAIN = re.compile(r"-?\d+(?:\.\d+)?")
# Commands that say how something looks; the letters of the last kind may be words.
_LOOKS = re.compile(
    r"\\(?:color|colorbox|textcolor)\s*(?:\[[^\]]*\])?\{[^{}]*\}"
    rf"|\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|mathopen|mathclose|mathstrut|strut"
    rf"|tiny|small|normalsize|large|Large|LARGE|huge|Huge|bf|it|sf|tt|boldmath|centering){_END}"
    r"|\\(?:phantom|hphantom|vphantom|label|tag\*?)\s*\{[^{}]*\}"
)
_WRAPPERS = re.compile(
    r"\\(?:underline|uline|bm|boldsymbol|pmb|mathbf|mathit|mathsf|mathtt|mathnormal|ensuremath"
    r"|mathord|mathbin|mathrel|fbox|framebox|emph|smash)\s*(?=\{)"
)
_STYLES = "textbf|textit|textnormal|textrm|textsf|texttt|textup|mbox|mathrm|operatorname\\*?|rm"
_REPLACED = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (rf"\\(?:left|right|[bB]ig[lrm]?|[bB]igg[lrm]?){_END}\s*\.?", ""),
        (rf"\\[dtc]frac{_END}", r"\\frac"),
        (r"(?<!\\)\\(?:!|,|;|:|>|/|@)\s*", ""),
        (rf"\\(?:quad|qquad|enspace|thinspace|hspace\*?\{{[^{{}}]*\}}|hskip){_END}", " "),
        (r"~|(?<!\\)\\ ", " "),
        (rf"\\geqslant|\\geq{_END}|\\ge{_END}|>=", r"\\geq "),
        (rf"\\leqslant|\\leq{_END}|\\le{_END}|<=", r"\\leq "),
        (rf"\\lt{_END}", "<"),
        (rf"\\gt{_END}", ">"),
        (rf"\\neq{_END}| != ", r"\\ne "),
        (rf"\^\s*\{{?\s*\\+circ\s*\}}?|\\degree{_END}", r"^\\circ "),
        (rf"\\(?:pounds|textsterling){_END}", "£"),
        (rf"\\(?:euro|texteuro){_END}", "€"),
        (rf"\\(?:{_STYLES})\s*(?=\{{)", r"\\text"),
        (r"\\\\text|\\text\s+(?=\{)", r"\\text"),
        (r"\{\\rm ([^{}]*)\}", r"\\text{\1}"),
        (r"\\text\{([-+\d.,/ ]+)\}", r"\1"),
        (r"(?:\\text\{ ?)?(?<![a-zA-Z\\])(?:[Ii]nfinity|[Ii]nf)(?![a-zA-Z])(?: ?\})?", r"\\infty "),
        (rf"\{{([^{{}}]*?)\\choose{_END}([^{{}}]*)\}}", r"\\binom{\1}{\2}"),
        (rf"\\(?:langle|lparen){_END}", "("),
        (rf"\\(?:rangle|rparen){_END}", ")"),
        (rf"\\varnothing{_END}|\\\{{ ?\\\}}", r"\\emptyset "),
        (r"\{,\}", ","),
        (r"\{\\+%\}|\\+%", "%"),
        (r"\\+\$", "\\\\$"),
    )
)
_SPACE = re.compile(r"\s+")
# No space stays around these, but for the one that tells "32, 349" from "32,349".
_TIGHT = re.compile(r" ?([-+*/=<>(){}\[\]^_|:;!&%]|,(?! ?\d)|(?<!\d),) ?")
_SHORTENED = (
    (re.compile(r"(?<![\w})\]])\+(?=\\infty)"), ""),
    (re.compile(r" (?=\\[a-zA-Z])"), ""),
    (re.compile(r"(?<![a-zA-Z\\])([a-zA-Z0-9]) (?=[a-zA-Z](?![a-zA-Z]))"), r"\1"),  # 4 a x
    (re.compile(r"\^(?:\{((?:\\prime ?|\*?')+)\}|(\\prime))"),
     lambda m: "'" * (m.group().count("prime") + m.group().count("'"))),
    (re.compile(r"\^\{\*\}|\^\*"), "^*"),
    (re.compile(r"([_^])\{(\w)\}"), r"\1\2"),
)  # fmt: skip

_BUILDER = re.compile(  # { x | x > 2 } is x > 2
    r"\\\{[a-zA-Z](?:\\in\\mathbb\{R\})?(?:\\mid|\\colon|[:|]) ?([^|]*(?:[<>]|\\[gl]eq)[^|]*)\\\}"
)


def normal(text: str) -> str:
    r"""A canonical spelling; two answers with the same one are the same answer.

    >>> normal(r"$\left( 3, \dfrac{\pi}{2} \right).$")
    '(3,\\frac{\\pi}{2})'
    """
    if _PLAIN.fullmatch(text):
        return text
    if not text.isascii():
        text = _in_ascii(text)
    if "\\\\" in text and "\\begin" not in text:  # LaTeX that was escaped once too often
        text = re.sub(r"\\\\(?=[a-zA-Z,;!{}|])", r"\\", text)
    text = strip_delimiters(text)
    if "\\" in text:
        text = re.sub(r"(?<!\\)\\[\[\]()]", " ", text)
        text = _unwrapped(_LOOKS.sub("", text))
    if len(marks := re.findall(r"(?<!\\)\$", text)) > 1 and len(marks) % 2 == 0:
        text = re.sub(r"(?<!\\)\$", " ", text)
    if text.count("$") == 1 and "\\$" not in text:  # a price, not a delimiter
        text = "\\$" + text.strip("$") if text[:1] == "$" or text[-1:] == "$" else text
    for pattern, replacement in _REPLACED:
        text = pattern.sub(replacement, text)
    text = _SPACE.sub(" ", text).strip()
    text = _TIGHT.sub(r"\1", _TIGHT.sub(r"\1", text))
    text = re.sub(r"(\\[a-zA-Z]+) (?![a-zA-Z])", r"\1", text)
    text = re.sub(r"_\{\\text\{ ?([^{}]*?) ?\}\}", r"_{\1}", text)
    for pattern, replacement in _SHORTENED:
        text = pattern.sub(replacement, text)
    text = _outer_braces(_braced_arguments(text))
    builder = _BUILDER.fullmatch(text)
    return builder.group(1) if builder else text


_GREEK = {
    chr(code): f"\\{name} "
    for start, names in (
        (0x3B1, "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron "
                "pi rho varsigma sigma tau upsilon phi chi psi omega"),
        (0x391, "A B Gamma Delta E Z H Theta I K Lambda M N Xi O Pi P . Sigma T Upsilon Phi X Psi "
                "Omega"),
    )
    for code, name in enumerate(names.split(), start)
    if len(name) > 1
}  # fmt: skip
_CHARACTERS = {
    **_GREEK, "ϑ": "\\vartheta ", "ϕ": "\\phi ", "µ": "\\mu ",
    **dict.fromkeys("\u2212\u2013\u2012\u2010\u2011\ufe63", "-"),
    **dict.fromkeys("\u00b7\u22c5\u2219\u2022", "\\cdot "),
    **dict.fromkeys("\u2032\u2019\u2018", "'"), **dict.fromkeys("\u201c\u201d\u2033", '"'),
    **dict.fromkeys("\u3001\u060c", ","), "\u3002": ".", "\u3010": "[", "\u3011": "]",
    "\u2265": "\\geq ", "\u2264": "\\leq ", "\u2260": "\\ne ", "\u2248": "\\approx ",
    "\u221e": "\\infty ", "\u00d7": "\\times ", "\u00f7": "\\div ", "\u00b1": "\\pm ",
    "\u2213": "\\mp ", "\u222a": "\\cup ", "\u2229": "\\cap ", "\u2208": "\\in ",
    "\u2205": "\\emptyset ", "\u2220": "\\angle ", "\u25b3": "\\triangle ", "\u00b0": "^\\circ ",
    "\u211d": "\\mathbb{R}", "\u2124": "\\mathbb{Z}", "\u2115": "\\mathbb{N}",
    "\u211a": "\\mathbb{Q}", "\u2102": "\\mathbb{C}", "\u2192": "\\to ", "\u2026": "\\ldots ",
    "\u27e8": "(", "\u27e9": ")",
    "\u2211": "\\sum ", "\u222b": "\\int ", "\u2044": "/", "\u2215": "/", "\u2223": "|",
    "\uffe5": "¥", "\uffe1": "£",
}  # fmt: skip
_TABLE = {ord(k): v for k, v in _CHARACTERS.items()} | {
    code: chr(code - 0xFEE0)
    for code in range(0xFF01, 0xFF5F)  # full width
}
_RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u207f]+")
_LOWERED = re.compile("[\u2080-\u208e\u2090-\u209c]+")
_VULGAR = re.compile("[\u00bc-\u00be\u2150-\u215e]")
_ROOT = re.compile(r"([\u221a\u221b\u221c])\s*(\d+(?:\.\d+)?|[A-Za-z](?![A-Za-z])|\\[a-z]+)?")


def _in_ascii(text: str) -> str:
    r"""What mathematics writes in Unicode, as LaTeX.

    >>> _in_ascii("\u221a2x\u00b3"), _in_ascii("\uff08\uff11\uff0c\uff12\uff09")
    ('\\sqrt{2}x^{3}', '(1,2)')
    """

    def plain(match):
        return unicodedata.normalize("NFKC", match.group()).replace("\u2212", "-")

    text = _RAISED.sub(lambda m: "^{" + plain(m) + "}", text)
    text = _LOWERED.sub(lambda m: "_{" + plain(m) + "}", text)
    text = _VULGAR.sub(lambda m: "\\frac{" + plain(m).replace("\u2044", "}{") + "}", text)
    text = re.sub("[\U0001d400-\U0001d7ff\u00a0\u2000-\u200a\u202f\u3000]", plain, text)
    text = re.sub("[\u200b-\u200d\u2060-\u2064\ufeff]", "", text)
    text = text.translate(_TABLE)
    degree = {"\u221a": "", "\u221b": "[3]", "\u221c": "[4]"}
    return _ROOT.sub(lambda m: f"\\sqrt{degree[m[1]]}" + (f"{{{m[2]}}}" if m[2] else ""), text)


def _unwrapped(text: str) -> str:
    r"""Without the commands that only make their argument bold, underlined or framed.

    >>> _unwrapped(r"\underline{\bm{18}}+\mathbf{x}")
    '18+x'
    """
    for _ in range(20):
        match = _WRAPPERS.search(text)
        if not match:
            return text
        end = _group_end(text, match.end())
        if end is None:
            return text
        before = text[: match.start()]
        inside = text[match.end() + 1 : end]
        if before[-1:] in ("^", "_") or re.search(r"\\[a-zA-Z]+\s*$", before):
            inside = "{" + inside + "}"
        text = before + inside + text[end + 1 :]
    return text


_COMMANDS = re.compile(r"\\(frac|binom|sqrt)(?![a-zA-Z])")
_INDEX = re.compile(r"\[[^\[\]]*\]")
_ARGUMENT = re.compile(r" ?(\\[a-zA-Z]+|[^\\{}\s])")


def _braced_arguments(text: str) -> str:
    r"""Put braces around the arguments of fractions and roots that have none.

    >>> _braced_arguments(r"\frac n2+\frac{n^2}4+\sqrt3")
    '\\frac{n}{2}+\\frac{n^2}{4}+\\sqrt{3}'
    """
    pieces, position = [], 0
    for match in _COMMANDS.finditer(text):
        if match.start() < position:
            continue
        pieces.append(text[position : match.end()])
        position = match.end()
        root = match.group(1) == "sqrt"
        if root and (index := _INDEX.match(text, position)):
            pieces.append(index.group())
            position = index.end()
        for _ in range(1 if root else 2):
            if root and text[position : position + 1] == "(":
                end = _group_end(text, position, "()")
                if end is None:
                    break
                text = f"{text[:position]}{{{text[position + 1 : end]}}}{text[end + 1 :]}"
            argument = _ARGUMENT.match(text, position)
            if argument is None:
                end = _group_end(text, position)
                if end is None:
                    break
                # a group may hold fractions of its own
                inside = _braced_arguments(text[position + 1 : end])
                pieces.append("{" + inside + "}")
                position = end + 1
            else:
                pieces.append("{" + argument.group(1) + "}")
                position = argument.end()
    return "".join(pieces) + text[position:]


def _group_end(text: str, start: int, brackets: str = "{}") -> int | None:
    if text[start : start + 1] != brackets[0]:
        return None
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == brackets[0]) - (text[i] == brackets[1])
        if depth == 0:
            return i
    return None


def strip_delimiters(text: str) -> str:
    """Without the dollar signs around it and the full stop behind."""
    text = text.strip()
    while True:
        before = text
        if (text.endswith(".") and not text.endswith("..")) or (
            text.endswith((";", ",")) and text[-2:-1] != "\\"
        ):
            text = text[:-1].rstrip()
        for left, right in _DELIMITERS:
            inside = text[len(left) : -len(right)]
            whole = text.startswith(left) and text.endswith(right) and len(text) > len(left + right)
            if whole and left not in inside and right not in inside and inside[-1] != "\\":
                text = inside.strip()
        if text == before:
            return text


def _outer_braces(text: str) -> str:
    while text.startswith("{") and text.endswith("}"):
        depth = 0
        for i, character in enumerate(text):
            depth += (character == "{") - (character == "}")
            if depth == 0 and i < len(text) - 1:
                return text
        text = text[1:-1].strip()
    return text
