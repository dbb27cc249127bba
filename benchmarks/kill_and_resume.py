"""Kill a run with SIGKILL at random moments and compare it with one that was left alone.

    python benchmarks/kill_and_resume.py [--kills 20] [--modes torch zero1 zero2 zero3] [--seed N]

For one process with torch, and two ranks with each ZeRO stage: a run is started again after each
kill (of all its processes at once) until it is done, and its metrics file compared to the last bit
with that of a run left alone. Then half the run is trained by two ranks and the rest by one, and
the other way round, and the largest difference is printed. Processes are forked from one that has
imported everything, so a life is short: kills fall on joining, loading, sampling, updates and
checkpoints, and not on Python's imports. Prints a Markdown table; --json writes the same for a
program.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from entropy_mech.config import TrainConfig
from entropy_mech.config.files import make_config
from entropy_mech.runs import RunStore
from entropy_mech.runs.store import Run
from entropy_mech.train.loop import train
from entropy_mech.train.pretrain import prepare_base_model

MODES = {"torch": None, "zero1": 1, "zero2": 2, "zero3": 3}
SETTINGS = {
    "record_tokens_every": 4,
    "model": {"layers": 1, "hidden_size": 16, "intermediate_size": 32, "heads": 2, "kv_heads": 1},
    "problems": {"train_size": 40, "level_shares": {2: 0.6, 3: 0.4}, "validation_counts": {2: 9}},
    "base": {"steps": 600, "noisy_steps": 100, "batch_size": 32, "level_shares": {1: 0.6, 2: 0.4}},
    "rollout": {"prompts": 16, "responses": 8, "max_new_tokens": 20},
    "update": {"updates_per_rollout": 2, "micro_batch_size": 8, "learning_rate": 1e-3},
    "validation": {"every": 3},
    "checkpoint": {"every": 2, "export": "each"},
    "loss": {"method": "kl_cov", "penalty_fraction": 0.2},
}
_HANGS_S = 600.0


def configuration(mode: str, steps: int) -> TrainConfig:
    stage = MODES[mode]
    engine = {"collective_timeout_s": 300.0}
    if stage is not None:
        engine |= {"kind": "deepspeed", "zero_stage": stage}
    return make_config({**SETTINGS, "steps": steps, "engine": engine})


class Life:
    """One start of a run: its processes, forked from this one."""

    def __init__(self, config: TrainConfig, store: Path, ranks: int):
        self.store, self.started = store, time.monotonic()
        with socket.socket() as probe:  # a free port
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.children: list[int] = []
        for rank in range(ranks):
            child = os.fork()
            if child == 0:
                _be_rank(rank, ranks, port, config, store, self.children)
            self.children.append(child)
            os.setpgid(child, self.children[0])  # the child does so too: whoever is first
        self.left = set(self.children)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def ended(self) -> bool:
        """Whether all processes have ended by themselves, and well."""
        for child in list(self.left):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                self.left.discard(child)
            if status:
                self._kill()
                raise SystemExit(f"a rank failed: {self._log()}")
        return not self.left

    def lasts(self, seconds: float) -> bool:
        """Kill it after so long; return whether it had ended by itself before."""
        while self.seconds < seconds and not self.ended():
            time.sleep(0.002)
        self._kill()
        return not self.left

    def whole(self) -> float:
        """Let it end; return how long it took."""
        if not self.lasts(_HANGS_S):
            raise SystemExit(f"hung: {self._log()}")
        return self.seconds

    def _kill(self) -> None:
        if not self.left:
            return
        os.killpg(self.children[0], signal.SIGKILL)
        for child in self.left:
            os.waitpid(child, 0)

    def _log(self) -> str:
        return (self.store / "log.txt").read_text()[-3000:]


def _be_rank(rank, ranks, port, config, store, earlier) -> None:
    """Train as one rank, in a forked process, and exit."""
    code = 1
    try:
        os.setpgid(0, earlier[0] if earlier else 0)
        log = os.open(store / "log.txt", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if ranks > 1:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        train(config, RunStore(store))
        code = 0
    except BaseException:  # also SystemExit: a forked process must not go on as its parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


class Trial:
    """The runs of one mode."""

    def __init__(self, mode: str, steps: int, folder: Path, base: Path):
        self.mode, self.folder, self.base = mode, folder / mode, base
        self.config, self.half = configuration(mode, steps), configuration(mode, steps // 2)
        self.ranks = 1 if mode == "torch" else 2
        store = self._new_store("undisturbed")
        life = Life(self.config, store, self.ranks)
        self.metrics_file = self._run(store).metrics_file.path
        while not self.metrics_file.exists() and not life.ended():
            time.sleep(0.002)
        self.start_s = life.seconds
        self.whole_s = life.whole()

    def _new_store(self, name: str) -> Path:
        store = self.folder / name
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(self.base, store)
        return store

    def _run(self, store: Path) -> Run:
        return RunStore(store).run(self.config)

    def kill(self, kills: int, rng: random.Random) -> dict:
        """Kill and start again; a run that is done early is compared and begun anew."""
        moments, hit, equal = [], Counter(), []
        store, limit = self._new_store("killed"), self._longest_life(kills)
        while len(moments) < kills:
            run, moment = self._run(store), rng.uniform(0, limit)
            told = _told(run)
            life = Life(self.config, store, self.ranks)
            # Start-up takes as long as the machine's other work lets it: later moments are
            # counted from the end of the first step.
            late = moment > self.start_s
            while late and _told(run) == told and life.seconds < _HANGS_S and not life.ended():
                time.sleep(0.002)
            since = life.seconds - self.start_s if _told(run) != told else 0.0
            if life.lasts(since + moment):
                equal.append(self._equal(run))
                store = self._new_store("killed")
                continue
            moments.append(moment)
            torn = list(run.checkpoints.glob("tmp-*"))
            hit["checkpoint" if torn else "step" if _told(run) != told else "start"] += 1
        Life(self.config, store, self.ranks).whole()
        equal.append(self._equal(self._run(store)))
        return {"equal": all(equal), "runs": len(equal), "hit": dict(hit), "moments": moments}

    def _longest_life(self, kills: int) -> float:
        """Return T such that lives drawn from [0, T] go once through the run, on average.

        A life of t makes t - start_s of progress: kills (T - start_s)^2 / 2 T = whole_s - start_s.
        """
        work = (self.whole_s - self.start_s) / kills
        return self.start_s + work + math.sqrt(work * (work + 2 * self.start_s))

    def _equal(self, run: Run) -> bool:
        return run.metrics_file.path.read_bytes() == self.metrics_file.read_bytes()

    def change_ranks(self, first: int, then: int) -> dict:
        """Train half the run on ``first`` ranks, the rest on ``then``; return how it differs."""
        store = self._new_store(f"{first}_then_{then}")
        Life(self.half, store, first).whole()
        Life(self.config, store, then).whole()
        mine, theirs = self._run(store).metrics(), self._run(self.metrics_file.parents[1]).metrics()
        same = list(mine.columns) == list(theirs.columns) and len(mine) == len(theirs)
        # The gap between sampler and trainer is rounding itself, and of another kind each time.
        compared = [c for c in theirs if not c.startswith("logp_gap")]
        gaps = {c: _gap(mine[c], theirs[c]) for c in compared} if same else {}
        worst = max(gaps, key=gaps.get) if same else "the columns"
        return {"largest": gaps.get(worst, math.inf), "metric": worst}


def _told(run: Run) -> int | None:
    """Return when the run last said how far it is: after each step."""
    status = run.path / "status.json"
    return status.stat().st_mtime_ns if status.exists() else None


def _gap(mine, theirs) -> float:
    """Return the largest difference, as a fraction of the metric's largest size (at least 1e-3)."""
    if not mine.isna().equals(theirs.isna()):
        return math.inf
    size = float(theirs.abs().max())
    return 0.0 if math.isnan(size) else float((mine - theirs).abs().max()) / max(size, 1e-3)


