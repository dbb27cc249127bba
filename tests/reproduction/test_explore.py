"""The notebook ``explore``: moving a control redraws; without a front end the picture stays."""

import html

import numpy as np
import pytest

from entropy_mech.errors import UserError
from entropy_mech.reproduction import explore
from entropy_mech.reproduction.explore import fit_window, token_colour
from entropy_mech.runs.status import find_config
from entropy_mech.runs.store import RunStore


def _record(step):
    """Four responses to two problems, two tokens each; covariance grows with the step."""
    mask = np.ones((4, 2), dtype=bool)
    covariance = np.array([[1.0, -1.0], [2.0, 0.0], [0.5, 0.5], [-2.0, 1.0]]) * (1 + step)
    return {
        "problem": np.array([7, 7, 3, 3]),
        "sample": np.array([0, 1, 0, 1]),
        "reward": np.array([1.0, 0.0, 1.0, 0.0]),
        "tokens": np.array([[3, 1], [4, 1], [5, 1], [6, 1]]),
        "response_mask": mask,
        "logp": np.full((4, 2), -0.5),
        "entropy_nats": np.full((4, 2), 0.4),
        "advantage": np.ones((4, 2)),
        "covariance": covariance,
        "selected_mask": covariance > 1.5,
    }


@pytest.fixture
def store(tmp_path):
    store = RunStore(tmp_path)
    for seed, steps in ((1, (0, 20)), (2, (0, 40))):
        run = store.run(find_config("fig11_7b_clip_cov", seed=seed))
        run.token_path(0).parent.mkdir(parents=True)
        run.write("config.json", run.config.model_dump(mode="json"))
        for step in steps:
            np.savez(run.token_path(step), **_record(step))
        entropy = np.linspace(1.0, 0.2, 8) / seed
        rows = [
            f'{{"step": {i}, "entropy_nats": {h}, "validation_accuracy": {0.8 - 0.2 * np.exp(h)}}}'
            for i, h in enumerate(entropy)
        ]
        (run.path / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    return store


def _id(store, seed):
    return store.run(find_config("fig11_7b_clip_cov", seed=seed)).path.name


def test_moving_a_slider_changes_the_figure():
    shown = explore.policy([0.0, 1.0], [1.0, -1.0], 0.5)
    picture = shown.widget.children[-1]
    before = picture.value
    shown.controls["logit 1"].value = 3.0
    assert picture.value != before
    heights = [bar.get_height() for bar in shown.content.axes[0].containers[0]]
    np.testing.assert_allclose(heights, [1 / (1 + np.exp(3)), 1 / (1 + np.exp(-3))])
    shown.controls["eta"].value = 0.0
    assert [bar.get_height() for bar in shown.content.axes[1].containers[0]] == [0.0, 0.0]
    assert shown.values["logit 1"] == 3.0


def test_tokens_follow_step_colour_prompt_and_run(store, monkeypatch):
    monkeypatch.setattr("entropy_mech.runs.store.base_model_folder", lambda *_: None)
    shown = explore.tokens(_id(store, 1), store=store)
    view = shown.widget.children[-1]
    assert "step 0, problem 7" in view.value
    assert "[3]" in view.value  # neither a policy nor its base model has a tokenizer: ids
    assert "asked: <code>" in view.value
    assert "[5]" not in view.value
    shown.controls["prompt"].value = 1
    assert "problem 3" in view.value
    assert "[5]" in view.value
    shown.controls["step"].value = 20
    assert "step 20" in view.value
    scale = float(view.value.split("full colour from ")[1].split(" ")[0])
    # The scale is the first step's: colours at two steps mean the same.
    assert scale <= 2.0
    assert token_colour(-42.0, scale, "covariance") in view.value
    shown.controls["step"].value = 40  # of the other run: this one shows its last before
    assert "step 20" in view.value
    shown.controls["run"].value = shown.controls["run"].options[1]
    assert "seed 2" in view.value
    assert "step 40" in view.value
    shown.controls["colour"].value = "touched"
    assert token_colour(1.0, 1.0, "touched") in view.value


def test_tokens_are_written_as_the_base_models_tokenizer_has_them(store):
    text_of = store.run(find_config("fig11_7b_clip_cov", seed=1)).token_texts()
    assert text_of(3) != "[3]"
    view = explore.tokens(_id(store, 1), store=store).widget.children[-1]
    assert html.escape(text_of(3)) in view.value


def test_a_run_of_no_file_is_called_by_its_method_and_id(store):
    config = find_config("fig11_7b_clip_cov", seed=3)
    config = config.model_copy(
        update={"update": config.update.model_copy(update={"learning_rate": 0.5})}
    )
    run = store.run(config)
    run.token_path(0).parent.mkdir(parents=True)
    run.write("config.json", config.model_dump(mode="json"))
    np.savez(run.token_path(0), **_record(0))
    shown = explore.tokens(run.path.name, store=store)
    others = [f"fig11_7b_clip_cov, seed {seed}" for seed in (1, 2)]
    first, *rest = shown.controls["run"].options
    assert first == f"clip_cov, seed 3 ({run.path.name[:8]})"
    assert sorted(rest) == others


def test_tokens_are_text_where_a_policy_is_exported(store):
    from entropy_mech.problems.toy import character_tokenizer

    run = store.run(find_config("fig11_7b_clip_cov", seed=1))
    character_tokenizer("ab c").save_pretrained(run.path / "models" / "step_000002")
    page = explore.tokens(_id(store, 1), store=store).content
    assert ">a</span>" in page
    assert "&lt;eos&gt;</span>" in page


def test_law_window_changes_the_ceiling_and_the_run_its_points(store):
    shown = explore.law(_id(store, 2), store=store)
    assert shown.values["run"] == "fig11_7b_clip_cov, seed 2"

    def ceiling():
        lines = {line.get_label().split(" = ")[0]: line for line in shown.content.axes[0].lines}
        return lines["ceiling b - a"].get_ydata()[0]

    assert ceiling() == pytest.approx(0.6)
    shown.controls["run"].value = shown.controls["run"].options[2]
    assert "Qwen2.5-7B" in shown.content.axes[0].get_title()
    first = ceiling()
    shown.controls["window"].value = (0, 15)
    from entropy_mech.paper import published

    assert ceiling() == pytest.approx(fit_window(*published.scatter("7B"), (0, 15)).fit.ceiling)
    assert ceiling() != first


def test_an_empty_store_says_how_to_fill_it(tmp_path):
    store = RunStore(tmp_path / "none")
    shown = explore.tokens(store=store)
    assert "entropy-mech train reproduce/runs/toy/fig11_7b_clip_cov.toml" in shown.content
    assert (shown.content + repr(shown)).count("\n") == 0
    assert "the paper has published none" in explore.tokens(profile="published").content
    assert "Qwen2.5-7B" in explore.law(store=store).values["run"]
    assert "Qwen2.5-7B" in explore.law(profile="published").values["run"]


def test_a_run_with_nothing_to_show_says_so_and_one_unreadable_is_left_out(store, capsys):
    run = store.run(find_config("fig11_7b_grpo", seed=1))
    run.path.mkdir()
    run.write("config.json", run.config.model_dump(mode="json"))
    assert "kept no tokens" in explore.tokens(run.path.name, store=store).content
    assert "0 validations so far" in explore.law(run.path.name, store=store).content
    run.write("config.json", {"loss": {"method": "of another version"}})
    assert len(explore.tokens(store=store).controls["run"].options) == 2
    assert f"{run.path.name} is left out" in capsys.readouterr().out


def test_wrong_names_are_refused(store):
    with pytest.raises(UserError, match="toy"):
        explore.law(profile="toi", store=store)
    with pytest.raises(UserError, match="run"):
        explore.tokens("ffff", store=store)
    with pytest.raises(UserError, match="covariance"):
        explore.tokens(colouring="covarianse", store=store)


def test_without_a_front_end_no_widget_is_made(monkeypatch, tmp_path):
    shown = explore.policy([0.0, 1.0], [1.0, -1.0], 0.5)
    bundle = shown._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert set(bundle) == {"image/png", "text/plain"}
    assert "controls" not in vars(shown)
    assert (shown.save("one", out_dir=str(tmp_path)), (tmp_path / "figures/one.png").is_file()) == (
        shown, True,
    )  # fmt: skip
    monkeypatch.setattr(explore, "has_front_end", lambda: True)
    bundle = shown._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == shown.widget.model_id
    assert bundle["image/png"].startswith(b"\x89PNG")  # for who reads the saved notebook
