"""Evaluate one model on benchmarks; samples are kept, so that a killed evaluation resumes."""

from __future__ import annotations

import glob
import hashlib
import importlib.util
import json
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import groupby, product
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from entropy_mech.config import TrainConfig, VLLMSamplerConfig
from entropy_mech.config.files import base_model_id
from entropy_mech.errors import UserError, bad_value, unknown_name
from entropy_mech.grading import GradingPool, Verdict
from entropy_mech.grading.verdict import ErrorAlarm
from entropy_mech.problems import Problem
from entropy_mech.problems.benchmarks import BenchmarkSet, Protocol, load_sets
from entropy_mech.problems.grading import grade_many, has_readings, readings
from entropy_mech.problems.tripwire import Tripwire
from entropy_mech.random_streams import stream_key
from entropy_mech.runs.launch import evaluation_before, evaluation_folder, scored, usable_cores
from entropy_mech.runs.status import run_or_model
from entropy_mech.runs.store import (
    MetricsFile,
    Run,
    RunStore,
    atomic_write,
    environment,
    folder_lock,
    now,
    write_json,
)
from entropy_mech.sampling.sampler import (
    Part,
    Sampler,
    SamplingRequest,
    graded_in_threads,
    pass_at,
    powers_of_two,
    requests_of,
    special_tokens,
)
from entropy_mech.sampling.torch_sampler import TorchSampler
from entropy_mech.sampling.vllm_sampler import VLLMSampler
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.pretrain import prepare_base_model
from entropy_mech.train.pretrained import (
    in_hugging_face_format,
    load_pretrained,
    load_without_weights,
    positions_of,
)

# -- The model -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class FoundModel:
    """Where a model's weights and tokenizer are; nothing is loaded yet.

    Attributes:
        place: a folder in Hugging Face format, or a hub id.
        identity: a name that changes when the weights do.
        revision: of a hub id, where a configuration pins one.
        toy: whether it is a toy's, which is always sampled on the CPU.
        threads: of torch, where a run's configuration says how many.

    """

    place: str
    identity: str
    revision: str | None = None
    toy: bool = False
    threads: int | None = None


def find_model(
    name: str, store: RunStore, *, before_training: bool = False, profile: str = "toy"
) -> FoundModel:
    """Return where the model is that a user names.

    ``name`` is a run, as ``runs.status.find_run`` takes it (its id, its folder, its file or the
    name of that, which ``profile`` says where to look for), a folder in Hugging Face format, a
    hub id, or ``pip:PACKAGE``. ``before_training`` takes a run's base model.

    Raises:
        UserError: a run that has no policy yet, or no such run.

    """
    run = run_or_model(name, store=store, profile=profile)
    if run is None:
        if before_training:
            raise bad_value("--before-training", name, "is no run; leave the option out")
        name = in_hugging_face_format(name, store.root)
        place = str(Path(name).resolve()) if Path(name).is_dir() else name
        return FoundModel(name, f"hf-{hashlib.sha256(place.encode()).hexdigest()[:12]}")
    if before_training:
        return find_base_model(run.config, store)
    found = newest_policy(run)
    if found is None:
        fix = f"run: entropy-mech train {name}" if name.endswith(".toml") else "train it first"
        raise bad_value("model", name, f"is not trained yet; {fix}")
    return found


def find_base_model(config: TrainConfig, store: RunStore) -> FoundModel:
    """Return what a run starts from; it is made where that has not been done."""
    identity = f"base-{base_model_id(config)}"
    if config.makes_base_model:
        place = prepare_base_model(store.root, config)
        return FoundModel(str(place), identity, toy=config.toy, threads=config.threads)
    place = in_hugging_face_format(config.model.path, store.root, field="model.path")
    return FoundModel(place, identity, config.model.revision, threads=config.threads)


def newest_policy(run: Run) -> FoundModel | None:
    """Return the newest policy of a run; None where it has none."""
    folder, config = run.newest_model(), run.config
    if folder is None:
        return None
    identity = f"{run.path.name}-{folder.name}"
    return FoundModel(str(folder), identity, toy=config.toy, threads=config.threads)


