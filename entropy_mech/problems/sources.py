"""Where each data set comes from, what its columns are called, and what is wrong with it.

Facts are from data set cards and from code that loads the sets. ``revision`` is a commit where
one is known; ``main`` means that none could be checked, and then the loader asks the hub for
the commit and records it, so that a run can always be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_COMPETITION = "third-party competition text (MAA, via AoPS): do not redistribute"


@dataclass(frozen=True)
class DataSource:
    """One data set on the hub, and the names of its local copy.

    ``text``, ``answer`` (or ``tests``) are columns in order of preference; a dot goes into a
    nested value. ``answer_is`` says how the answer is written there: plain, boxed (in a
    solution), hashes (after ####), list (of answers).
    """

    name: str
    kind: str  # maths or code
    hub_id: str
    split: str
    licence: str
    config: str | None = None
    revision: str = "main"
    text: tuple[str, ...] = ("problem", "question", "prompt")
    answer: tuple[str, ...] = ("answer", "reward_model.ground_truth")
    answer_is: str = "plain"
    level: tuple[str, ...] = ("level", "difficulty", "gpt_difficulty", "subject")
    keep: dict[str, tuple[str, ...]] = field(default_factory=dict)  # column: allowed beginnings
    files: tuple[str, ...] = ()  # names of local copies, beside ``name``
    notes: str = ""


_EURUS = {
    "hub_id": "PRIME-RL/Eurus-2-RL-Data",
    "revision": "9776b13264b5aaa0b16495fcf086a0a8d86fd655",
    "text": ("problem", "prompt"),
    "level": ("data_source",),
    "licence": "MIT (card)",
}
_KODCODE = {
    "hub_id": "KodCode/KodCode-V1",
    "split": "train",
    "answer": ("tests", "test"),
    "text": ("prompt", "question"),
    "keep": {"style": ("instruct", "complete")},
    "licence": "cc-by-nc-4.0 (card); the repository's LICENSE says Apache-2.0",
}
_SOURCES = [
    DataSource(
        "math500", "maths", "HuggingFaceH4/MATH-500", "test", f"MIT; {_COMPETITION}",
        revision="ff5b20257d8185524591543f8ff5993951537bb8",
        notes="51 references differ from those that PRIME evaluates with; five drop a number base",
    ),
    DataSource(
        "aime24", "maths", "HuggingFaceH4/aime_2024", "train", _COMPETITION,
        notes="seven answers have leading zeros",
    ),
    DataSource(
        "aime25", "maths", "math-ai/aime25", "test", f"Apache-2.0; {_COMPETITION}",
        notes="copies differ in wording; record which one was used",
    ),
    DataSource(
        "amc", "maths", "AI-MO/aimo-validation-amc", "train", f"Apache-2.0; {_COMPETITION}",
        notes="answers are floats; ids repeat; statements were changed to have integer answers",
    ),
    DataSource(
        "olympiadbench", "maths", "Hothan/OlympiadBench", "train", "apache-2.0 (card)",
        config="OE_TO_maths_en_COMP", answer=("answer", "final_answer"), answer_is="list",
        notes="94 rows have several answers in any order; some have a unit or a tolerance",
    ),
    DataSource(
        "omni_math", "maths", "KbsdJames/Omni-MATH", "test", "apache-2.0 (card)",
        notes="many of the 4,428 answers need a judge; rules grade a subset of 2,821",
    ),
    DataSource(
        "minerva_math", "maths", "math-ai/minervamath", "test", "probably CC BY-NC-SA (OCW text)",
        notes="rounded numbers without units; two conventions of reference are in use",
    ),
    DataSource(
        "gsm8k", "maths", "openai/gsm8k", "train", "MIT", config="main", answer_is="hashes",
        files=("gsm8k_train",), notes="all answers are integers; thousands separators occur",
    ),
    DataSource(
        "dapo_math", "maths", "BytedTsinghua-SIA/DAPO-Math-17k", "train", "apache-2.0 (card)",
        answer=("answer", "reward_model.ground_truth"), level=("lang", "data_source"),
        notes="17,917 rows, each 100 times on the hub; 17,290 distinct, 11 contradictory",
    ),
    DataSource(
        "eurus_math", "maths", split="train", keep={"ability": ("math",)},
        notes="from NuminaMath-CoT", **_EURUS,
    ),
    DataSource(
        "eurus_math_difficult", "maths", split="train", files=("eurus_math",),
        keep={"ability": ("math",), "data_source": ("numina_olympiads", "numina_aops_forum")},
        notes="the paper does not define its difficult part; this is our reading: olympiad sources",
        **_EURUS,
    ),
    DataSource(
        "eurus_code", "code", split="train", keep={"ability": ("code",)},
        answer=("tests", "reward_model.ground_truth"),
        notes="from APPS, CodeContests, TACO, Codeforces; tests are JSON text", **_EURUS,
    ),
    DataSource(
        "eurus_code_test", "code", split="validation", keep={"ability": ("code",)},
        answer=("tests", "reward_model.ground_truth"),
        notes="no split is called test; validation has 1,024 code rows", **_EURUS,
    ),
    DataSource(
        "acecode", "code", "TIGER-Lab/AceCode-87K", "train", "MIT (card)",
        revision="13216309a9f6cb40b60cb1a9750071efeac414ad",
        text=("prompt", "question"), answer=("tests", "test_cases"), level=("source",),
        notes="tests were written by a language model and can be wrong",
    ),
    DataSource("kodcode", "code", notes="online-judge style dropped, as in the paper", **_KODCODE),
    DataSource(
        "kodcode_test", "code", files=("kodcode",),
        notes="no split is called test: one problem in fifty, by a hash of its text", **_KODCODE,
    ),
]  # fmt: skip
SOURCES = {source.name: source for source in _SOURCES}
