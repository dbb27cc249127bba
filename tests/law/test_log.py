import json

import numpy as np
import pandas as pd
import pytest

from entropy_mech.commands.measure import law
from entropy_mech.errors import UserError
from entropy_mech.law import analyse_log, analyse_run, read_log
from tests.command_line import parsed

ENTROPY = np.linspace(1.0, 0.1, 30)
SCORE = 0.9 - 0.2 * np.exp(ENTROPY) + 0.01 * np.random.default_rng(0).standard_normal(30)


def write(path, records):
    path.write_text("\n".join(json.dumps(record) for record in records))
    return path


def command_line(*argv):
    return law(**parsed(["law", *map(str, argv)])[1])


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_every_format_reads_alike(tmp_path, suffix):
    frame = pd.DataFrame({"step": range(30), "h": ENTROPY, "acc": SCORE})
    path = tmp_path / f"log{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    elif suffix == ".json":
        frame.to_json(path, orient="records", double_precision=15)
    elif suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True, double_precision=15)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    log = read_log(path, entropy="h", performance="acc")
    assert log.frame["entropy_nats"].to_numpy() == pytest.approx(ENTROPY)
    assert log.frame["performance"].to_numpy() == pytest.approx(SCORE)
    assert not log.on_training_data


def test_verl_file_logger(tmp_path):
    records = []
    for step in range(30):
        data = {"actor/entropy": ENTROPY[step], "critic/score/mean": 0.3, "actor/pg_loss": 0.1}
        if step % 5 == 0:
            data["val-core/math500/acc/mean@1"] = SCORE[step]
        records.append({"step": step, "data": data})
    log = read_log(write(tmp_path / "verl.jsonl", records))
    assert log.entropy_column == "actor/entropy"
    assert log.performance_column == "val-core/math500/acc/mean@1"
    assert log.frame["step"].tolist() == [0, 5, 10, 15, 20, 25]
    assert log.frame["performance"].to_numpy() == pytest.approx(SCORE[::5])


def test_trl_trainer_state_with_evaluations_in_rows_of_their_own(tmp_path):
    history = []
    for step in range(1, 31):
        history.append({"step": step, "entropy": ENTROPY[step - 1], "reward": 0.4, "loss": 0.0})
        if step % 10 == 0:
            history.append({"step": step, "eval_reward": SCORE[step - 1], "eval_loss": 0.1})
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"global_step": 30, "log_history": history}))
    log = read_log(path)
    assert (log.entropy_column, log.performance_column) == ("entropy", "eval_reward")
    assert log.frame["entropy_nats"].to_numpy() == pytest.approx(ENTROPY[9::10])


def test_this_package_s_own_run_folder_and_a_tracker_s_prefix(tmp_path):
    rows = [
        {
            "step": i,
            "entropy_nats": h,
            "reward": 0.1,
            "validation_accuracy": s if i % 4 == 0 else None,
        }
        for i, (h, s) in enumerate(zip(ENTROPY, SCORE, strict=True))
    ]
    write(tmp_path / "metrics.jsonl", rows)
    assert len(read_log(tmp_path).frame) == 8
    table = pd.DataFrame({"_step": range(30), "train/entropy": ENTROPY, "train/reward": SCORE})
    table.to_csv(tmp_path / "wandb.csv", index=False)
    log = read_log(tmp_path / "wandb.csv")
    assert log.entropy_column == "train/entropy"
    assert log.on_training_data


def test_an_evaluation_takes_the_last_entropy_before_it(tmp_path):
    rows = [
        {"step": 1, "entropy": 0.5},
        {"step": 3, "eval_reward": 0.2},
        {"step": 4, "entropy": 0.1},
    ]
    frame = read_log(write(tmp_path / "log.jsonl", rows)).frame
    assert frame.values.tolist() == [[3.0, 0.5, 0.2]]


GOOD = "step,entropy,accuracy\n0,0.9,0.1\n1,0.6,0.2\n2,0.3,0.3\n3,0.2,0.35\n"


