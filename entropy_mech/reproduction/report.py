"""What a notebook works with: its target's runs in, figures and verdicts out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from entropy_mech.config import TrainConfig
from entropy_mech.config.files import base_model_id
from entropy_mech.config.run import architecture_of
from entropy_mech.errors import (
    UserError,
    bad_value,
    folder_path,
    name_list,
    unknown_name,
    whole_number,
)
from entropy_mech.paper.claims import MIN_REPLICATES, NO_VERDICT, Claim, Fact
from entropy_mech.paper.published import model_of_run
from entropy_mech.reproduction.targets import Target, check_profile, find_target, run_config
from entropy_mech.runs.kept import KEPT, KeptRun, kept_store
from entropy_mech.runs.launch import ANSWERED, COLUMNS, ensure_runs, scores
from entropy_mech.runs.store import (
    Run,
    atomic_write,
    default_store,
    environment,
    now,
    project_root,
    read_json,
    write_json,
)

# -- The report ----------------------------------------------------------------------------------

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from entropy_mech.paper.style import Table


_FROM_MANIFEST = ("wall_time_s", "commit", "processor", "cores", "python", "packages", "imported")


def open_report(
    target: str, *, profile: str = "kept", seed: int = 1, seeds: int = 0, steps: int = 0,
    models: Sequence[str] = (), methods: Sequence[str] = (), out_dir: str = "",
) -> Report:  # fmt: skip
    """Open a target's report.

    Args:
        target: a name in ``reproduce/targets.toml``.
        profile: where the runs come from; ``toy`` trains tiny transformers on this CPU, ``smollm``
            a small language model, ``kept`` and ``kept_smollm`` take what such runs measured, kept
            in the tree (of the latter what there is, and a line says what is not),
            ``published`` has no runs: every frame is empty and the paper's numbers stand alone.
        seed: the first seed.
        seeds: how many, counting up; verdicts need three. 0 takes all that are kept, in other
            profiles three.
        steps: rollouts of each run; 0 takes the run file's own number.
        models: names of base models (``qwen2.5_7b``) to keep; empty keeps all.
        methods: methods (``grpo``, ``kl_cov``: how a run's file name ends) to keep; empty: all.
        out_dir: where figures and results go; empty for ``out/<profile>`` in the project folder.

    Raises:
        UserError: no such target, profile, model or method, or a seed or step count below 0.

    """
    check_profile(profile)
    seed, seeds = whole_number("seed", seed), whole_number("seeds", seeds)
    steps = whole_number("steps", steps)
    models, methods = name_list("models", models), name_list("methods", methods)
    pd.set_option("display.max_colwidth", None)  # claims are sentences: show them whole
    folder = project_root() / "out" / profile
    if out_dir or not isinstance(out_dir, str):
        folder = folder_path("out_dir", out_dir, "give another")
    chosen = find_target(target)
    profile = chosen.in_place_of(profile)
    chosen = chosen_runs(chosen, models, methods, profile)
    report = Report(chosen, folder, profile=profile, seed=seed, seeds=seeds, steps=steps)
    if absent := report.not_kept:
        print(f"not kept yet: {', '.join(absent)}")
    return report


def chosen_runs(
    target: Target, models: Sequence[str], methods: Sequence[str], profile: str = "paper"
) -> Target:
    """Return the target with only the runs of these models and methods; empty keeps all."""
    every = [*target.runs, *target.toy_runs, *target.one_gpu_runs]
    kept = list(every)
    for what, names, matches in (
        ("model", models, lambda run, name: model_of_run(run, profile).name == name),
        ("method", methods, lambda run, name: run.endswith(f"_{name}")),
    ):
        for name in names:
            if not any(matches(run, name) for run in every):
                known = [model_of_run(run, profile).name for run in every]
                if what == "method":
                    known = [run.partition("_")[2] for run in every]
                raise unknown_name(f"{what} of {target.name}", name, known)
        kept = [run for run in kept if not names or any(matches(run, name) for name in names)]
    if every and not kept:
        raise bad_value("methods", list(methods), f"no run of {target.name} has model and method")
    fields = ("runs", "toy_runs", "one_gpu_runs")
    chosen = {name: tuple(run for run in getattr(target, name) if run in kept) for name in fields}
    return replace(target, **chosen)


class Report:
    """One target being reproduced."""

    def __init__(
        self, target: Target, folder: Path, *, profile: str, seed: int, seeds: int, steps: int
    ):
        self.target, self.folder, self.profile, self.seed = target, folder, profile, seed
        found = target.configs(profile=profile, seed=seed, seeds=seeds, steps=steps)
        self.names = [name for name, _ in found]
        self.configs = list(found.values())
        self.benchmarks = target.benchmarks(profile)
        self.figures: list[str] = []
        self.tables: list[str] = []
        self.used: list[tuple[str, Run]] = []  # what the results come from

    @property
    def not_kept(self) -> list[str]:
        """The runs that profile kept_smollm is to have and does not have yet."""
        if self.profile != "kept_smollm":
            return []
        return [name for name in self.target.run_names("smollm") if name not in self.names]

    @property
    def published(self) -> bool:
        """Whether only the paper's numbers are shown: there are no runs, and frames are empty."""
        return self.profile == "published"

    @cached_property
    def runs(self) -> list[Run]:
        """The target's runs; the first use trains those that are missing, with progress."""
        if self.profile in KEPT:
            runs = kept_runs(self.names, self.configs, self.profile)
        else:
            more = {"names": self.names, "evaluate": self.benchmarks}
            runs = ensure_runs(self.configs, default_store(), **more)
        self.used = list(zip(self.names, runs, strict=True))
        return runs

    def metrics(self, *names: str) -> pd.DataFrame:
        """Return the metrics of all runs, or of those of these files, a row a step.

        Columns run (its file), seed, model, profile (a toy stands for the paper's model of that
        name), step, ... Empty in the published profile.
        """
        return stacked_metrics(self._chosen(names), self.profile)

    def _chosen(self, names: Sequence[str] = ()) -> list[tuple[str, Run]]:
        pairs = zip(self.names, self.runs, strict=True)
        return [(name, run) for name, run in pairs if not names or name in names]

    def models(self) -> pd.DataFrame:
        """Return the models trained, a row each: model, label, family, parameters (no embedding).

        ``parameters`` counts what the paper's Fig. 7 counts: all but the embedding and the head.
        """
        rows = {}
        for name, config in zip(self.names, self.configs, strict=True):
            model, shape = model_of_run(name, self.profile), architecture_of(config)
            parameters = shape.body_parameters if shape else None
            rows[model.name] = (model.name, model.label, model.family, parameters)
        return pd.DataFrame(rows.values(), columns=["model", "label", "family", "parameters"])

    def evaluations(self, *, before: bool = False) -> pd.DataFrame:
        """Return the final policies' scores, a row a run and benchmark.

        ``before`` takes those of what a language model's runs started from.

        Columns run, seed, model, step (rollouts behind the policy), benchmark, accuracy,
        standard_error (both fractions), problems, samples, and what else ``launch.scores`` has.
        Empty where the target does not measure its policies, in the published profile, and for
        logs that were imported.
        """
        frames = []
        for name, run in self._chosen() if self.benchmarks else ():
            read = run.scores if isinstance(run, KeptRun) else partial(scores, run)
            frame = read(self.benchmarks, before=before)
            model = model_of_run(name, self.profile).name
            frames.append(frame.assign(run=name, seed=run.config.seed, model=model))
        columns = ["run", "seed", "model", *COLUMNS]
        together = _stacked(frame for frame in frames if len(frame))
        return together.reindex(columns=list(dict.fromkeys([*columns, *together])))

    def answers(self, *names: str) -> pd.DataFrame:
        """Return what kept language models answered before and after training, a row a sample.

        The same held-out problems with the same random numbers; columns run, seed and ``ANSWERED``.
        Of all runs or of those of these files; empty where none are kept.
        """
        frames = [
            run.answers().assign(run=name, seed=run.config.seed)
            for name, run in self._chosen(names)
            if isinstance(run, KeptRun) and len(run.answers())
        ]
        if not frames and self.profile == "kept_smollm":
            print("answers before and after: not kept yet")
        return _stacked(frames) if frames else pd.DataFrame(columns=["run", "seed", *ANSWERED])

    def tokens(self, step: int, *names: str) -> pd.DataFrame:
        """Return the response tokens recorded at a step: a row a token; columns run, seed, ...

        Of all runs, or of those of these files. Empty in the published profile.
        """
        return _stacked(
            run.token_frame(step).assign(run=name, seed=run.config.seed)
            for name, run in self._chosen(names)
        )

    def lemma1(self) -> pd.DataFrame:
        """Return the checks of Lemma 1: a row a distinct prefix and step; columns run, seed, ...

        Empty in the published profile.
        """
        return _stacked(
            pd.DataFrame(run.lemma1(step)).assign(run=name, seed=run.config.seed, step=step)
            for name, run in self._chosen()
            for step in run.lemma1_steps()
            if step < run.config.steps
        )

    def loss_settings(self) -> pd.DataFrame:
        """Return the loss settings of each run file, a row each: run, method, clip_fraction, ...

        Of kept runs also those that are still to come. In the published profile those of the
        paper's runs, as the files of the paper profile declare them. A setting that a method does
        not have is missing (NaN).
        """
        profile = "paper" if self.published else self.target.trained_in(self.profile)
        return pd.DataFrame(
            {"run": name, **run_config(name, profile=profile, seed=1).loss.model_dump()}
            for name in self.target.run_names(profile)
        )

    def settings(self) -> pd.DataFrame:
        """Return what the runs are, a row each: for the reader, and for the caption."""
        rows = []
        for name, run in self._chosen():
            c = run.config
            loss = c.loss.model_dump(exclude={"method"})
            row = {
                "run": name,
                "seed": c.seed,
                "algorithm": c.algorithm.name,
                "method": c.loss.method,
                "rollouts": c.steps,
                "prompts x responses": f"{c.rollout.prompts} x {c.rollout.responses}",
                "updates a rollout": c.update.updates_per_rollout,
                "learning rate": c.update.learning_rate,
                "loss settings": ", ".join(f"{k} = {v}" for k, v in loss.items()),
                "folder": run.path.name,
            }
            rows.append(row)
        return pd.DataFrame(rows)

    def save(self, figure: Figure, name: str = "") -> None:
        """Write a figure as SVG and PNG under ``figures/``; ``name`` defaults to the target's."""
        svg, png = figure.savefig, partial(figure.savefig, dpi=150)
        self._save("figures", self.figures, name, {".svg": svg, ".png": png})

    def save_table(self, table: Table, name: str = "") -> Table:
        """Write a table as Markdown and LaTeX under ``tables/`` and return it, to be shown."""
        texts = {".md": table.markdown(), ".tex": table.latex()}
        writers = {
            suffix: partial(Path.write_text, data=text, encoding="utf-8")
            for suffix, text in texts.items()
        }
        self._save("tables", self.tables, name, writers)
        return table

    def _save(
        self, kind: str, saved: list[str], name: str, writers: Mapping[str, Callable[[Path], Any]]
    ) -> None:
        stem, folder = name or self.target.name, self.folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, write in writers.items():
            with atomic_write(folder / f"{stem}{suffix}") as temporary:
                write(temporary)
        if stem not in saved:
            saved.append(stem)

    def verdict(self, claims: Sequence[Claim | Fact]) -> pd.DataFrame:
        """Write ``results/<target>.json`` for the gallery and return the claims as a table.

        Beside what a toy says stands what the kept runs of the small language model say.
        """
        folder = self.folder / "results"
        folder.mkdir(parents=True, exist_ok=True)
        rows = [claim.row() for claim in claims]
        if self.profile in ("toy", "kept"):
            rows = beside_small_model(rows, self.target)
        write_json(
            folder / f"{self.target.name}.json",
            {
                "target": self.target.name,
                "claims": rows,
                "figures": self.figures,
                "tables": self.tables,
                "runs": [_provenance(name, run) for name, run in self.used],
                "made": now(),
                **environment(),
            },
        )
        table = pd.DataFrame(rows).drop(columns=f"{SMALL_MODEL}: verdict", errors="ignore")
        if any(row["verdict"] == NO_VERDICT for row in rows):
            table.attrs["note"] = f"a verdict needs {MIN_REPLICATES} seeds"
        return table


def _provenance(name: str, run: Run) -> dict[str, Any]:
    """Return what a reader needs to find a run again or to make it again.

    ``run`` is the hash of its whole configuration, ``base_model`` that of what it started from.
    """
    manifest, config = run.manifest(), run.config
    return {
        "name": name,
        "run": run.path.name,
        "base_model": base_model_id(config) if config.makes_base_model else config.model.path,
        "method": config.loss.method,
        "seed": config.seed,
        "steps": config.steps,
        **{key: manifest[key] for key in _FROM_MANIFEST if key in manifest},
    }


# -- The small language model beside the toys -----------------------------------------------------

SMALL_MODEL = "SmolLM2-135M"  # the column's name
NOT_KEPT = "not kept yet"
# Statements name how many models there are: of the small one there is one.
_COUNTED = re.compile(r"\b\d+ (instruct )?models|share of \d+")


def small_model_results() -> Path:
    """Return where the verdicts on the kept runs of the small language model are written to."""
    return kept_store("kept_smollm").root / "verdicts.json"


def beside_small_model(rows: Sequence[Mapping[str, str]], target: Target) -> list[dict[str, str]]:
    """Return claims with what the small language model's kept runs say of the same ones.

    Columns more: ``SMALL_MODEL``, its number and verdict in words, and its verdict alone. Of fewer
    than three seeds the number alone is said. None for a target that it has no runs for.
    """
    if not target.run_names("smollm"):
        return [dict(row) for row in rows]
    results = read_json(small_model_results()).get("targets", {}).get(target.name, {})
    there = {_COUNTED.sub("", claim["claim"]): claim for claim in results.get("claims", [])}
    trained = {run["name"] for run in results.get("runs", [])}
    absent = set(target.run_names("smollm")) > trained
    both = []
    for row in rows:
        found = there.get(_COUNTED.sub("", row["claim"]), {})
        same = found.get("ours") == row["ours"]  # of the paper's own numbers
        words = _small_model_words(found) if found else NOT_KEPT if absent else ""
        words, verdict = ("", "") if same else (words, found.get("verdict", words))
        both.append({**row, SMALL_MODEL: words, f"{SMALL_MODEL}: verdict": verdict})
    return both


def _small_model_words(claim: Mapping[str, str]) -> str:
    if claim["ours"].startswith("nan"):
        return "no number"
    words = claim["ours"].replace("(one of the seeds: no interval)", "(one seed: number only)")
    return words if claim["verdict"] == NO_VERDICT else f"{words}: {claim['verdict']}"


def kept_runs(
    names: Sequence[str], configs: Sequence[TrainConfig], profile: str = "kept"
) -> list[Run]:
    """Return the kept runs of these configurations.

    Raises:
        UserError: one is not kept, or has fewer rollouts.

    """
    store = kept_store(profile)
    runs = [store.run(config) for config in configs]
    for name, run in zip(names, runs, strict=True):
        if not run.complete:
            raise UserError(
                f"profile = {profile}: of {name} seed {run.config.seed}, {run.steps_done} of "
                f"{run.config.steps} rollouts are kept; give fewer seeds or steps, or profile = "
                f"{KEPT[profile]}"
            )
    return runs


def stacked_metrics(runs: Iterable[tuple[str, Run]], profile: str) -> pd.DataFrame:
    """Return the metrics of runs by the names of their files, as ``Report.metrics`` does."""
    scale = KEPT.get(profile, profile)
    return _stacked(
        run.metrics().assign(
            run=name, seed=run.config.seed, model=model_of_run(name, profile).name, profile=scale
        )
        for name, run in runs
    )


def _stacked(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    frames = list(frames)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