# -- The sampler ---------------------------------------------------------------------------------

KINDS = ("auto", "torch", "vllm")
# Sequences that a sampler is handed at once; None for all. vLLM keeps as many as fit its cache
# going, gives each response as it finishes, and so waits for the longest of a queue once.
BATCH_SIZE = {"torch": 64, "vllm": None}
# How long ranks wait for one another, and an engine may take for a queue.
PATIENCE_S = 48 * 3600.0


@dataclass(frozen=True)
class OpenSampler:
    """A loaded model: its sampler (``torch`` or ``vllm``, of policy version 0) and tokenizer."""

    sampler: Sampler
    tokenizer: PreTrainedTokenizerBase
    kind: str


@contextmanager
def open_sampler(
    found: FoundModel,
    sets: Sequence[BenchmarkSet],
    *,
    kind: str = "auto",
    tensor_parallel: int = 1,
    ranks: Ranks | None = None,
) -> Iterator[OpenSampler]:
    """Load a model for the problems of ``sets`` into this process; an engine ends with the block.

    Args:
        found: the model.
        sets: the benchmarks that it will be measured on.
        kind: ``torch`` samples on this rank's GPU where there is one, ``vllm`` with an engine of
            its own there (or one for every ``tensor_parallel`` ranks). ``auto`` is ``vllm`` where
            there are a GPU and vLLM and the model is no toy's.
        tensor_parallel: GPUs that an engine's weights are split over.
        ranks: the processes that evaluate together.

    Raises:
        UserError: the model cannot be loaded, has too few positions for the longest prompt and
            response, or the kind asked for cannot be had.

    """
    chosen = chosen_kind(kind, found)
    if found.threads:
        torch.set_num_threads(found.threads)
    if chosen == "torch":
        model, tokenizer = load_pretrained(found.place, found.revision)
        _longest(sets, tokenizer, positions_of(model.config))
        if torch.cuda.is_available() and not found.toy:
            model = model.to("cuda")
        yield OpenSampler(TorchSampler(model, **special_tokens(tokenizer)), tokenizer, chosen)
        return
    _check_gpus(tensor_parallel, ranks or Ranks())
    config, tokenizer = load_without_weights(found.place, found.revision)
    sampler = VLLMSampler(
        found.place,
        VLLMSamplerConfig(
            tensor_parallel=tensor_parallel, gpu_memory_fraction=0.9, sample_timeout_s=PATIENCE_S
        ),
        **special_tokens(tokenizer),
        dtype=torch.float32 if config.dtype == torch.float32 else torch.bfloat16,
        max_model_len=_longest(sets, tokenizer, positions_of(config)),
        revision=found.revision,
    )
    with closing(sampler):
        yield OpenSampler(sampler, tokenizer, chosen)


def check_kind(kind: str) -> None:
    """Refuse what is none of ``KINDS``, naming the nearest."""
    if kind not in KINDS:
        raise unknown_name("--sampler", kind, KINDS)


def chosen_kind(kind: str, found: FoundModel) -> str:
    """Return ``torch`` or ``vllm`` for one of ``KINDS``.

    Raises:
        UserError: an unknown kind, or vLLM where it is not installed.

    """
    check_kind(kind)
    installed = importlib.util.find_spec("vllm") is not None
    if kind == "vllm" and not installed:
        raise UserError(
            "--sampler = vllm: vLLM is not installed; pip install 'entropy-mech[gpu]', or make "
            "stack in a clone"
        )
    if kind != "auto":
        return kind
    return "vllm" if installed and torch.cuda.is_available() and not found.toy else "torch"


