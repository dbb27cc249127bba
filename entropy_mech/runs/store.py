"""The run store: a run is addressed by the hash of its configuration."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from entropy_mech.config import TrainConfig
from entropy_mech.config.files import base_model_id, run_id
from entropy_mech.errors import UserError, bad_value, folder_path, unknown_name, whole_number

# -- File locks, released when their process exits -----------------------------------------------


@contextmanager
def folder_lock(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold an exclusive lock on the file ``path``; ``kill -9`` releases it.

    ``on_wait`` is called once if another process holds it; the wait lasts as long as that
    process works.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait is not None:
                on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def lock_is_held(path: Path) -> bool:
    """Return whether some process holds the lock on ``path``; False where there is no such file."""
    try:
        with path.open("rb") as file:
            # A shared lock: two processes that check at once do not block each other.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


# -- Metrics files -------------------------------------------------------------------------------


class MetricsFile:
    """Line k holds step k. Lines are whole or, at the end of a killed run, cut off and ignored."""

    def __init__(self, path: Path):
        self.path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one line in a single write, keys in the order given."""
        line = json.dumps(row, allow_nan=False) + "\n"
        with self.path.open("ab") as file:
            file.write(line.encode())

    def sync(self) -> None:
        """Make what was appended durable: before a checkpoint that counts on it."""
        if self.path.exists():
            with self.path.open("ab") as file:
                os.fsync(file.fileno())

    def lines(self) -> list[bytes]:
        """Return the whole lines."""
        if not self.path.exists():
            return []
        data = self.path.read_bytes()
        return data[: data.rfind(b"\n") + 1].splitlines(keepends=True)

    def rows(self, last: int = 0) -> list[dict[str, Any]]:
        """Return the steps' tables, or those of the ``last`` steps alone.

        Raises:
            UserError: a line that is none, by its number.

        """
        lines, rows = self.lines(), []
        for number, line in list(enumerate(lines, 1))[-last:]:
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise UserError(f"{self.path}: line {number} is damaged; remove the run's folder")
            rows.append(row)
        return rows

    def truncate(self, count: int) -> None:
        """Keep the first ``count`` lines; the caller has seen that there are so many."""
        keep = sum(map(len, self.lines()[:count]))
        if self.path.exists():
            os.truncate(self.path, keep)

    def frame(self) -> pd.DataFrame:
        """Return a row a step, in order of steps; null becomes NaN."""
        frame = pd.DataFrame(self.rows())
        # A metric that was null at every step so far would come as a column of objects.
        objects = frame.select_dtypes(include=object).columns
        return frame.astype(dict.fromkeys(objects, "float64"))


# -- Manifests -----------------------------------------------------------------------------------

_PACKAGES = ("entropy-mech", "torch", "transformers", "numpy", "scipy", "pandas")


def environment() -> dict[str, Any]:
    """Return versions, commit and hardware of this process."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "commit": commit(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def commit() -> str | None:
    """Return this source tree's commit, with "+changes" where it was changed since; else None."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        head = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None  # no git, or no commit yet: the manifest then says null
    return head + ("+changes" if changed else "")


def now() -> str:
    """Return the time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a name beside ``path`` for a file or folder that takes its place when the block ends.

    A reader never sees half of it, even after a kill or a power failure; an error in the block
    leaves what was there.
    """
    temporary = path.with_name(f"tmp-{os.getpid()}-{path.name}")
    _remove(temporary)
    try:
        yield temporary
        inside = [file for file in temporary.rglob("*") if file.is_file()]
        for part in [*inside, temporary]:
            _sync(part)
        if temporary.is_dir():
            _remove(path)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        _remove(temporary)


def _sync(path: Path) -> None:
    """Make a file's contents durable, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """Return the checksum of a file, 64 hex digits; it is read in parts."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # no /proc on this system: the generic name below must do
    return platform.processor() or platform.machine()


# -- Asking a run to stop ------------------------------------------------------------------------
# A file in the run's folder reaches a run in any process on any host; rank 0 tells the others.

_NAME = "stop"


class RunStopped(UserError):
    """A run stopped after a whole step, as requested; it resumes when started again."""

    exit_code = 1

    def __init__(self, name: str, done: int, total: int):
        super().__init__(
            f"run {name[:8]} stopped at step {done} of {total}, as asked; started again it goes on"
        )


def ask_to_stop(folder: Path) -> None:
    """Ask the process that trains the run in ``folder`` to stop before its next step.

    A request reaches only a process that had begun before it: ask a process that is still
    starting again.
    """
    if folder.is_dir():
        (folder / _NAME).touch()


def withdraw_stop(folder: Path) -> None:
    """Forget a request, where there is one."""
    (folder / _NAME).unlink(missing_ok=True)


def stop_is_asked(folder: Path, *, since: float) -> bool:
    """Return whether a stop was asked for after ``since`` (Unix time)."""
    with suppress(FileNotFoundError):
        return (folder / _NAME).stat().st_mtime >= since
    return False


