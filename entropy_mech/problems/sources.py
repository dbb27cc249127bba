"""Data sets: where each comes from, how its rows are read, its known faults, and copies."""

from __future__ import annotations

import contextlib
import json
import math
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from entropy_mech.errors import UserError, bad_value, unknown_name
from entropy_mech.grading.mathematics.normal import boxed_answers, normal
from entropy_mech.grading.maths import NoReference, after_hashes, read_references, reference_texts
from entropy_mech.hub import cache_only, hub_answers
from entropy_mech.problems.grading import CodeProblem, MathProblem

# -- Sources -------------------------------------------------------------------------------------
# Facts are from data set cards and from code that loads the sets. ``revision`` is a commit where
# one is known; ``main`` means that none could be checked, and then the loader asks the hub for
# the commit and records it, so that a run can always be repeated.

_COMPETITION = "third-party competition text (MAA, via AoPS): do not redistribute"


@dataclass(frozen=True)
class DataSource:
    """One data set on the hub, and the names of its local copy.

    ``text``, ``answer`` (or ``tests``) are columns in order of preference; a dot goes into a
    nested value. ``answer_is`` says how a text of an answer is written there: plain, boxed (in a
    solution), hashes (after ####).
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


_EURUS = {
    "hub_id": "PRIME-RL/Eurus-2-RL-Data", "revision": "9776b13264b5aaa0b16495fcf086a0a8d86fd655",
    "text": ("problem", "prompt"), "level": ("data_source",), "licence": "MIT (card)",
}  # fmt: skip
_EURUS_CODE = {**_EURUS, "keep": {"ability": ("code",)},
               "answer": ("tests", "reward_model.ground_truth")}  # fmt: skip
_KODCODE = {
    "hub_id": "KodCode/KodCode-V1", "split": "train", "text": ("prompt", "question"),
    "answer": ("tests", "test"), "keep": {"style": ("instruct", "complete")},
    "licence": "cc-by-nc-4.0 (card); the repository's LICENSE says Apache-2.0",
}  # fmt: skip
_SOURCES = [
    # 51 references differ from those that PRIME evaluates with; five drop a number base.
    DataSource("math500", "maths", "HuggingFaceH4/MATH-500", "test", f"MIT; {_COMPETITION}",
               revision="ff5b20257d8185524591543f8ff5993951537bb8"),
    # Seven answers have leading zeros.
    DataSource("aime24", "maths", "HuggingFaceH4/aime_2024", "train", _COMPETITION),
    # Copies differ in wording; record which one was used.
    DataSource("aime25", "maths", "math-ai/aime25", "test", f"Apache-2.0; {_COMPETITION}"),
    # Answers are floats; ids repeat; statements were changed to have integer answers.
    DataSource("amc", "maths", "AI-MO/aimo-validation-amc", "train", f"Apache-2.0; {_COMPETITION}"),
    # 94 rows have several answers in any order; some have a unit or a tolerance.
    DataSource("olympiadbench", "maths", "Hothan/OlympiadBench", "train", "apache-2.0 (card)",
               config="OE_TO_maths_en_COMP", answer=("answer", "final_answer")),
    # Many of the 4,428 answers need a judge; rules grade a subset of 2,821.
    DataSource("omni_math", "maths", "KbsdJames/Omni-MATH", "test", "apache-2.0 (card)"),
    # Rounded numbers without units; two conventions of reference are in use.
    DataSource("minerva_math", "maths", "math-ai/minervamath", "test",
               "probably CC BY-NC-SA (OCW text)"),
    # All answers are integers; thousands separators occur.
    DataSource("gsm8k", "maths", "openai/gsm8k", "train", "MIT", config="main",
               answer_is="hashes", files=("gsm8k_train",)),
    # 1,319 problems; published scores are mostly of all of them.
    DataSource("gsm8k_test", "maths", "openai/gsm8k", "test", "MIT", config="main",
               answer_is="hashes"),
    # The 7,500 training problems of MATH; MATH-500 is of its test problems.
    DataSource("math", "maths", "DigitalLearningGmbH/MATH-lighteval", "train",
               f"MIT; {_COMPETITION}", answer=("answer", "solution"), answer_is="boxed",
               files=("math_train",)),
    # 17,917 rows, each 100 times on the hub; 17,290 distinct, 11 contradictory.
    DataSource("dapo_math", "maths", "BytedTsinghua-SIA/DAPO-Math-17k", "train",
               "apache-2.0 (card)", level=("lang", "data_source")),
    # From NuminaMath-CoT.
    DataSource("eurus_math", "maths", split="train", keep={"ability": ("math",)}, **_EURUS),
    # The paper does not define its difficult part; this is our reading: olympiad sources.
    DataSource("eurus_math_difficult", "maths", split="train", files=("eurus_math",), **_EURUS,
               keep={"ability": ("math",),
                     "data_source": ("numina_olympiads", "numina_aops_forum")}),
    # From APPS, CodeContests, TACO, Codeforces; tests are JSON text. No split is called test;
    # validation has 1,024 code rows.
    DataSource("eurus_code", "code", split="train", **_EURUS_CODE),
    DataSource("eurus_code_test", "code", split="validation", **_EURUS_CODE),
    # Tests were written by a language model and can be wrong.
    DataSource("acecode", "code", "TIGER-Lab/AceCode-87K", "train", "MIT (card)",
               revision="13216309a9f6cb40b60cb1a9750071efeac414ad", text=("prompt", "question"),
               answer=("tests", "test_cases"), level=("source",)),
    # Online-judge style dropped, as in the paper. No split is called test: one problem in fifty,
    # by a hash of its text.
    DataSource("kodcode", "code", **_KODCODE),
    DataSource("kodcode_test", "code", files=("kodcode",), **_KODCODE),
]  # fmt: skip
SOURCES = {source.name: source for source in _SOURCES}


# -- Files of rows -------------------------------------------------------------------------------

_FIX = "give one JSON object a row"


class _Row(dict):
    """A row of a data set, with its place in a file for error messages."""

    place = "a row"


def read_rows(path: Path) -> list[_Row]:
    """Return a file's rows.

    Raises:
        UserError: it cannot be read, or a row of it is not a JSON object; with its number.

    """
    try:
        numbered = list(_numbered_rows(path))
    except (ValueError, OSError, RecursionError) as error:
        raise bad_value("data_dir", str(path), f"cannot be read ({_short(error)})") from None
    rows = []
    for place, row in numbered:
        if not isinstance(row, dict):
            raise bad_value("data_dir", str(path), f"{place} is not a JSON object: {_FIX}")
        rows.append(_Row(row))
        rows[-1].place = f"{path}, {place}"
    return rows


def _numbered_rows(path: Path) -> Iterator[tuple[str, object]]:
    """Yield each row with its place in the file."""
    if path.suffix == ".parquet":
        import pandas

        rows = pandas.read_parquet(path).to_dict("records")
    elif path.suffix == ".json":
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    else:
        yield from _numbered_lines(path)
        return
    if not isinstance(rows, list):
        raise bad_value("data_dir", str(path), _FIX)
    yield from ((f"row {number}", row) for number, row in enumerate(rows, 1))


def _numbered_lines(path: Path) -> Iterator[tuple[str, object]]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        try:
            if line.strip():
                yield f"line {number}", json.loads(line)
        except (ValueError, RecursionError) as error:
            fix = f"cannot be read: line {number} is not JSON ({_short(error, 200)})"
            raise bad_value("data_dir", str(path), fix) from None


def _short(error: object, most: int = 300) -> str:
    """Return an error's text in one line."""
    return " ".join(str(error).split())[:most]