def _check_gpus(tensor_parallel: int, ranks: Ranks) -> None:
    """Refuse an engine over more GPUs than it can have: the ranks', or of one process the host's.

    Raises:
        UserError: says how many there are.

    """
    gpus = torch.cuda.device_count()
    if ranks.size > 1 and ranks.size % tensor_parallel:
        fix = f"the launcher started {ranks.size} processes; give a number that divides it"
        raise bad_value("--tensor-parallel", tensor_parallel, fix)
    if ranks.size == 1 and tensor_parallel > max(gpus, 1):
        fix = f"there are {gpus} GPUs here; give as many or less"
        raise bad_value("--tensor-parallel", tensor_parallel, fix)


def _longest(
    sets: Sequence[BenchmarkSet], tokenizer: PreTrainedTokenizerBase, positions: int | None
) -> int:
    """Return the tokens of the longest prompt and response together.

    Raises:
        UserError: the model has fewer positions.

    """
    longest = 0
    for one in sets:
        prompts = tokenizer([problem.prompt for problem in one.problems])["input_ids"]
        room = max(map(len, prompts)) + one.protocol.max_new_tokens
        if positions and room > positions:
            raise bad_value(
                "--max-new-tokens",
                one.protocol.max_new_tokens,
                f"with a prompt of {one.name} that makes {room} tokens, and the model has "
                f"{positions} positions; give {positions - room + one.protocol.max_new_tokens} "
                "or less",
            )
        longest = max(longest, room)
    return longest


# -- The evaluation ------------------------------------------------------------------------------

Pair = tuple[int, int]  # of a problem and one of its samples
Row = dict[str, Any]
Report = Callable[[str, int, int], None]  # a benchmark's name, samples done and their total


@dataclass(frozen=True)
class Score:
    """A benchmark's result: avg@k over the problems, with its standard error."""

    benchmark: str
    problems: int
    samples: int
    accuracy: float
    standard_error: float
    verdicts: dict[str, int]
    protocol: dict[str, Any]
    # Answers here that were accepted for another reference too, in this benchmark or before.
    answers_right_for_different_references: int = 0
    # Of problems that ask for a form: accuracy strict and lenient, the share that has the form, and
    # pass@k as graded.
    readings: dict[str, Any] = field(default_factory=dict)

    def table(self) -> dict[str, Any]:
        """Return the score as it is written down."""
        written = asdict(self)
        return written if self.readings else {k: v for k, v in written.items() if k != "readings"}


