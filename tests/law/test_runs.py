"""Rows of different runs are never joined: refused with their names, or one taken by its name."""

import numpy as np
import pandas as pd
import pytest

from entropy_mech.errors import UserError
from entropy_mech.law import analyse_log, read_log

STEP = np.arange(1, 41)
ENTROPY = np.linspace(1.0, 0.1, 40)
ONE = pd.DataFrame({"step": STEP, "entropy": ENTROPY, "accuracy": 0.9 - 0.2 * np.exp(ENTROPY)})
TWO = ONE.assign(entropy=0.7 * ENTROPY, accuracy=0.8 * ONE["accuracy"])


def table(path, frame):
    frame.to_csv(path / "log.csv", index=False)
    return path / "log.csv"


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("run", ("a", "b")),
        ("Run_ID", ("x1", "x2")),
        ("run.name", ("a", "b")),
        ("wandb_run", ("a", "b")),
        ("seed", (1, 2)),
        ("data_seed", (1, 2)),
        ("config.seed", (1, 2)),
        ("group", ("g1", "g2")),
        ("Experiment", ("e1", "e2")),
        ("trial_id", (0, 1)),
        ("model", ("7B", "3B")),
        ("model_size", (3, 7)),
        ("algorithm", ("grpo", "kl_cov")),
        ("variant", ("A", "B")),
        ("source_file", ("a.log", "b.log")),
        ("rank", (0, 1)),
    ],
)
@pytest.mark.parametrize("order", ["one after the other", "by step", "apart", "later"])
def test_a_column_tells_runs_apart(tmp_path, column, values, order):
    other = TWO.assign(step=STEP + {"apart": 0.5, "later": 100}.get(order, 0))
    both = pd.concat([ONE.assign(**{column: values[0]}), other.assign(**{column: values[1]})])
    if order in ("by step", "apart"):
        both = both.sort_values("step", kind="stable")
    path = table(tmp_path, both)
    with pytest.raises(UserError, match=rf"rows of 2 runs, by '{column}'.*--run NAME"):
        read_log(path)
    taken = read_log(path, run=str(values[1])).frame
    assert taken["entropy_nats"].to_numpy() == pytest.approx(TWO["entropy"].to_numpy())
    with pytest.raises(UserError, match="unknown run 'none of them'"):
        read_log(path, run="none of them")


def test_two_columns_that_tell_runs_apart_are_named_together(tmp_path):
    rows = [
        frame.assign(method=method, seed=seed)
        for method in ("grpo", "clip_cov")
        for seed, frame in ((1, ONE), (2, TWO))
    ]
    path = table(tmp_path, pd.concat(rows))
    for run in ("", "grpo", "1"):
        with pytest.raises(UserError, match="by 'method', 'seed'"):
            read_log(path, run=run)
    assert len(read_log(path, run="grpo / 2").frame) == 40


@pytest.mark.parametrize("column", ["lr", "arm_of_the_study"])
def test_two_values_of_one_step_are_refused(tmp_path, column):
    values = {"lr": (1e-5, 1e-6)}.get(column, ("p", "q"))
    both = pd.concat([ONE.assign(**{column: values[0]}), TWO.assign(**{column: values[1]})])
    path = table(tmp_path, both.sort_values("step", kind="stable"))
    with pytest.raises(UserError) as caught:
        read_log(path)
    assert "two values at step 1: 1 in row 1, 0.7 in row 2" in str(caught.value)
    assert "add a column 'run'" in str(caught.value)


def test_evaluations_of_several_benchmarks_in_rows_of_their_own_need_one_of_them(tmp_path):
    rows = [{"type": "train", "step": s, "entropy": h} for s, h in zip(STEP, ENTROPY, strict=True)]
    for dataset, factor in (("math", 1.0), ("aime", 0.5)):
        rows += [
            {"type": "eval", "step": s, "dataset": dataset, "accuracy": factor * a}
            for s, a in zip(STEP, ONE["accuracy"], strict=True)
        ]
    frame = pd.DataFrame(rows).sort_values("step", kind="stable")
    path = table(tmp_path, frame)
    with pytest.raises(UserError, match=r"2 runs, by 'dataset' \(math, aime\)"):
        read_log(path)
    taken = read_log(path, run="aime").frame
    assert taken["performance"].to_numpy() == pytest.approx(0.5 * ONE["accuracy"].to_numpy())
    assert taken["entropy_nats"].to_numpy() == pytest.approx(ENTROPY)


def test_two_evaluations_of_one_step_are_refused_too(tmp_path):
    again = ONE[["step", "accuracy"]].iloc[[20]].assign(accuracy=0.9)
    path = table(tmp_path, pd.concat([ONE.iloc[:21], again, ONE.iloc[21:]]))
    with pytest.raises(UserError, match="'accuracy' has two values at step 21"):
        read_log(path)


def test_a_second_run_appended_and_a_branch_left_behind_by_a_resume(tmp_path):
    path = table(tmp_path, pd.concat([ONE, TWO]))
    with pytest.raises(UserError) as caught:
        read_log(path)
    said = "'step' goes back from 40 to 1 at row 41: a second run, or a branch left behind"
    assert str(caught.value).startswith(said)
    assert "--run ('part 1': 1 to 40, 'part 2': 1 to 40), or --run resumed" in str(caught.value)
    second = read_log(path, run="part 2").frame["entropy_nats"]
    assert second.to_numpy() == pytest.approx(TWO["entropy"].to_numpy())

    branch = pd.concat([ONE.iloc[:30], TWO.iloc[20:]])
    path = table(tmp_path, branch)
    with pytest.raises(UserError, match="goes back from 30 to 21 at row 31"):
        read_log(path)
    log = read_log(path, run="resumed")
    want = [*ONE["entropy"][:20], *TWO["entropy"][20:]]
    assert log.frame["entropy_nats"].to_numpy() == pytest.approx(want)
    said = "rows 21 to 30 ('step' from 21 on) are left out: later rows replace them"
    assert said in log.notes