# -- Reading -------------------------------------------------------------------------------------

HELD_OUT_ONE_IN = 50  # of KodCode, which has no test split
_DAPO_WRAPPER = re.compile(
    r"\ASolve the following math problem.*?\n\n(.*?)\n\nRemember to put your answer.*", re.DOTALL
)


@dataclass(frozen=True)
class LoadedSet:
    """Problems, their origin, and how many ``rows`` were read and dropped, and why."""

    name: str
    problems: tuple[MathProblem | CodeProblem, ...]
    origin: str  # a file, or hub id and commit
    rows: int
    repeats: int
    contradictions: int  # rows of texts that occur with different answers

    def __len__(self) -> int:
        return len(self.problems)


def load(
    source: DataSource, data_dir: str | Path | None = None, *, tolerances: dict | None = None
) -> LoadedSet:
    """Load a set: from ``data_dir`` if given (NAME.jsonl, .json or .parquet), else from the hub.

    A text that occurs twice is kept once; one that occurs with different answers is dropped,
    since no answer is right for all of them. Raises UserError, in one line with both fixes, if the
    hub cannot be reached, a file is missing or a column has changed; if a row has no reference the
    line names row and column.
    """
    if data_dir is None:
        rows, origin = _from_hub(source)
        if source.name in ("kodcode", "kodcode_test"):
            wanted = source.name == "kodcode_test"
            rows = [row for row in rows if _is_held_out(_text(source, row)) == wanted]
    else:
        rows, origin = _from_folder(source, Path(data_dir))
    kept = [(place, row) for place, row in enumerate(rows, 1) if _is_kept(source, row)]
    if not kept:
        raise bad_value(source.name, origin, "no row is left; check the file and its columns")
    problems = []
    for number, (place, row) in enumerate(kept):
        try:
            problems.append(_problem(source, row, number, tolerances or {}))
        except NoReference as none:
            column = next(c for c in source.answer if _value(row, c) is not _MISSING)
            raise UserError(
                f"{source.name}: {origin}, row {place}, column {column}: {none}; "
                "give it one, or leave the row out"
            ) from None
    return _without_repeats(source.name, problems, origin)