class Evaluation:
    """A folder with one JSONL file a benchmark; a line is one graded sample.

    The random numbers of a sample are named by (seed, benchmark, problem, sample), so that it
    matters neither in which batch or by which process it is drawn nor whether the evaluation was
    stopped before it. ``sampled_by`` says whose random numbers they are: ``torch`` or ``vllm``
    draw differently, and a file holds samples of one of them.

    A sampler is handed ``batch_size`` sequences at once; None hands over all, for one that gives
    each response as it finishes. Every process of ``ranks`` has a sampler, and the samples are
    dealt over them.
    Rank 0 writes into the benchmark's own file and each other rank into one beside it, which rank
    0 takes into its own at the end, or when an evaluation that was killed goes on.
    """

    def __init__(
        self,
        folder: Path,
        sampler: Sampler,
        tokenizer: PreTrainedTokenizerBase,
        *,
        seed: int = 1,
        batch_size: int | None = 64,
        pool: GradingPool | None = None,
        sampled_by: str = "torch",
        ranks: Ranks | None = None,
    ):
        self.folder, self.sampler, self.tokenizer = folder, sampler, tokenizer
        self.seed, self.batch_size, self.pool = seed, batch_size, pool
        self.sampled_by, self.ranks = sampled_by, ranks or Ranks()
        self.tripwire = Tripwire()
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, name: str, problems: Sequence[Problem], protocol: Protocol) -> Score:
        """Sample and grade what is missing of a benchmark, and return its score, on every rank."""
        return self.run_together([BenchmarkSet(name, problems, protocol)])[0]

    def run_together(
        self, sets: Sequence[BenchmarkSet], report: Report = lambda *_: None
    ) -> list[Score]:
        """Sample and grade what is missing of several benchmarks as one queue of the sampler.

        Their responses may be of different temperatures, but not of different lengths at most.
        """
        missing = self.ranks.of_first(lambda: [self._begin(one) for one in sets])
        totals = [len(one.problems) * one.protocol.samples for one in sets]
        done = [total - len(pairs) for total, pairs in zip(totals, missing, strict=True)]
        files = [MetricsFile(self._path(one.name, self.ranks.rank)) for one in sets]
        queue = [(number, *pair) for number, pairs in enumerate(missing) for pair in pairs]
        for rows in self._rows(sets, queue):
            for number, row in rows:
                files[number].append(row)
            for number, count in Counter(number for number, _ in rows).items():
                done[number] += count * self.ranks.size  # about so many: the others' are alike
                report(sets[number].name, min(done[number], totals[number]), totals[number])
        for file in files:
            file.sync()
        self.ranks.meet(f"the end of {', '.join(one.name for one in sets)}")
        return self.ranks.of_first(lambda: [self._finish(one) for one in sets])

    def _begin(self, one: BenchmarkSet) -> list[Pair]:
        """Return the missing (problem, sample) pairs; those with verdict ``error`` are redrawn."""
        self._check_same(one.name, one.problems, one.protocol)
        rows = self._collect(one.name, keep=lambda row: row["verdict"] != "error")
        done = {(row["problem"], row["sample"]) for row in rows}
        wanted = product(range(len(one.problems)), range(one.protocol.samples))
        return [pair for pair in wanted if pair not in done]

    def _finish(self, one: BenchmarkSet) -> Score:
        rows = self._collect(one.name)
        if absent := len(one.problems) * one.protocol.samples - len(rows):
            raise UserError(
                f"evaluation = {self.folder}: {absent} samples of {one.name} are not there, which "
                "other processes have drawn; give an --out that all hosts share"
            )
        tripped = self._watch(one.problems, rows)
        right = np.array([row["verdict"] == "correct" for row in rows])
        by_problem = right.reshape(-1, one.protocol.samples).mean(axis=1)
        count = len(by_problem)
        error = by_problem.std(ddof=1) / np.sqrt(count) if count > 1 else float("nan")
        return Score(
            benchmark=one.name,
            problems=count,
            samples=one.protocol.samples,
            accuracy=float(by_problem.mean()),
            standard_error=float(error),
            verdicts=dict(Counter(row["verdict"] for row in rows)),
            protocol=asdict(one.protocol),
            answers_right_for_different_references=tripped,
            readings=self._readings(one.problems, rows, one.protocol.samples),
        )

    def _readings(
        self, problems: Sequence[Problem], rows: Sequence[Row], samples: int
    ) -> dict[str, Any]:
        if not has_readings(problems):
            return {}
        asked, texts, verdicts = _graded(problems, rows)
        found = readings(asked, texts, verdicts, self._grade)
        right = np.array([v.name == "correct" for v in verdicts]).reshape(-1, samples).sum(axis=1)
        tried = {str(k): pass_at(k, right, samples) for k in powers_of_two(samples)}
        return {**{name: float(one.mean()) for name, one in found.items()}, "pass_at": tried}

    def _grade(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        return grade_many(problems, texts, self.pool)

    def _path(self, name: str, rank: int) -> Path:
        return self.folder / (f"{name}.rank{rank}.jsonl" if rank else f"{name}.jsonl")

    def _collect(self, name: str, keep: Callable[[Row], bool] = lambda row: True) -> list[Row]:
        """Bring a benchmark's files into one, in order and each sample once; return its rows.

        A line that was cut off by a kill goes.
        """
        whole = self._path(name, 0)
        others = sorted(self.folder.glob(f"{glob.escape(name)}.rank*.jsonl"))
        rows: dict[Pair, Row] = {}
        for path in (whole, *others):
            for row in MetricsFile(path).rows():
                if keep(row):
                    rows.setdefault((row["problem"], row["sample"]), row)
        text = "".join(json.dumps(rows[pair]) + "\n" for pair in sorted(rows)).encode()
        if text != (whole.read_bytes() if whole.exists() else b""):
            with atomic_write(whole) as temporary:
                temporary.write_bytes(text)
        for path in others:
            path.unlink()
        return [rows[pair] for pair in sorted(rows)]

    def _watch(self, problems: Sequence[Problem], rows: Sequence[Row]) -> int:
        """Give all samples to the alarm and the tripwire; return how many answers tripped it.

        Raises:
            GraderAlarm: a share of the samples above the bound could not be judged.

        """
        asked, texts, verdicts = _graded(problems, rows)
        ErrorAlarm(window=max(len(rows), 20)).watch(verdicts)
        before = self.tripwire.answers
        self.tripwire.watch(asked, texts, verdicts)
        return self.tripwire.answers - before

    def _rows(
        self, sets: Sequence[BenchmarkSet], queue: Sequence[tuple[int, int, int]]
    ) -> Iterator[list[tuple[int, Row]]]:
        """Sample and grade this rank's share of a queue of (set, problem, sample).

        Yields lines, each with the number of its set, as they are graded.
        """
        own = queue[self.ranks.rank :: self.ranks.size]
        number, problem, sample = np.array(own, dtype=np.int64).reshape(-1, 3).T
        name = np.array([zlib.crc32(one.name.encode()) for one in sets])[number]
        keys = stream_key("benchmark", self.seed, name, problem, sample)
        prompts = [self.tokenizer([p.prompt for p in one.problems])["input_ids"] for one in sets]
        temperatures = [sets[n].protocol.temperature for n, _, _ in own]
        requests = requests_of([prompts[n][p] for n, p, _ in own], keys, temperatures)
        largest_share = -(-len(queue) // self.ranks.size)
        with ThreadPoolExecutor(self.pool.workers if self.pool else 1) as threads:
            answers = graded_in_threads(
                self._sampled(requests, largest_share, sets[0].protocol),
                self.tokenizer,
                [sets[n].problems[p] for n, p, _ in own],
                self._grade,
                threads,
            )
            for places, part in answers:
                lengths = part.completions.response_mask.sum(dim=1).tolist()
                graded = zip(places, part.verdicts, lengths, part.texts, strict=True)
                yield [(own[place][0], _row(own[place], *found)) for place, *found in graded]

    def _sampled(
        self, requests: Sequence[SamplingRequest], largest_share: int, protocol: Protocol
    ) -> Iterator[Part]:
        """Yield responses batch by batch; the ranks of one engine ask equally often."""
        size = self.batch_size or max(largest_share, 1)
        for start in range(0, largest_share, size):
            batch = requests[start : start + size]
            for places, out in self.sampler.stream(
                batch, temperature=protocol.temperature, max_new_tokens=protocol.max_new_tokens
            ):
                yield [start + place for place in places], out

    def _check_same(self, name: str, problems: Sequence[Problem], protocol: Protocol) -> None:
        """Refuse to add to samples of other problems or of another protocol."""
        texts = "\n".join(f"{p.prompt}\t{p.reference}" for p in problems)
        # torch is not named: it was the only one when the first of these files were written.
        other = {} if self.sampled_by == "torch" else {"sampled_by": self.sampled_by}
        asked = {"problems": zlib.crc32(texts.encode()), "seed": self.seed, **other}
        description = json.dumps({**asked, **asdict(protocol)}, sort_keys=True)
        note = self.folder / f"{name}.protocol.json"
        if note.exists() and note.read_text() != description:
            raise UserError(
                f"evaluation = {self._path(name, 0)}: holds samples of other problems or settings; "
                "remove it or give another --out"
            )
        with atomic_write(note) as temporary:
            temporary.write_text(description)


def _row(place: tuple[int, int, int], verdict: Verdict, length: int, text: str) -> Row:
    _, problem, sample = place
    return {
        "problem": problem,
        "sample": sample,
        "verdict": verdict.name,
        "reason": verdict.reason,
        "tokens": length,
        "response": text,
    }


def _graded(
    problems: Sequence[Problem], rows: Sequence[Row]
) -> tuple[list[Problem], list[str], list[Verdict]]:
    """Return the problem, the response and the verdict of each row."""
    asked = [problems[row["problem"]] for row in rows]
    verdicts = [Verdict(row["verdict"], row["reason"]) for row in rows]
    return asked, [row["response"] for row in rows], verdicts


def evaluate_sets(
    found: FoundModel,
    sets: Sequence[BenchmarkSet],
    folder: Path,
    *,
    kind: str = "auto",
    tensor_parallel: int = 1,
    seed: int = 1,
    batch_size: int = 0,
    graders: int | None = None,
    ranks: Ranks | None = None,
    report: Report = lambda *_: None,
) -> Iterator[Score]:
    """Measure a model on benchmarks; all ranks do so together.

    vLLM samples those of one length at most as one queue: each waits for no other's longest
    response. With the model itself one benchmark follows the other.

    Args:
        found: the model.
        sets: the benchmarks.
        folder: of the samples, which all ranks must see.
        kind: of the sampler (``KINDS``).
        tensor_parallel: GPUs that a vLLM engine's weights are split over.
        seed: names the random numbers.
        batch_size: sequences that a sampler is handed at once; 0: what is best for its kind.
        graders: processes that grade on this rank; None: this rank's share of the cores.
        ranks: the processes.
        report: is told a benchmark's name, samples done and their total.

    """
    ranks = ranks or Ranks()
    opening = open_sampler(found, sets, kind=kind, tensor_parallel=tensor_parallel, ranks=ranks)
    with opening as opened, GradingPool(graders or _own_cores()) as pool:
        evaluation = Evaluation(
            folder,
            opened.sampler,
            opened.tokenizer,
            seed=seed,
            batch_size=batch_size or BATCH_SIZE[opened.kind],
            pool=pool,
            sampled_by=opened.kind,
            ranks=ranks,
        )
        by_length = attrgetter("protocol.max_new_tokens")
        for _, group in groupby(sets, by_length if evaluation.batch_size is None else id):
            yield from evaluation.run_together(list(group), report)


def _own_cores() -> int:
    """Return this process's share of the cores: a launcher says how many share them."""
    return max(usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)


# -- A run's final policy ------------------------------------------------------------------------

_BATCH_SIZE = 256  # a toy's sequences are short


def evaluate_run(run: Run, group: str) -> Path:
    """Measure a run's newest policy and return its ``scores.json``; what is there is kept.

    Of a language model what the run started from is measured too, once for all runs.

    Raises:
        UserError: the run has no policy yet, or a benchmark cannot be loaded.

    """
    folder, before = evaluation_folder(run, group), evaluation_before(run, group)
    if folder is None:
        raise bad_value("run", run.path.name, "has no policy yet: train it first")
    step = int(run.newest_model().name.removeprefix("step_"))
    _measure_once(lambda: newest_policy(run), folder, group, step)
    if before is not None:
        store = RunStore(run.path.parent)
        _measure_once(lambda: find_base_model(run.config, store), before, group, step=0)
    return folder / "scores.json"


def _measure_once(find: Callable[[], FoundModel], folder: Path, group: str, step: int) -> None:
    """Measure a model after ``step`` rollouts in a folder; it is looked for if that is to do."""
    with folder_lock(folder.with_suffix(".lock")):
        if not scored(folder):
            scores = _measure(find(), folder, group)
            written = {"group": group, "step": step, "scores": scores, "made": now()}
            write_json(folder / "scores.json", {**written, **environment()})


def _measure(found: FoundModel, folder: Path, group: str) -> list[dict]:
    sets, _ = load_sets([group])
    total = sum(len(one.problems) * one.protocol.samples for one in sets)
    scores, behind = [], 0
    for score in evaluate_sets(found, sets, folder, batch_size=_BATCH_SIZE, graders=1):
        scores.append(score.table())
        behind += score.problems * score.samples
        write_json(folder / "status.json", {"done": behind, "total": total})
    return scores
