"""Every framework's log is read to the values that were written into it, columns found by name."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from entropy_mech.law import analyse_log, read_log
from entropy_mech.law.dialects import DIALECTS

LOGS = Path(__file__).parents[3] / "shared" / "data" / "logs"
STEP = np.arange(1, 31)
ENTROPY = np.round(np.linspace(1.0, 0.1, 30), 6)
SCORE = np.round(0.9 - 0.2 * np.exp(ENTROPY), 6)
FRAME = pd.DataFrame(
    {
        "step": STEP,
        "entropy_nats": ENTROPY,
        "validation": np.where(STEP % 3 == 0, SCORE, np.nan),
        "reward": np.round(SCORE / 2, 6),
    }
)

# entropy, validation, reward and step as each framework names them
KEYS = {
    "this package": ("entropy_nats", "validation_accuracy", "reward_mean", "step"),
    "verl": ("actor/entropy", "val-core/math/acc/mean@1", "critic/score/mean", "step"),
    "TRL": ("entropy", "eval_reward", "reward", "step"),
    "ms-swift": ("entropy/mean", "eval_reward", "reward", "global_step/max_steps"),
    "OpenRLHF": (
        "train/entropy_loss",
        "eval/math500_pass1",
        "train/reward",
        "train/global_step",
    ),
    "NeMo-RL": ("train/approx_entropy", "validation/accuracy", "train/reward", "step"),
    "slime": ("rollout/entropy", "eval/aime", "rollout/raw_reward", "rollout/step"),
    "prime-rl": ("entropy/all/mean", "eval/aime2024/avg@32", "reward/all/mean", "step"),
    "SkyRL": (
        "policy/policy_entropy",
        "eval/all/avg_score",
        "reward/avg_raw_reward",
        "trainer/global_step",
    ),
    "open-instruct": (
        "policy/entropy_avg",
        "eval/objective/verifiable_correct_rate",
        "objective/verifiable_correct_rate",
        "training_step",
    ),
    "AReaL": (
        "ppo_actor/update/entropy/avg",
        "eval-rollout/reward",
        "ppo_actor/task_reward/avg",
        "global_step",
    ),
    "ROLL": ("actor/entropy", "val_correct/all/mean", "reward/selected_mean", "system/step"),
    "Tinker cookbook": ("optim/entropy", "test/env/all/correct", "env/all/correct", "step"),
    "rows with a type": (
        "train/token_entropy",
        "eval/answer_accuracy",
        "rollout/answer_accuracy",
        "grpo_step",
    ),
    "reasoning-from-scratch": ("entropy_avg", "eval_acc", "reward_avg", "step"),
    "any other": ("policy_entropy", "validation/accuracy", "train_score", "iteration"),
}


def records(frame, keys):
    """Return a record a step, without what was not measured."""
    entropy, validation, reward, step = keys
    names = {"entropy_nats": entropy, "validation": validation, "reward": reward}
    rows = []
    for row in frame.to_dict("records"):
        metrics = {names[n]: row[n] for n in names if row[n] == row[n]}
        at = int(row["step"])
        rows.append({step: f"{at}/99" if "max_steps" in step else at, **metrics})
    return rows


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def verl_console(path, rows):
    lines = []
    for row in rows:
        pairs = [f"{k}:np.float64({v})" for k, v in row.items() if k != "step"]
        lines.append(
            f"(TaskRunner pid=12) step:{row['step']} - lr(1e-4):0.1 - " + " - ".join(pairs)
        )
        lines.append("\x1b[36m(TaskRunner pid=12)\x1b[0m saved to {'a': 'path'}: step:x - no")
    path.write_text("\n".join(["\"Initial validation metrics: {'a/b': 0.5}\"", *lines]) + "\n")


def printed_dicts(path, rows):
    lines = [f"\r  5%|#   | {i}/30 [00:01<00:09]\r{row}" for i, row in enumerate(rows)]
    path.write_text(
        "loading {'model': 'x'}\n" + "\n".join(lines).replace("1.0,", "np.float64(1.0),")
    )


def trainer_state(path, rows):
    history = []
    for row in rows:
        evaluation = {k: v for k, v in row.items() if k.startswith("eval")}
        history.append({k: v for k, v in row.items() if k not in evaluation})
        if evaluation:
            history.append({"step": row["step"], **evaluation, "eval_runtime": 3.5})
    path.write_text(json.dumps({"global_step": 30, "log_history": history}))


def wandb_export(path, rows):
    table = pd.DataFrame(rows)
    step = table.pop(next(name for name in table if "step" in name or "iteration" in name))
    wide = {f"happy - run-1 - {k}{end}": table[k] for k in table for end in ("", "__MIN", "__MAX")}
    pd.DataFrame({"Step": step, **wide}).to_csv(path, index=False)


def nested(path, rows):
    """Write nested objects, as EasyR1 and AReaL do."""
    tree = []
    for row in rows:
        record: dict = {}
        for name, value in row.items():
            *outer, last = name.split("/") if "max_steps" not in name else [name]
            here = record
            for part in outer:
                here = here.setdefault(part, {})
            here[last] = value
        tree.append({"time": "now", "metrics": record})
    jsonl(path, tree)


def long_table(path, rows):
    step = next(k for k in rows[0] if "step" in k or "iteration" in k)
    tidy = [(r[step], k, v) for r in rows for k, v in r.items() if k != step]
    pd.DataFrame(tidy, columns=["step", "tag", "value"]).to_csv(path, index=False)


def tensorboard_downloads(path, rows):
    path.mkdir()
    step = next(k for k in rows[0] if "step" in k or "iteration" in k)
    for tag in {k for row in rows for k in row} - {step}:
        table = [(1e9, row[step], row[tag]) for row in rows if tag in row]
        name = f"run-my_run-tag-{tag.replace('/', '_')}.csv"
        pd.DataFrame(table, columns=["Wall time", "Step", "Value"]).to_csv(path / name, index=False)


def flattened_names(path, rows):
    jsonl(path, [{k.replace("/", "."): v for k, v in row.items()} for row in rows])


def check(log, frame, reward_only=False):
    want = frame.assign(entropy_nats=frame["entropy_nats"].ffill())
    want = want.dropna(subset=["entropy_nats", "reward" if reward_only else "validation"])
    score = want["reward" if reward_only else "validation"]
    assert log.frame["step"].tolist() == want["step"].tolist()
    assert log.frame["entropy_nats"].to_numpy() == pytest.approx(want["entropy_nats"].to_numpy())
    assert log.frame["performance"].to_numpy() == pytest.approx(score.to_numpy())
    assert log.on_training_data == reward_only


def test_every_row_of_the_table_is_tested():
    assert list(KEYS) == [dialect.name for dialect in DIALECTS]


@pytest.mark.parametrize("dialect", KEYS)
@pytest.mark.parametrize(
    "write", [jsonl, nested, wandb_export, long_table, tensorboard_downloads, flattened_names]
)
def test_each_framework_in_each_container(tmp_path, dialect, write):
    keys = KEYS[dialect]
    suffix = {tensorboard_downloads: "", wandb_export: ".csv", long_table: ".csv"}
    path = tmp_path / f"run{suffix.get(write, '.jsonl')}"
    write(path, records(FRAME, keys))
    log = read_log(path)
    check(log, FRAME)
    if write is jsonl:
        assert (log.entropy_column, log.performance_column) == keys[:2]
        assert log.dialect == dialect
        assert log.step_column == keys[3]
        write(path, records(FRAME.assign(validation=np.nan), keys))
        log = read_log(path)
        assert log.performance_column == keys[2]
        check(log, FRAME, reward_only=True)


@pytest.mark.parametrize(
    ("write", "dialect", "suffix"),
    [
        (verl_console, "verl", ".log"),
        (verl_console, "verl", ".txt"),
        (printed_dicts, "TRL", ".out"),
        (printed_dicts, "slime", ".log"),
        (printed_dicts, "ms-swift", ""),
        (trainer_state, "TRL", ".json"),
    ],
)
def test_what_trainers_print_and_save(tmp_path, write, dialect, suffix):
    path = tmp_path / f"trainer_state{suffix}"
    write(path, records(FRAME, KEYS[dialect]))
    check(read_log(path), FRAME)


def test_old_verl_calls_the_entropy_entropy_loss_and_prints_evaluations_by_themselves(tmp_path):
    path = tmp_path / "ppo.log"
    path.write_text(
        "(main_task pid=1) step:0 - test_score/openai/gsm8k:0.521\n"
        "(main_task pid=1) step:0 - timing/gen:48.9 - actor/entropy_loss:0.419 - "
        "critic/score/mean:0.416\n"
        "(main_task pid=1) step:1 - actor/entropy_loss:0.407 - val/test_score/openai/gsm8k:0.546\n"
        "(main_task pid=1) step:2 - actor/entropy_loss:0.390 - val/test_score/openai/gsm8k:0.55\n"
        "(main_task pid=1) step:3 - actor/entropy_loss:0.380 - val/test_score/openai/gsm8k:0.56\n"
    )
    log = read_log(path)
    assert (log.entropy_column, log.step_column) == ("actor/entropy_loss", "step")
    assert log.frame["performance"].tolist() == [0.546, 0.55, 0.56]


def test_rows_told_apart_by_a_type_and_several_updates_a_step(tmp_path):
    rows = [{"type": "eval", "grpo_step": 0, "optimizer_step": 0, "answer_accuracy": 0.1,
             "format_accuracy": 0.3}]  # fmt: skip
    for step, entropy in enumerate((0.9, 0.7, 0.5, 0.3), 1):
        rows.append({"type": "rollout", "grpo_step": step, "answer_accuracy": 0.2,
                     "reward": 0.2})  # fmt: skip
        for update in (1, 2):
            rows.append({"type": "train", "grpo_step": step, "token_entropy": entropy / update,
                         "optimizer_step": 2 * step + update, "train_reward": 0.4,
                         "reference_kl": None})  # fmt: skip
        rows.append({"type": "eval", "grpo_step": step, "optimizer_step": 2 * step + 2,
                     "answer_accuracy": 1 - entropy, "format_accuracy": 0.9})  # fmt: skip
    jsonl(tmp_path / "metrics.jsonl", rows)
    log = read_log(tmp_path)
    assert (log.entropy_column, log.performance_column) == (
        "train/token_entropy",
        "eval/answer_accuracy",
    )
    assert log.step_column == "grpo_step"
    assert log.frame["entropy_nats"].tolist() == [0.9, 0.7, 0.5, 0.3]
    assert log.frame["performance"].to_numpy() == pytest.approx([0.1, 0.3, 0.5, 0.7])
    assert any("several updates a step (by 'optimizer_step')" in note for note in log.notes)
    assert read_log(tmp_path, entropy="token_entropy").entropy_column == "train/token_entropy"


@pytest.mark.parametrize("word", ["split", "mode", "phase", "kind", "run"])
def test_other_words_for_the_type_of_a_row(tmp_path, word):
    rows = []
    for step, h in enumerate((0.9, 0.7, 0.5, 0.3), 1):
        rows.append({word: "training", "step": step, "entropy": h, "accuracy": 0.9})
        rows.append({word: "validation", "step": step, "accuracy": 1 - h, "entropy": 5.0})
    jsonl(tmp_path / "log.jsonl", rows)
    log = read_log(tmp_path / "log.jsonl")
    assert log.frame["entropy_nats"].tolist() == [0.9, 0.7, 0.5, 0.3]
    assert log.frame["performance"].to_numpy() == pytest.approx([0.1, 0.3, 0.5, 0.7])


def test_tensorboard_events_of_one_run_in_a_folder_of_writers(tmp_path):
    pytest.importorskip("tensorboard")
    write_events(tmp_path / "train", {"actor/entropy": ENTROPY})
    write_events(tmp_path / "eval", {"val-core/math/acc/mean@1": SCORE})
    log = read_log(tmp_path)
    assert log.frame["entropy_nats"].to_numpy() == pytest.approx(ENTROPY, rel=1e-6)
    assert log.frame["performance"].to_numpy() == pytest.approx(SCORE, rel=1e-6)
    file = next((tmp_path / "train").iterdir())
    assert read_log(file, performance="actor/entropy").entropy_column == "actor/entropy"


def write_events(folder, metrics):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder) as writer:
        for tag, values in metrics.items():
            for step, value in enumerate(values, 1):
                writer.add_scalar(tag, value, step)


def test_events_of_several_runs_are_named(tmp_path):
    pytest.importorskip("tensorboard")
    for run in ("a", "b"):
        write_events(tmp_path / run, {"entropy": ENTROPY, "eval_accuracy": SCORE})
    with pytest.raises(Exception, match=r"rows of 2 runs, by 'run' \(a, b\)"):
        read_log(tmp_path)
    assert len(read_log(tmp_path, run="a").frame) == 30


@pytest.mark.parametrize("gap", ["", None])
def test_openrlhf_counts_steps_of_training_and_evaluation_in_columns_of_their_own(tmp_path, gap):
    rows = []
    for step, (h, s) in enumerate(zip(ENTROPY, SCORE, strict=True), 1):
        rows.append({"_step": len(rows), "train/global_step": step, "train/entropy_loss": h})
        if step % 5 == 0:
            rows.append({"_step": len(rows), "eval/global_step": step, "eval/a_pass1": s})
    pd.DataFrame(rows).to_csv(tmp_path / "history.csv", index=False)
    log = read_log(tmp_path / "history.csv")
    assert log.step_column == "train/global_step, eval/global_step"
    assert log.frame["step"].tolist() == [5, 10, 15, 20, 25, 30]


@pytest.fixture(scope="module")
def public_logs():
    """(name, frame with validation and reward, whether only the reward was measured) of each."""
    if not LOGS.is_dir():
        pytest.skip("needs the public logs in ../shared/data/logs")
    manifest, out = pd.read_csv(LOGS / "MANIFEST.csv").set_index("file"), []
    for name, column in manifest["performance_column"].items():
        frame = pd.read_csv(LOGS / name)
        frame = frame.rename(
            columns={"train_reward": "reward", "validation_accuracy": "validation"}
        )
        reward_only = column == "train_reward"
        out.append((name, frame.assign(validation=np.nan) if reward_only else frame, reward_only))
    return out


def test_the_47_public_logs_are_read_with_the_manifest_s_column(public_logs):
    for name, frame, reward_only in public_logs:
        log = read_log(LOGS / name)
        assert (log.entropy_column, log.step_column) == ("entropy_nats", "step")
        check(log, frame, reward_only)
    assert len(public_logs) == 47


@pytest.mark.parametrize("dialect", KEYS)
def test_the_public_logs_survive_being_written_in_each_dialect(tmp_path, public_logs, dialect):
    more = {"verl": (verl_console, "log"), "TRL": (trainer_state, "json")}.get(dialect)
    for _, frame, reward_only in public_logs:
        rows = records(frame, KEYS[dialect])
        for write, suffix in ((jsonl, "jsonl"), *([more] if more else [])):
            path = tmp_path / f"run.{suffix}"
            write(path, rows)
            check(read_log(path), frame, reward_only)


def test_the_guide_lists_the_frameworks_of_the_table():
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "theory.md").read_text()
    for dialect in DIALECTS:
        row = next(line for line in guide.splitlines() if line.startswith(f"| {dialect.name} |"))
        for keys in (dialect.steps, dialect.entropies):
            for key in keys:
                if not set(key) & set("([\\+*?"):
                    assert f"`{key}`" in row, (dialect.name, key)


def test_a_log_of_nemo_warns_and_one_of_tinker_notes_what_its_entropy_is(tmp_path):
    path = tmp_path / "log.jsonl"
    jsonl(path, records(FRAME, KEYS["NeMo-RL"]))
    report, _ = analyse_log(path)
    assert any("is an approximation" in warning for warning in report.warnings)
    jsonl(path, records(FRAME, KEYS["Tinker cookbook"]))
    report, _ = analyse_log(path)
    assert not any("sampled tokens" in warning for warning in report.warnings)
    assert "note: the entropy is an estimate from the sampled tokens" in report.text()