def same_text(text: str) -> str:
    """Return the text without differences of case and spacing, to compare problems by."""
    return " ".join(text.casefold().split())


def _without_repeats(name: str, problems, origin: str) -> LoadedSet:
    answers: dict[str, set[str]] = defaultdict(set)
    for problem in problems:
        # Different tests of one text do not contradict each other; different answers do.
        tests = isinstance(problem, CodeProblem)
        answers[same_text(problem.text)].add("" if tests else same_text(problem.reference))
    kept: dict[str, MathProblem | CodeProblem] = {}
    for problem in problems:
        text = same_text(problem.text)
        if len(answers[text]) == 1:
            kept.setdefault(text, problem)
    contradictions = sum(len(answers[same_text(problem.text)]) > 1 for problem in problems)
    repeats = len(problems) - len(kept) - contradictions
    return LoadedSet(name, tuple(kept.values()), origin, len(problems), repeats, contradictions)


def _is_held_out(text: str) -> bool:
    return zlib.crc32(same_text(text).encode()) % HELD_OUT_ONE_IN == 0


def _is_kept(source: DataSource, row: dict) -> bool:
    return all(
        str(row[column]).startswith(beginnings)
        for column, beginnings in source.keep.items()
        if column in row
    )


# -- Where rows come from ------------------------------------------------------------------------


def _from_folder(source: DataSource, folder: Path) -> tuple[list[_Row], str]:
    if not folder.is_dir():
        raise bad_value("data_dir", str(folder), "no such folder; give one with the data files")
    for name in (source.name, *source.files):
        for suffix in (".jsonl", ".json", ".parquet"):
            if (path := folder / f"{name}{suffix}").exists():
                return read_rows(path), str(path)
    fix = f"add it, or leave data_dir out to load {source.hub_id} from the hub"
    there = f"no {source.name}.jsonl, .json or .parquet there"
    raise bad_value("data_dir", str(folder), f"{there}; {fix}")


def _from_hub(source: DataSource) -> tuple[list[_Row], str]:
    """Rows from the hub, or from the local cache of an earlier download."""
    import datasets

    offline = not hub_answers()
    try:
        revision = source.revision
        if revision == "main" and not offline:
            from huggingface_hub import HfApi

            revision = HfApi().dataset_info(source.hub_id, timeout=30).sha
        with cache_only() if offline else contextlib.nullcontext():
            rows = datasets.load_dataset(
                source.hub_id, source.config, split=source.split, revision=revision
            )
        return list(map(_Row, _distinct(rows))), f"{source.hub_id}@{revision}"
    except Exception as error:
        why = "the hub cannot be reached" if offline else f"{type(error).__name__}: {error}"
        raise UserError(
            f"{source.name}: {source.hub_id} cannot be loaded ({_short(why)}): go online, or set "
            f"HF_ENDPOINT to a mirror, or give --data-dir FOLDER with {source.name}.jsonl or "
            ".parquet"
        ) from error


def _distinct(rows: Iterable[dict]) -> Iterable[dict]:
    """Rows without exact repeats (DAPO-Math has every row a hundred times)."""
    seen = set()
    for row in rows:
        key = hash(json.dumps(row, sort_keys=True, default=str))
        if key not in seen:
            seen.add(key)
            yield row