# -- The store -----------------------------------------------------------------------------------

STORE_VARIABLE = "ENTROPY_MECH_RUNS"
PROJECT_VARIABLE = "ENTROPY_MECH_PROJECT"
_REMOVE = "remove it, or the folder that it is in"


def project_root() -> Path:
    """Return the folder that holds ``notebooks/`` and ``reproduce/``.

    That is the one named by ``ENTROPY_MECH_PROJECT``, or the source tree that this package was
    installed from (editable), or the current folder or one above it.
    """
    named = os.environ.get(PROJECT_VARIABLE)
    places = (Path(__file__).resolve().parents[2], Path.cwd(), *Path.cwd().parents)
    for folder in (Path(named),) if named else places:
        if (folder / "reproduce" / "targets.toml").is_file():
            return folder
    if named:
        raise bad_value(
            PROJECT_VARIABLE, named, "no reproduce/targets.toml there; name a clone of entropy_mech"
        )
    raise bad_value(
        "project folder",
        str(Path.cwd()),
        "no reproduce/targets.toml here or above; change into a clone of entropy_mech",
    )


def run_path(name: str, profile: str) -> Path:
    """Return where a profile's run file of this name lies, or would."""
    return project_root() / "reproduce" / "runs" / profile / f"{name}.toml"


def default_store() -> RunStore:
    """Return the store named by ``ENTROPY_MECH_RUNS``, else ``runs/`` in the project folder."""
    named = os.environ.get(STORE_VARIABLE)
    return RunStore(Path(named) if named else project_root() / "runs")


def opened(store: RunStore | str | Path | None) -> RunStore:
    """Return a store by itself or its folder; the default one if None."""
    if store is None:
        return default_store()
    return store if isinstance(store, RunStore) else RunStore(store)


class RunStore:
    """A folder of runs and of the base models that they share."""

    def __init__(self, root: str | Path):
        self.root = folder_path("run store", root, "set ENTROPY_MECH_RUNS to one, or leave it out")

    def run(self, config: TrainConfig) -> Run:
        """Return the run of a configuration, whether or not it has been trained yet."""
        return Run(self.root / run_id(config), config)


