"""From a response to one spelling of its answer: boxes, announcements, LaTeX and Unicode.

All functions are linear in the text and safe on any text: they run in the caller's process.
"""

from __future__ import annotations

import re
import unicodedata

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(\{)?")
_EMPTY = re.compile(r"(?:\\[ ,;:!~]|\\[lc]?dots|[\s~._$?])*")
MAX_BETWEEN_BOXES = 80
_BARE_WORDS = re.compile(r"\\[a-zA-Z]+|\\.|[A-Za-z]{2,}")
_NO_WORDS = re.compile(
    r"\\(?:text|mbox|mathrm|begin|end)[a-z]*\s*\{[^{}]*\}|\\[a-zA-Z]+|_\{[^{}]*\}"
)
_WORD = re.compile(r"(?!and\b)[A-Za-z]{3,}|\b(?:is|it)\b")
# How base models close an answer that they learned from the Minerva prompt.
_CLOSING = re.compile(
    r"[Ff]inal [Aa]nswer:?\s*The final answer is:?\s*(.{1,400}?)\.?\s*I hope it is correct"
)


def boxes(text: str) -> list[tuple[int, int, str]]:
    r"""Every outermost ``\boxed{...}`` whose braces balance: (start, end, content).

    ``\boxed 5`` (no braces) counts too, up to the next space or dollar sign. Escaped braces do
    not count. An unfinished box, as at the end of a response that was cut off, is skipped.

    >>> [content for _, _, content in boxes(r"\boxed{\frac{1}{2}} or \boxed{3")]
    ['\\frac{1}{2}']
    """
    starts = list(_BOX.finditer(text))
    if not starts:
        return []
    closing = _matching_braces(text)
    found, position = [], 0
    for match in starts:
        if match.start() < position:
            continue  # inside the box before
        if match.group(1):
            end = closing.get(match.end() - 1)
            if end is None:
                continue
            content = text[match.end() : end]
            end += 1
        else:
            bare = re.compile(r"[^\s$\\]+").match(text, match.end())
            if bare is None:
                continue
            content, end = bare.group(), bare.end()
        found.append((match.start(), end, content))
        position = end
    return found


def _matching_braces(text: str) -> dict[int, int]:
    """Where each opening brace is closed; unfinished ones are left out."""
    open_at, closing = [], {}
    for match in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        if match.group() == "{":
            open_at.append(match.start())
        elif match.group() == "}" and open_at:
            closing[open_at.pop()] = match.start()
    return closing


def boxed_answers(text: str) -> list[str]:
    r"""The last boxed answer and, where boxes follow each other closely, the list of them.

    The list can only match a reference that is a list; the last box counts for all others.
    The closing sentence of the Minerva prompt ("Final Answer: The final answer is ... I hope it
    is correct.") counts as a box.

    >>> boxed_answers(r"\boxed{1} and \boxed{2}")
    ['2', '1, 2']
    """
    found = boxes(text)
    said = [box for box in found if not _EMPTY.fullmatch(box[2])]
    found = said or found[-1:]  # instructions may be repeated behind the answer: \\boxed{}
    closing = list(_CLOSING.finditer(text, found[-1][1] if found else 0))
    if closing:
        return [_innermost(closing[-1].group(1))]
    if not found:
        return []
    last = _innermost(found[-1][2])
    run = [last]
    for (_, end, content), (start, _, _) in zip(found[-2::-1], found[:0:-1], strict=False):
        if start - end > MAX_BETWEEN_BOXES or "\n\n" in text[end:start]:
            break
        run.insert(0, _innermost(content))
    return [last] if len(run) == 1 else [last, ", ".join(run)]


def unfinished_box(text: str) -> str:
    r"""The content of a box that is never closed, as some references have it; else the text."""
    return re.sub(r"^.*\\+boxed\s*\{", "", text, count=1, flags=re.DOTALL)


def _innermost(content: str) -> str:
    r"""Open boxes inside a box: alone or among words it is the answer, else a part of it.

    >>> _innermost(r"thus \boxed{5}."), _innermost(r"-\boxed{a+b}")
    ('5', '-(a+b)')
    """
    for _ in range(5):
        inner = boxes(content)
        if not inner:
            return content
        start, end, inside = inner[-1]
        around = content[:start] + " " + content[end:]
        worded = _WORD.search(_NO_WORDS.sub(" ", around))
        if worded or not re.sub(r"\\[\[\]()]|[\s$.]", "", around):
            content = inside
        else:
            content = f"{content[:start]}({inside}){content[end:]}"
    return content


def bare_answer(text: str) -> str | None:
    r"""The whole text, if it is one line of mathematics without any words; else None.

    >>> bare_answer("$\\frac{1}{3}$")
    '$\\frac{1}{3}$'
    >>> bare_answer("The answer is 3") is None
    True
    """
    text = text.strip()
    if not text or len(text) > 400 or "\n" in text or "boxed" in text:
        return None
    words = [w for w in _BARE_WORDS.findall(text) if not w.startswith("\\")]
    return None if words else text


# Words are never thrown away for being words. A word may stand before an answer only if it is one
# of these, which say nothing but "here is the answer"; all else has to be in the reference too.
_ANNOUNCES = """
    so thus hence therefore then finally the our my a final correct required desired requested
    answer answers result value values solution solutions exactly simply just is are equals equal
    be must we get have obtain find it its that which this there ans option choice both namely by
    given i.e ie here"""
# What problems ask for; they announce nothing without a word that says "is" behind them.
_DESCRIBES = """
    largest smallest greatest least maximum minimum possible sum total number numerical exact area
    volume perimeter length width height distance probability product ratio slope angle measure
    remainder average mean median range radius diameter circumference cost price speed rate age
    matrix vector point coordinates set interval domain root roots coefficient equation expression
    function polynomial term in simplest form of"""
_ANNOUNCING, _DESCRIBING = frozenset(_ANNOUNCES.split()), frozenset(_DESCRIBES.split())
_LEADING_TEXT = re.compile(r"\s*\\(?:text[a-z]*|mbox|mathrm)\s*\{([^{}]*)\}")
_SPOKEN = re.compile(r"[\s,:]*([A-Za-z](?:[A-Za-z.]*[A-Za-z])?)(?![A-Za-z\\_^({=+*/'-])")
_CHINESE = re.compile(r"^\s*(?:最终|正确)?(?:答案|结果|选)(?:是|为)?\s*[:：]?\s*")
_NAME_IS = re.compile(
    r"\s*(?:(?:of|for) )?\s*(\$?\\?[A-Za-z](?:_\{?\w+\}?)?\$?)\s+(?:is|equals|is equal to)\s+(?=\S)"
)
_TRAILING = re.compile(
    r"[\s,]+(?:is|as) (?:the|our|my)(?: (?:final|correct|required|desired))? "
    r"(?:answer|result|value|solution)\s*[.!]?\s*$"
)


def without_filler(text: str) -> str:
    r"""Without the words that only announce an answer, or say afterwards that it was one.

    >>> without_filler("The answer is $5$."), without_filler("it is not 5")
    ('$5$.', 'not 5')
    """
    text = _TRAILING.sub("", text)
    if not text.isascii():
        text = _CHINESE.sub("", text)
    announced = _LEADING_TEXT.match(text)
    if announced and announced.end() < len(text):
        behind = text[announced.end() :].lstrip()[:1]
        rest = without_filler(announced.group(1) + (": 0" if behind in (":", "=") else " 0"))
        if rest == "0":
            return text[announced.end() :].lstrip(" :,=")
    position, said = 0, ""
    while True:
        named = _NAME_IS.match(text, position)
        if named and (said or position == 0):
            return f"{named.group(1)}={text[named.end() :]}".replace("$=", "=$", 1)
        word = _SPOKEN.match(text, position)
        if not word or not _says_nothing(word.group(1), said):
            break
        position, said = word.end(), word.group(1).lower()
    if said in _DESCRIBING and text[position : position + 1] not in (":", "="):
        return text
    rest = text[position:].lstrip(" :,=\n")
    return rest if said and re.search(r"\w", rest) else text


def _says_nothing(word: str, said: str) -> bool:
    lower = word.lower()
    if lower == "to":
        return said == "equal"
    return len(word) > 1 and lower in _ANNOUNCING | _DESCRIBING  # a letter may be a name


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


def _grouped(match: re.Match) -> str:
    r"""Digits with thin spaces: one number where they stand in threes, else numbers side by side.

    >>> normal(r"10\,000"), normal(r"3.141\,59"), normal(r"3\,4")
    ('10000', '3.14159', '3 4')
    """
    first, rest = match.groups()
    groups = re.findall(r"\d+", rest)
    whole = "." in first or all(len(group) == 3 for group in groups)
    return ("" if whole else " ").join([first, *groups])


_MODULUS = r"\s*(?:\{\s*(\w+)\s*\}|(\w+))\s*"
_MOD = rf"\s*(?:\\b?mod{_END}|\\text\{{ ?mod ?\}}|(?<![a-zA-Z\\])mod{_END}){_MODULUS}"
_REPLACED = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (rf"\\(?:left|right|[bB]ig[lrm]?|[bB]igg[lrm]?){_END}\s*\.?", ""),
        (rf"\\[dtc](frac|binom){_END}", r"\\\1"),
        (r"(?<![\d.\\])(\d[\d.]*)((?:\\[,;:>] ?\d+)+)(?!\d)", _grouped),
        (r"(?<!\\)\\(?:!|,|;|:|>|/|@)\s*", ""),
        (rf"\\(?:quad|qquad|enspace|thinspace|hspace\*?\{{[^{{}}]*\}}|hskip){_END}", " "),
        (r"~|(?<!\\)\\ ", " "),
        (rf"\\geqslant|\\geq{_END}|\\ge{_END}|>=", r"\\geq "),
        (rf"\\leqslant|\\leq{_END}|\\le{_END}|<=", r"\\leq "),
        (rf"\\lt{_END}", "<"),
        (rf"\\gt{_END}", ">"),
        (rf"\\neq{_END}| != ", r"\\ne "),
        (rf"^\s*\\approx{_END}", ""),
        (r"\\backslash(?![a-zA-Z])|(?<=\\mathbb\{R\})\s*-\s*(?=\\\{)", r"\\setminus "),
        (rf"\({_MOD}\)|\\pmod{_MODULUS}", r"\\pmod \1\2\3\4"),
        (_MOD, r"\\mod \1\2"),
        (rf"\^\s*(?:\{{\s*\\+circ\s*\}}|\\+circ{_END})|\\degree{_END}", r"^\\circ "),
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
        (
            r"(?<![\d.,(\[])[1-9]\d{0,2}(?:,\d{3})+(?= ?(?:[a-z(]|\\(?:pi|sqrt|times|cdot)))",
            lambda m: m.group().replace(",", ""),
        ),
        (r"\{\\+%\}|\\+%", "%"),
        (r"\\+\$", "\\\\$"),
    )
)
_SPACE = re.compile(r"\s+")
# No space stays around these, but for the one that tells "32, 349" from "32,349".
_TIGHT = re.compile(r" ?([-+*/=<>(){}\[\]^_|:;!&%]|,(?! ?\d)|(?<!\d),) ?")
_SHORTENED = (
    (re.compile(r"(\\[a-zA-Z]+) (?![a-zA-Z])"), r"\1"),
    (re.compile(r"_\{\\text\{ ?([^{}]*?) ?\}\}"), r"_{\1}"),
    (re.compile(r"(?<![\w})\]])\+(?=\\infty)"), ""),
    (re.compile(r" (?=\\[a-zA-Z])"), ""),
    (re.compile(r"(?<![a-zA-Z\\])([a-zA-Z0-9]) (?=[a-zA-Z](?![a-zA-Z]))"), r"\1"),  # 4 a x
    (re.compile(r"\^(?:\{((?:\\prime ?|\*?')+)\}|(\\prime))"),
     lambda m: "'" * (m.group().count("prime") + m.group().count("'"))),
    (re.compile(r"\^\{\*\}|\^\*"), "^*"),
    (re.compile(r"([_^])\{(\w)\}(?!\d)"), r"\1\2"),  # 2^{3}4 is not 2^34
    (re.compile(r"(\^(?:\w|\{[^{}]*\}))(_(?:\w|\{[^{}]*\}))"), r"\2\1"),
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
    for pattern, replacement in _SHORTENED:
        text = pattern.sub(replacement, text)
    text = _outer_braces(_braced_arguments(text))
    builder = _BUILDER.fullmatch(text)
    return builder.group(1) if builder else text


_GREEK_NAMES = """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho
    varsigma sigma tau upsilon phi chi psi omega"""
_NO_LATIN_CAPITALS = "gamma delta theta lambda xi pi sigma upsilon phi psi omega"
_GREEK = {
    chr(start + i): f"\\{form(name)} "
    for i, name in enumerate(_GREEK_NAMES.split())
    for start, form in ((0x3B1, str), (0x391, str.capitalize))
    if form is str or name in _NO_LATIN_CAPITALS.split()
}
_CHARACTERS = {
    **_GREEK, "ϑ": "\\vartheta ", "ϕ": "\\phi ", "µ": "\\mu ",
    **dict.fromkeys("\u2212\u2013\u2012\u2010\u2011\ufe63", "-"),
    **dict.fromkeys("\u00b7\u22c5\u2219\u2022", "\\cdot "),
    **dict.fromkeys("\u2032\u2019\u2018", "'"), **dict.fromkeys("\u201c\u201d\u2033", '"'),
    **dict.fromkeys("\u3001\u060c", ","), "\u3002": ".", "\u3010": "[", "\u3011": "]",
    "\u2265": "\\geq ", "\u2264": "\\leq ", "\u2260": "\\ne ", "\u2248": "\\approx ",
    "\u2261": "\\equiv ",
    "\u221e": "\\infty ", "\u00d7": "\\times ", "\u00f7": "\\div ", "\u00b1": "\\pm ",
    "\u2213": "\\mp ", "\u222a": "\\cup ", "\u2229": "\\cap ", "\u2208": "\\in ",
    "\u2205": "\\emptyset ", "\u2220": "\\angle ", "\u25b3": "\\triangle ", "\u00b0": "^\\circ ",
    "\u211d": "\\mathbb{R}", "\u2124": "\\mathbb{Z}", "\u2115": "\\mathbb{N}",
    "\u211a": "\\mathbb{Q}", "\u2102": "\\mathbb{C}", "\u2192": "\\to ", "\u2026": "\\ldots ",
    "\u27e8": "(", "\u27e9": ")",
    "\u2211": "\\sum ", "\u222b": "\\int ", "\u2044": "/", "\u2215": "/", "\u2223": "|",
}  # fmt: skip
_TABLE = str.maketrans(_CHARACTERS)
_RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u207f]+")
_LOWERED = re.compile("[\u2080-\u208e\u2090-\u209c]+")
_PLAINER = re.compile(  # letters of mathematics, spaces, full width
    "[\U0001d400-\U0001d7ff\u00a0\u2000-\u200a\u202f\u3000\uff01-\uff5e\uffe1\uffe5]"
)
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
    text = _PLAINER.sub(plain, text)
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
    while match := _COMMANDS.search(text, position):
        pieces.append(text[position : match.end()])
        position = match.end()
        root = match.group(1) == "sqrt"
        if root and (index := _INDEX.match(text, position)):
            pieces.append(index.group())
            position = index.end()
        for _ in range(1 if root else 2):
            argument = _argument(text, position, "()" if root else "{}")
            if argument is None:
                break
            pieces.append("{" + argument[0] + "}")
            position = argument[1]
    return "".join(pieces) + text[position:]


def _argument(text: str, position: int, brackets: str) -> tuple[str, int] | None:
    """The argument of a command, in braces or in these brackets or alone, and where it ends."""
    if text[position : position + 1] != brackets[0]:
        brackets = "{}"
        if alone := _ARGUMENT.match(text, position):
            return alone.group(1), alone.end()
    end = _group_end(text, position, brackets)
    # a group may hold fractions of its own
    return None if end is None else (_braced_arguments(text[position + 1 : end]), end + 1)


def _group_end(text: str, start: int, brackets: str = "{}") -> int | None:
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == brackets[0]) - (text[i] == brackets[1])
        if depth <= 0:
            return i if i > start else None
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
    while text and _group_end(text, 0) == len(text) - 1:
        text = text[1:-1].strip()
    return text