@pytest.mark.parametrize("shift", [5, -3])
def test_a_second_run_whose_steps_lie_between_is_seen_by_going_back(tmp_path, shift):
    both = pd.concat([ONE.assign(step=10 * STEP), TWO.assign(step=10 * STEP + shift)])
    with pytest.raises(UserError, match="goes back from 400"):
        read_log(table(tmp_path, both))


@pytest.mark.parametrize("clock", ["epoch", "num_tokens", "_timestamp"])
def test_printed_dicts_without_a_step_are_told_apart_by_their_clock(tmp_path, clock):
    lines = [
        str({"loss": 0.1, "entropy": h, "reward": r, clock: round(i / 9, 2)})
        for frame in (ONE, TWO)
        for i, (h, r) in enumerate(zip(frame["entropy"], frame["accuracy"], strict=True))
    ]
    path = tmp_path / "train.log"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=f"'{clock}' goes back from 4.33 to 0 at row 41"):
        read_log(path)
    assert len(read_log(path, run="part 2").frame) == 40


def test_a_table_of_one_row_a_run_is_no_run(tmp_path):
    sweep = ONE.drop(columns="step").assign(run=[f"r{i}" for i in STEP])
    with pytest.raises(UserError, match="rows of 40 runs, by 'run'"):
        read_log(table(tmp_path, sweep))


ONE_RUN = {
    "as it is": ONE,
    "with its name": ONE.assign(run="a", seed=3, model="7B"),
    "with a seed drawn anew every step": ONE.assign(seed=STEP + 100),
    "with a checkpoint every step": ONE.assign(model=[f"checkpoint-{i}" for i in STEP]),
    "newest first": ONE.iloc[::-1],
    "shuffled": ONE.sample(frac=1.0, random_state=1),
    "written twice": pd.concat([ONE, ONE]),
    "resumed and repeated to the digit": pd.concat([ONE.iloc[:30], ONE.iloc[20:]]),
    "evaluations after training": pd.concat([ONE[["step", "entropy"]], ONE[["step", "accuracy"]]]),
    "two rows written late": ONE.iloc[[0, 2, 1, *range(3, 38), 39, 38]],
    "steps that start anew at every epoch": ONE.assign(
        step=(STEP - 1) % 10, epoch=(STEP - 1) // 10, global_step=STEP
    ),
}


@pytest.mark.parametrize("frame", ONE_RUN.values(), ids=ONE_RUN.keys())
def test_rows_of_one_run_are_taken_in_any_order(tmp_path, frame):
    taken = read_log(table(tmp_path, frame)).frame
    assert taken["step"].tolist() == STEP.tolist()
    assert taken["entropy_nats"].to_numpy() == pytest.approx(ENTROPY)


def test_the_name_of_the_only_run_may_be_given_and_no_other(tmp_path):
    path = table(tmp_path, ONE.assign(run="mine"))
    assert len(read_log(path, run="mine").frame) == 40
    with pytest.raises(UserError, match="--run 'yours': no such run"):
        read_log(path, run="yours")


@pytest.mark.parametrize(
    "name",
    ["Step", "STEP", "_step", "global_step", "trainer/global_step", "Global Step", "training_step",
     "iteration", "train/step", "updates", "Steps"],
)  # fmt: skip
def test_the_step_column_is_found_whatever_its_case_and_named(tmp_path, name):
    path = table(tmp_path, ONE.assign(step=10 * STEP).rename(columns={"step": name}))
    report, log = analyse_log(path)
    assert log.frame["step"].tolist() == (10 * STEP).tolist()
    said = f"entropy from 'entropy', performance from 'accuracy', step from {name!r}"
    assert said in report.text()


def test_a_wandb_export_of_several_runs_needs_one_of_them(tmp_path):
    wide = {"Step": STEP}
    for run, frame in (("deep - sea-7", ONE), ("wise-owl", TWO)):
        for key, column in (("actor/entropy", "entropy"), ("val-core/m/acc/mean@1", "accuracy")):
            for end in ("", "__MIN", "__MAX"):
                wide[f"{run} - {key}{end}"] = frame[column] + (end == "__MAX")
    path = table(tmp_path, pd.DataFrame(wide))
    with pytest.raises(UserError, match=r"2 runs in this export \(deep - sea-7, wise-owl\)"):
        read_log(path)
    taken = read_log(path, run="wise-owl")
    assert taken.entropy_column == "actor/entropy"
    assert taken.frame["entropy_nats"].to_numpy() == pytest.approx(TWO["entropy"].to_numpy())
    with pytest.raises(UserError, match="unknown run 'wise-ow': did you mean 'wise-owl'"):
        read_log(path, run="wise-ow")
    group = (
        pd.DataFrame(wide)
        .filter(regex="Step|wise")
        .rename(columns=lambda name: name.replace("wise-owl", "Group: owls"))
    )
    assert any(
        "a mean over runs" in warning for warning in read_log(table(tmp_path, group)).warnings
    )
