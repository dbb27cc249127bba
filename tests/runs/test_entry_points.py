"""Functions that people call, and the environment, with what means nothing: one line each."""

import math

import pytest

from entropy_mech import theory
from entropy_mech.errors import UserError
from entropy_mech.hub import hub_answers
from entropy_mech.reproduction import explore, open_report
from entropy_mech.reproduction.runner import Request, targets_of
from entropy_mech.runs.handle import handle_on, launch
from entropy_mech.runs.jobs import run_jobs
from entropy_mech.runs.status import find_config
from entropy_mech.runs.store import project_root
from entropy_mech.train.distributed import join_ranks

NO_RUN = "fig11_7b_kl_cov"
CALLS = {
    f"{name} {settings!r}": (function, words, settings)
    for function, name, words, all_settings in [
        (launch, "launch", (), [{"config": c} for c in (
            None, 3, "", "nope", [], b"x", {1: 2}, {"seed": True},
            {"loss": {"method": "KL_COV"}})]),
        (launch, "launch", (NO_RUN,), [
            {"seed": "two"}, {"seed": -1}, {"seed": True}, {"seed": 1.5}, {"steps": -1},
            {"steps": "x"}, {"steps": True}, {"profile": "toys"}, {"profile": None}, {"store": 3},
            {"store": ""}, {"store": "/etc/passwd"}, {"store": "/etc/passwd/x"}, {"store": b"x"}]),
        (handle_on, "handle_on", (), [{"what": w} for w in (None, 3, "", "zz", [], {}, "tests")]),
        (find_config, "find_config", (), [{"what": w} for w in (None, 3, [], True, "/", "/etc")]),
        (open_report, "open_report", (), [{"target": t} for t in ("", None, 3, "fig99")]),
        (open_report, "open_report", ("fig11",), [
            {"seed": "x"}, {"seed": -1}, {"seed": None}, {"seeds": -1}, {"seeds": "two"},
            {"seeds": True}, {"seeds": 1.5}, {"steps": -1}, {"steps": "x"},
            {"models": "qwen2.5_7b"}, {"methods": "kl_cov"}, {"methods": [1]},
            {"methods": None}, {"methods": ["nope"]},
            {"profile": "x"}, {"profile": None}, {"out_dir": "/etc/passwd"}, {"out_dir": 3}]),
        (explore.policy, "policy", (), [
            {"logits": logits, "advantages": given, "eta": eta} for logits, given, eta in [
                ([0, 1], [1], 0.1), ([0, math.nan], [1, 1], 0.1), (["a"], [1], 0.1), ([], [], 0.1),
                ([0, 1], [1, 1], "x"), ([0, 1], [1, 1], math.nan), ([0, 1], [1, 1], None),
                (3, [1], 0.1), ("01", "11", 0.1), ([True, False], [1, 2], 0.1)]]),
        (explore.tokens, "tokens", (), [
            {"run": "zz"}, {"run": 3}, {"profile": "x"}, {"colouring": "Entropy"},
            {"colouring": None}]),
        (explore.law, "law", (), [
            {"run": "zz"}, {"profile": "x"}, *({"window_percent": w} for w in [
                (50, 0), [0, 200], 3, ("a", "b"), (0,), (-5, 50), (0, math.nan), (True, 50)])]),
        (lambda request: targets_of(Request(**request)), "Request", (), [{"request": r} for r in [
            {"seeds": -1}, {"seeds": "two"}, {"seed": True}, {"profile": "x"}, {"names": ("nope",)},
            {"names": ("fig11",), "parameters": {"methods": "kl_cov"}},
            {"names": ("fig11",), "parameters": {"steps": True}},
            {"names": ("fig11",), "parameters": {"steps": 2.5}},
            {"names": ("fig11",), "parameters": {"models": ["nope"]}},
            {"names": ("fig11",), "parameters": {"out_dir": 3}}]]),
        (theory.verify_lemma1, "verify_lemma1", (), [
            *({"policies": v} for v in ("two", 0, True, 1.5, None)),
            *({"actions": v} for v in ((2, 1), ("a", "b"), 3, (2, 2.5), None)),
            *({"etas": v} for v in ([], ["x"], 3, [0], [math.nan], None, "ab")),
            {"seed": "x"}, {"seed": -1}, {"logit_scale": "x"}, {"logit_distribution": "Normal"}]),
        (theory.step_sizes, "step_sizes", (), [
            {"eta_min": low, "eta_max": high, "count": count} for low, high, count in [
                ("x", 1, 3), (0, 1, 3), (1, 0.1, 3), (math.nan, 1, 3), (0.1, 1, "x"), (0.1, 1, 1),
                (0.1, 1, 2.5), (True, 2, 3), (None, 1, 2)]]),
        (theory.visitation_by_horizon, "visitation", (), [
            {"horizons": []}, {"horizons": ["a"]}, {"horizons": 3}, {"horizons": [0]},
            {"policies": "x"}, {"policies": 0}, {"seed": "x"}]),
        (theory.sampled_against_expected, "sampled", (), [
            {"group_sizes": []}, {"group_sizes": ["a"]}, {"group_sizes": 3}, {"eta": "x"},
            {"eta": math.nan}, {"seed": "x"}]),
        (run_jobs, "run_jobs", ([],), [{"workers": w} for w in (0, -1, "two", True, 1.5, None)]),
    ]
    for settings in all_settings
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_means_nothing_is_one_line(call, monkeypatch, tmp_path):
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(tmp_path))
    function, words, settings = CALLS[call]
    with pytest.raises(UserError) as caught:
        function(*words, **settings)
    assert str(caught.value).isprintable()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE = x: a launcher such as torchrun sets it"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE = 0: a launcher"),
        ({"WORLD_SIZE": "-1"}, "WORLD_SIZE = -1: a launcher"),
        ({"WORLD_SIZE": "2"}, "RANK = '': a launcher"),
        ({"WORLD_SIZE": "2", "RANK": "first"}, "RANK = first: a launcher"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "http"}, "MASTER_PORT = http"),
    ],
)
def test_an_environment_that_no_launcher_makes_is_one_line(environment, message, monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "MASTER_PORT", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        join_ranks(timeout_s=1)


@pytest.mark.parametrize("endpoint", ["nonsense", "http://", "http://host:port", "https://"])
def test_an_endpoint_that_is_no_address_is_one_line(endpoint, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(UserError, match="HF_ENDPOINT = "):
        hub_answers()


def test_a_project_folder_that_is_none_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("ENTROPY_MECH_PROJECT", str(tmp_path))
    with pytest.raises(UserError, match=f"ENTROPY_MECH_PROJECT = {tmp_path}: no reproduce"):
        project_root()