class Run:
    """One run's folder.

    ``config.json`` (resolved), ``metrics.jsonl`` (the same bytes each time on one thread),
    ``timings.jsonl``, ``manifest.json``, ``status.json``, ``checkpoints/``, ``models/`` (the policy
    in Hugging Face format), ``tokens/``, and of maths ``accepted_answers.jsonl`` (which answers
    were right for which references).
    """

    def __init__(self, path: Path, config: TrainConfig):
        self.path, self.config = path, config
        self.metrics_file = MetricsFile(path / "metrics.jsonl")
        self.timings_file = MetricsFile(path / "timings.jsonl")
        self.accepted_file = MetricsFile(path / "accepted_answers.jsonl")
        self.checkpoints = path / "checkpoints"

    @property
    def store(self) -> RunStore:
        """Where it lies."""
        return RunStore(self.path.parent)

    def __repr__(self) -> str:
        return f"Run({self.path.name}, {self.config.loss.method}, seed {self.config.seed})"

    @property
    def steps_done(self) -> int:
        """Steps with a whole line of metrics."""
        return len(self.metrics_file.lines())

    @property
    def complete(self) -> bool:
        """Whether the manifest says that all configured steps are done, and their metrics are here.

        An imported log is complete at any length: it cannot be continued.
        """
        manifest, steps = self.manifest(), self.config.steps
        if manifest.get("imported", {}).get("kind") == "log":
            return True
        return manifest.get("steps", 0) >= steps and self.steps_done >= steps

    def metrics(self, *columns: str) -> pd.DataFrame:
        """Return the metrics up to the configuration's last step, all columns or those named.

        Raises:
            UserError: a column that the run does not have (names the nearest).

        """
        return self._named(self.metrics_file.frame().head(self.config.steps), columns)

    @staticmethod
    def _named(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
        for column in columns:
            if column not in frame:
                raise unknown_name("metric", column, frame.columns)
        return frame[list(columns)] if columns else frame

    def tokens(self, step: int) -> dict[str, np.ndarray]:
        """Return the token record of a step: B x T arrays of what was sampled and measured."""
        return self._record("tokens", step, "token record")

    def token_frame(self, step: int) -> pd.DataFrame:
        """Return the response tokens of a step, a row a token: row, position, what was measured."""
        record = self.tokens(step)
        mask = record["response_mask"]
        row, position = mask.nonzero()
        per_token = {name: v[mask] for name, v in record.items() if v.shape == mask.shape}
        per_row = {name: v[row] for name, v in record.items() if v.shape == mask.shape[:1]}
        del per_token["response_mask"]
        return pd.DataFrame({"row": row, "position": position, **per_row, **per_token})

    def token_texts(self) -> Callable[[int], str]:
        """Return what makes text of a token id: the model's tokenizer, else the id itself."""
        models = (self.newest_model(), base_model_folder(self.store, self.config))
        files = [model / "tokenizer.json" for model in models if model is not None]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            return lambda token: f"[{token}]"
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(file))
        return lru_cache(maxsize=None)(
            lambda token: tokenizer.decode([token], skip_special_tokens=False)
        )

    def lemma1(self, step: int) -> dict[str, np.ndarray]:
        """Return the check of Lemma 1 at a step: a value a distinct prefix (``Lemma1Probe``)."""
        return self._record("lemma1", step, "check of Lemma 1")

    def token_path(self, step: int) -> Path:
        """Return where a step's token record lies."""
        return self.path / "tokens" / f"step_{step:06d}.npz"

    def lemma1_path(self, step: int) -> Path:
        """Return where a step's check of Lemma 1 lies."""
        return self.path / "lemma1" / f"step_{step:06d}.npz"

    def token_steps(self) -> list[int]:
        """Return the steps that have a token record."""
        return self._recorded_steps("tokens")

    def lemma1_steps(self) -> list[int]:
        """Return the steps that have a check of Lemma 1."""
        return self._recorded_steps("lemma1")

    def _recorded_steps(self, folder: str) -> list[int]:
        files = (self.path / folder).glob("step_*.npz")
        return sorted(int(path.stem.removeprefix("step_")) for path in files)

    def _record(self, folder: str, step: int, what: str) -> dict[str, np.ndarray]:
        step = whole_number("step", step)
        path = self.path / folder / f"step_{step:06d}.npz"
        if not path.is_file():
            raise UserError(f"step = {step}: no {what}; there are {self._recorded_steps(folder)}")
        try:
            with np.load(path) as record:
                return dict(record)
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise DamagedFile(f"{path}: cannot be read ({error}); {_REMOVE}") from None

    def model_path(self, done: int) -> Path:
        """Return where the policy after ``done`` steps is exported to, in Hugging Face format."""
        return self.path / "models" / f"step_{done:06d}"

    def newest_model(self) -> Path | None:
        """Return the newest exported policy (a folder in Hugging Face format), or None."""
        found = sorted((self.path / "models").glob("step_[0-9]*"))
        return found[-1] if found else None

    def manifest(self) -> dict[str, Any]:
        """Return the manifest, empty before the first session of the run ended or checkpointed.

        A damaged one gives a warning and counts as missing: the next session writes it again.
        """
        return read_json_if_whole(self.path / "manifest.json")

    def status(self) -> dict[str, Any]:
        """Return the run's last status: stage, done, total, updated (Unix time)."""
        return read_json_if_whole(self.path / "status.json")

    def write_status(self, stage: str, done: int, **more: Any) -> None:
        """Replace the status."""
        counts = {"done": done, "total": self.config.steps, "updated": time.time()}
        self.write("status.json", {"stage": stage, **counts, **more})

    def note_failure(self, error: Exception) -> None:
        """Write into the status, in one line, why a session failed; the next step replaces it."""
        if not self.path.is_dir():
            return  # refused before anything was written
        words = " ".join(f"{type(error).__name__}: {error}".split())
        # On a full disk this fails too; the first error is the one to raise.
        with suppress(OSError):
            self.write_status("failed", self.steps_done, error=words[:500])

    def write(self, name: str, value: Any) -> None:
        """Replace one of the run's JSON files."""
        write_json(self.path / name, value)


class DamagedFile(UserError):
    """A file of this package's own that cannot be read: cut off, emptied or written over."""


class DamagedFileWarning(UserWarning):
    """A damaged file was passed over, as if it were not there."""


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's table, empty where there is no such file.

    Raises:
        DamagedFile: it holds no table.

    """
    try:
        data = path.read_bytes()
        table = json.loads(data) if data.strip() else None
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFile(f"{path}: cannot be read ({error}); {_REMOVE}") from None
    if not isinstance(table, dict):
        found = "holds no table" if data.strip() else "is empty"
        raise DamagedFile(f"{path}: {found}; {_REMOVE}")
    return table


def read_json_if_whole(path: Path) -> dict[str, Any]:
    """Return a JSON file's table; one that is damaged is named in a warning and counts as empty."""
    try:
        return read_json(path)
    except DamagedFile as error:
        warnings.warn(str(error), DamagedFileWarning, stacklevel=3)
        return {}


def base_model_folder(store: RunStore, config: TrainConfig) -> Path:
    """Return where a configuration's base model lies, or will: the kept one before the store's."""
    name = base_model_id(config)
    with suppress(UserError):  # outside a project there are no kept ones
        for kept in kept_base_models().glob(f"*-{name}"):
            return kept
    return store.root / "base_models" / name


def kept_base_models() -> Path:
    """Return the folder of the base models that lie in the tree, each named ``NAME-ID``."""
    return project_root() / "reproduce" / "base_models"