def base_models(folder: Path, steps: int) -> Path:
    """Train the base model, in a process of its own: this one must stay fit to be forked."""
    store = folder / "base"
    store.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child == 0:
        prepare_base_model(store, configuration("torch", steps))
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the base model could not be trained")
    return store


def report(name: str, trial: Trial, found: dict) -> str:
    cells = [name, str(trial.ranks), f"{trial.start_s:.1f} of {trial.whole_s:.1f}"]
    killed = found.get("killed")
    if killed:
        hit = ", ".join(f"{count} {where}" for where, count in sorted(killed["hit"].items()))
        verdict = "equal to the last bit" if killed["equal"] else "DIFFERENT"
        cells += [f"{len(killed['moments'])} ({hit})", str(killed["runs"]), verdict]
    else:
        cells += [""] * 3
    for key in ("2_then_1", "1_then_2"):
        change = found.get(key)
        cells.append(f"{change['largest']:.1e} ({change['metric']})" if change else "")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--unkilled", nargs="*", choices=MODES, default=[])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if set(arguments.modes) != {"torch"}:
        import entropy_mech.train.engine_deepspeed  # noqa: F401 - once, before the forks
    folder = arguments.folder or Path(tempfile.mkdtemp())
    base, rng, results = base_models(folder, arguments.steps), random.Random(arguments.seed), {}
    print(f"seed {arguments.seed}, {arguments.steps} steps, a checkpoint every 2\n", flush=True)
    print("| engine | ranks | start-up, s | kills | runs | metrics | 2, then 1 rank | 1, then 2 |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for mode in arguments.modes:
        trial = Trial(mode, arguments.steps, folder, base)
        found = results[mode] = {}
        if mode not in arguments.unkilled:
            found["killed"] = trial.kill(arguments.kills, rng)
        if trial.ranks == 2:
            found |= {"2_then_1": trial.change_ranks(2, 1), "1_then_2": trial.change_ranks(1, 2)}
        print(report(mode, trial, found), flush=True)
    print("\nSeconds from start to kill, a start-up taken to last as long as the first did:\n")
    for mode, found in results.items():
        moments = found.get("killed", {}).get("moments", [])
        print(f"- {mode}: {' '.join(f'{moment:.2f}' for moment in moments)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results))
    if not arguments.folder:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