# -- What rows mean ------------------------------------------------------------------------------


_MISSING = object()


def _value(row: object, column: str) -> object:
    """Return a row's value in a column, or _MISSING; a dot in the name goes into a nested value."""
    for part in column.split("."):
        if not isinstance(row, dict) or part not in row:
            return _MISSING
        row = row[part]
    return row


def _column(source: DataSource, row: _Row, columns: tuple[str, ...], needed: bool = True):
    """Return the first value among the columns that is not None."""
    values = [v for column in columns if (v := _value(row, column)) is not _MISSING]
    found = next((value for value in values if value is not None), None)
    if found is not None or not needed:
        return found
    if values and columns == source.answer:
        raise NoReference("None is no reference")
    raise UserError(
        f"{source.name}: {row.place} has none of the columns {', '.join(columns)} (it has "
        f"{', '.join(map(str, row))}): load {source.hub_id} at the revision in "
        "sources.py, or give --data-dir FOLDER with a file that has them"
    )


def _text(source: DataSource, row: _Row) -> str:
    value = _column(source, row, source.text)
    if not isinstance(value, str):  # a list of messages; the last one is the user's
        with contextlib.suppress(TypeError, IndexError, KeyError):
            value = list(value)[-1]["content"]
    if not isinstance(value, str) or not value.strip():
        raise _malformed(source, row, source.text, "give text, or a list of messages with content")
    return _DAPO_WRAPPER.sub(r"\1", value)


def _malformed(source: DataSource, row: _Row, columns: tuple[str, ...], fix: str) -> UserError:
    """Return the error for a value that a column cannot have: file, row, column, value, fix."""
    column = next((c for c in columns if c.partition(".")[0] in row), columns[0])
    value = row.get(column.partition(".")[0])
    return bad_value(f"{source.name}: {row.place}, column {column}", value, fix)


def _tolerance(source: DataSource, row: _Row) -> float:
    """Return how far an answer may be from a measured reference; 0 where the row has no error."""
    said = row.get("error")
    if said is None or said == "" or said != said:  # NaN is pandas' empty cell
        return 0.0
    with contextlib.suppress(TypeError, ValueError):
        tolerance = abs(float(said))
        if math.isfinite(tolerance) and not isinstance(said, bool):
            return tolerance
    raise _malformed(source, row, ("error",), "give a number: how far an answer may be off")


def _problem(source: DataSource, row: _Row, number: int, tolerances: dict):
    # OlympiadBench's own ids are numbers; AMC's repeat, so that the row number is safer.
    name = str(row.get("id") if isinstance(row.get("id"), str) else f"{source.name}-{number}")
    level = str(_column(source, row, source.level, needed=False) or "")
    text = _text(source, row)
    value = _column(source, row, source.answer)
    if source.kind == "code":
        tests = value.tolist() if hasattr(value, "tolist") else value
        if tests != tests or tests in ("", [], {}):
            raise NoReference(f"{tests!r} is no test")
        return CodeProblem(name, text, tests, str(row.get("solution") or ""), level)
    answer = _answer(source, value)
    if tolerance := _tolerance(source, row):
        tolerances = {**tolerances, "absolute_tolerance": tolerance}
    return MathProblem(name, text, answer, level, **tolerances)


def _answer(source: DataSource, value) -> str:
    """Return the reference as one text; raises NoReference."""
    texts = reference_texts(value)
    if not isinstance(value, str):  # of a list, all of them wanted
        texts = [text.strip().rstrip(".").strip("$") for text in texts]
    text = ", ".join(texts)
    if source.answer_is == "hashes":
        text = after_hashes(text).replace(",", "")
    if source.answer_is == "boxed" and (found := boxed_answers(text)):
        text = found[0]
    if not any(map(normal, read_references(text))):
        raise NoReference(f"the reference is empty: {text!r}")
    return text


# -- Training sets -------------------------------------------------------------------------------

TRAINING_SETS = (
    "eurus_math", "eurus_math_difficult", "gsm8k", "math", "dapo_math", "acecode", "eurus_code",
    "kodcode",
)  # fmt: skip