TWO_TASKS = "entropy,val-core/x/acc/mean@1,val-core/y/acc/mean@1\n1,0,0\n"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (GOOD, {"entropy": "entropi"}, "entropy column 'entropi': did you mean 'entropy'"),
        (GOOD, {"performance": "acc"}, "unknown performance column 'acc': "),
        (GOOD, {"step": "stp"}, "unknown step column 'stp': did you mean 'step'"),
        ("step,loss\n0,1\n", {}, "no entropy column found: name it with --entropy COL (columns"),
        ("entropy,loss\n0,1\n", {}, "no performance column found: name it with --performance"),
        (GOOD.replace("0.3,0.3", "nan,0.3"), {}, "column 'entropy' row 3: nan: remove that row"),
        (GOOD.replace("0.3,0.3", "0.3,inf"), {}, "column 'accuracy' row 3: inf: remove that row"),
        (GOOD.replace("0.3,0.3", "0.3,yes"), {}, "'accuracy' row 3: 'yes' is not a number"),
        ("entropy,accuracy\n.2,.5\n.2,.4\n.2,.3\n", {}, "entropy_nats = 0.2 everywhere"),
        ("entropy,accuracy\n0.3,0.5\n0.2,0.4\n", {}, "points = 2: give at least 3"),
        ("entropy,accuracy\n.4,.5\n.3,.5\n.2,.5\n", {}, "performance = 0.5 everywhere: give a"),
        (GOOD.replace("0.3\n", "30%\n"), {}, "0.1 beside 30: percent mixed with fractions"),
        (GOOD.replace(",0.2\n", ",20\n"), {}, "0.1 beside 20: percent mixed with fractions"),
        ("entropy,accuracy\n", {}, "has no rows"),
        ("", {}, "cannot be read"),
        (TWO_TASKS, {}, "2 columns could be the performance (val-core/x/acc/mean@1, val-core/y"),
        ("step,entropy,accuracy\n0,,0.1\n1,0.5,\n", {}, "no step has both 'entropy' and 'acc"),
    ],
)
def test_every_bad_csv_is_one_clear_line(tmp_path, text, options, message):
    refused(tmp_path / "a.csv", text, message, options)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"entropy": 1}\n{oops}\n', "a.jsonl line 2: not JSON"),
        ("a.jsonl", '{"entropy": NaN, "accuracy": 0.1}\n', "column 'entropy' row 1: NaN"),
        ("a.jsonl", "[1, 2]\n", "a.jsonl line 1: not a JSON object"),
        ("a.json", "3", "give a list of records, or TRL's trainer_state.json"),
        ("a.parquet", "not parquet", "cannot be read"),
        ("a.txt", GOOD, "give a file that ends in .csv"),
    ],
)
def test_every_bad_file_is_one_clear_line(tmp_path, name, text, message):
    refused(tmp_path / name, text, message, {})


def refused(path, text, message, options):
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        analyse_log(path, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_clear_line(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UserError, match="no such file"):
            read_log(path)


def test_percent_that_passes_through_one_is_not_taken_for_a_mixture():
    entropy = np.linspace(1.0, 0.1, 8)
    rising = analyse_run(entropy, [0.4, 0.9, 3.0, 8.0, 14.0, 20.0, 24.0, 26.0])
    assert rising.unit == "percent"
    assert analyse_run(entropy, entropy * -3.0).unit == "reward"
    with pytest.raises(UserError, match="percent mixed with fractions"):
        analyse_run(entropy, [0.10, 0.12, 0.15, 18.0, 21.0, 25.0, 27.0, 30.0])


@pytest.mark.parametrize(
    "name", ["val_acc", "test/accuracy", "eval_pass@1", "validation_success_rate"]
)
def test_a_held_out_accuracy_goes_before_one_that_does_not_say_so(tmp_path, name):
    table = pd.DataFrame({"step": range(30), "entropy": ENTROPY, "accuracy": 0.9, name: SCORE})
    table.to_csv(tmp_path / "run.csv", index=False)
    assert read_log(tmp_path / "run.csv").performance_column == name


def test_scores_that_are_no_measured_accuracy_are_named(tmp_path):
    path, table = tmp_path / "run.csv", pd.DataFrame({"entropy": ENTROPY, "accuracy": SCORE})

    def warned(**columns):
        table.assign(**columns).to_csv(path, index=False)
        return " ".join(analyse_log(path)[0].warnings)

    assert warned() == ""
    assert "changes only every 3 points" in warned(accuracy=SCORE[np.arange(30) // 3 * 3])
    assert "as no accuracy does: read as a reward" in warned(accuracy=SCORE + 0.5)
    assert "more than any vocabulary has" in warned(entropy=15 * ENTROPY)
    plateau = np.round(SCORE, 2)  # equal neighbours, but at no beat
    assert "changes only" not in warned(accuracy=plateau)


def test_the_command_prints_the_law_and_draws_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"step": range(30), "entropy": ENTROPY, "accuracy": SCORE}).to_csv("run.csv")
    assert command_line("run.csv", "--at", "0.05", "0.01") == 0
    out = capsys.readouterr().out
    assert "entropy from 'entropy', performance from 'accuracy'" in out
    assert "ceiling (H = 0)" in out
    assert "at H = 0.05 nats" in out
    assert "warning" not in out
    assert (tmp_path / "run.law.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("tmp-")] == []


def test_the_command_warns_of_training_reward_and_refuses_unusable_options(tmp_path, capsys):
    path = tmp_path / "run.csv"
    pd.DataFrame({"entropy": ENTROPY, "reward": SCORE}).to_csv(path)
    command_line(path, "--figure", tmp_path / "figure.svg")
    assert "warning: 'reward' is measured on training prompts" in capsys.readouterr().out
    with pytest.raises(UserError, match="--at -1: give entropies in nats"):
        command_line(path, "--at", "-1")
    with pytest.raises(UserError, match=r"--figure = .*cannot be written"):
        command_line(path, "--figure", tmp_path / "figure.nothing")
    with pytest.raises(UserError, match=r"--figure = .*cannot be written"):
        command_line(path, "--figure", tmp_path / "absent" / "figure.png")


def test_the_report_of_few_points_gives_no_interval():
    report = analyse_run([0.4, 0.3, 0.2], [0.1, 0.2, 0.25])
    assert report.intervals is None
    assert report.forms is None
    assert "only 3 points" in report.text()