def load_training_set(name: str, data_dir: str | Path | None = None) -> LoadedSet:
    """Load a training set by name, from the hub or from ``data_dir/NAME.jsonl`` (or .parquet).

    Repeated texts are kept once, texts with contradicting answers not at all; the counts are in
    the result. Raises UserError as :func:`entropy_mech.problems.benchmarks.load_benchmark` does.
    """
    if name not in TRAINING_SETS:
        raise unknown_name("training set", name, TRAINING_SETS)
    return load(SOURCES[name], data_dir)


def load_training_sets(names: Iterable[str], data_dir: str | Path | None = None) -> LoadedSet:
    """Load the union of training sets: a text that several hold is kept once.

    Texts to which they give contradicting answers are dropped, as within one set.
    """
    sets = [load_training_set(name, data_dir) for name in names]
    if len(sets) == 1:
        return sets[0]
    joined = _without_repeats(
        " + ".join(one.name for one in sets),
        [problem for one in sets for problem in one.problems],
        "; ".join(one.origin for one in sets),
    )
    return replace(
        joined,
        rows=sum(one.rows for one in sets),
        repeats=joined.repeats + sum(one.repeats for one in sets),
        contradictions=joined.contradictions + sum(one.contradictions for one in sets),
    )


# -- Contamination: benchmark problems that occur in a training set, exactly or nearly -----------

SHINGLE_WORDS = 5
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Overlap:
    """A benchmark problem with its nearest training problem.

    ``similarity`` is the share of the shorter text's runs of five words that the other text has
    too; 1 for texts that are equal in their letters and digits (``exact``).
    """

    problem_id: str
    training_id: str
    similarity: float
    exact: bool


def overlaps(
    training: LoadedSet, benchmarks: Sequence[LoadedSet], *, least_similarity: float = 0.7
) -> list[list[Overlap]]:
    """Find the problems of each benchmark that a training set holds, each with its nearest copy.

    Exact copies are found whatever their length; near copies need at least eight words. Paraphrases
    and translations are not found: counts are lower bounds. The training set is read once, and the
    index is of the benchmarks, which are small: a training set may have 500,000 problems.
    """
    if not 0 < least_similarity <= 1:
        raise bad_value("least_similarity", least_similarity, "give a fraction above 0, at most 1")
    held_out = [(i, problem) for i, one in enumerate(benchmarks) for problem in one.problems]
    read = [_letters_and_runs(problem.text) for _, problem in held_out]
    alike, postings = defaultdict(list), defaultdict(list)
    for place, (letters, runs) in enumerate(read):
        alike[letters].append(place)
        for run in runs:
            postings[run].append(place)
    nearest = dict.fromkeys(range(len(held_out)), ((0.0, False), ""))
    for problem in training.problems:
        letters, runs = _letters_and_runs(problem.text)
        shared = Counter(place for run in runs for place in postings.get(run, ()))
        like = {i: (n / min(len(runs), len(read[i][1])), False) for i, n in shared.items()}
        like |= dict.fromkeys(alike.get(letters, ()), (1.0, True))
        for place, similarity in like.items():
            if similarity > nearest[place][0]:  # the first of equals
                nearest[place] = similarity, problem.id
    found: list[list[Overlap]] = [[] for _ in benchmarks]
    for (i, problem), ((similarity, exact), twin) in zip(held_out, nearest.values(), strict=True):
        if similarity >= least_similarity:
            found[i].append(Overlap(problem.id, twin, similarity, exact))
    return found


def _letters_and_runs(text: str) -> tuple[str, set[int]]:
    """Return a text's letters and digits, and the hashes of its runs of five words."""
    words = _WORD.findall(text.casefold())
    runs = zip(*(words[i:] for i in range(SHINGLE_WORDS)), strict=False)
    return "".join(words), set(map(hash, runs)) if len(words) >= 8 else set()


def contamination_report(
    training_sets: Iterable[LoadedSet], benchmarks: Sequence[LoadedSet]
) -> str:
    """A Markdown table: exact and near copies of each benchmark in each training set."""
    header = ["training set", "benchmark", "problems", "exact copies", "near copies"]
    rows = [header, ["---"] * len(header)]
    for training in training_sets:
        for benchmark, found in zip(benchmarks, overlaps(training, benchmarks), strict=True):
            exact = sum(o.exact for o in found)
            rows.append([training.name, benchmark.name, len(benchmark), exact, len(found) - exact])
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)
