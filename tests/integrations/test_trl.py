"""Clip-Cov and KL-Cov inside TRL's real GRPOTrainer are this package's, however a step is split."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from entropy_mech.errors import UserError
from entropy_mech.objectives import (
    clip_cov_loss,
    kl_cov_loss,
    select_largest,
    token_covariance,
    with_entropy_bonus,
    with_reference_kl,
)
from tests.integrations.trl_world import (
    CLIP_COV,
    KL_COV,
    ROWS,
    UPDATES,
    log_probabilities,
    make_trainer,
    tiny_model,
    train,
)
from tests.needs import needs_trl

pytestmark = [needs_trl, pytest.mark.filterwarnings("ignore")]
ROOT = Path(__file__).parents[2]
METHODS = {"clip_cov": CLIP_COV, "kl_cov": KL_COV}


def joined(parts, name):
    """All parts' rows; processes may have padded theirs to different widths."""
    tensors = [part[name] for part in parts]
    if tensors[0].dim() == 2:
        width = max(tensor.shape[1] for tensor in tensors)
        tensors = [torch.nn.functional.pad(t, (0, width - t.shape[1])) for t in tensors]
    return torch.cat(tensors)


@pytest.mark.parametrize("scope", ["rollout_batch", "mini_batch"])
@pytest.mark.parametrize("method", METHODS)
def test_loss_and_gradients_are_this_packages(method, scope, tmp_path):
    """Each optimizer step, computed again in one piece from the weights and the batch alone."""
    settings = METHODS[method]
    unclipped = {"covariance_scope": scope, "max_grad_norm": 1e9}
    done = train(tmp_path, micro_batch=4, **unclipped, **settings)
    assert len(done.steps) == 2 * UPDATES
    assert any(joined(step.parts, "selected_mask").any() for step in done.steps if not step.first)
    for step in done.steps:
        assert_this_packages(step, method, scope)


def assert_this_packages(step, method, scope="rollout_batch"):
    """Choice, loss and gradients of a step are what one piece gives, from weights and batch."""
    mask = joined(step.parts, "completion_mask").bool()
    parts = [log_probabilities(step.weights, part)[:2] for part in step.parts]
    logp_new = joined([{"logp": logp} for _, logp in parts], "logp")
    logp_old = joined(step.parts, "old_per_token_logps")
    if step.first:
        torch.testing.assert_close(logp_new[mask], logp_old[mask], rtol=0, atol=1e-5)
        logp_old = logp_new.detach()
    advantages = joined(step.parts, "advantages").unsqueeze(1).expand_as(logp_new)
    chosen = joined(step.parts, "selected_mask")
    batch = (logp_new, logp_old, advantages, mask)
    if method == "kl_cov":
        out = kl_cov_loss(
            *batch, penalty_fraction=0.2, penalty_coefficient=2.0, selected_mask=chosen
        )
        if scope == "mini_batch":
            covariance = token_covariance(logp_new, advantages, mask)
            expected = select_largest(covariance, mask, penalty_fraction=0.2)
            assert torch.equal(chosen, expected)
    else:
        out = clip_cov_loss(*batch, selected_mask=chosen)
        if scope == "mini_batch":
            covariance = token_covariance(logp_new, advantages, mask)
            assert covariance[chosen].min() >= 0.05
            band = (covariance >= 0.05) & (covariance <= 9)
            assert chosen.sum() == min(int(0.1 * mask.sum()), int(band.sum()))
    torch.testing.assert_close(sum(step.losses), out.loss.detach(), rtol=1e-5, atol=1e-6)
    out.loss.backward()
    summed: dict = {}
    for model, _ in parts:
        for name, parameter in model.named_parameters():
            summed[name] = summed.get(name, 0) + parameter.grad
    for name, gradient in step.gradients.items():
        torch.testing.assert_close(gradient, summed[name], rtol=1e-4, atol=1e-6)


def test_rollout_scope_chooses_among_all_that_was_sampled_together(tmp_path):
    steps = train(tmp_path, micro_batch=2, **KL_COV).steps
    for rollout in (steps[:UPDATES], steps[UPDATES:]):
        assert_chosen_among_all([part for step in rollout for part in step.parts])


def assert_chosen_among_all(parts):
    mask = joined(parts, "completion_mask").bool()
    assert len(mask) == ROWS
    logp_old = joined(parts, "old_per_token_logps")
    advantages = joined(parts, "advantages").unsqueeze(1).expand_as(logp_old)
    covariance = token_covariance(logp_old, advantages, mask)
    expected = select_largest(covariance, mask, penalty_fraction=0.2)
    assert torch.equal(joined(parts, "selected_mask"), expected)


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory):
    """The records of both, for each loss."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    environment["MASTER_PORT"] = str(free_port())
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.integrations.trl_world", str(folder)],
            cwd=ROOT,
            env=environment | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.DEVNULL,
        )
        for rank in "01"
    ]
    try:
        assert [process.wait(timeout=400) for process in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
    return [torch.load(folder / f"rank-{rank}.pt") for rank in "01"]


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_choose_together(method, of_two_processes):
    """Each has half of every step's rows; choice and gradients are those of all of them."""
    records = [record[method] for record in of_two_processes]
    rollouts = []
    for one, other in zip(*records, strict=True):
        step = SimpleNamespace(**one | {"parts": one["parts"] + other["parts"]})
        # Each process scales its loss for the mean over processes that its gradient goes into.
        step.losses = [loss / 2 for loss in one["losses"] + other["losses"]]
        assert_this_packages(step, method)
        rollouts.append(step.parts)
    if method == "kl_cov":
        # The first process's rows of a rollout come before the second's.
        halves = [[p for parts in rollouts[:UPDATES] for p in parts[h:][:2]] for h in (0, 2)]
        assert_chosen_among_all(halves[0] + halves[1])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def assert_same_training(one, other):
    torch.testing.assert_close(one.weights, other.weights, rtol=1e-4, atol=2e-6)
    for mine, theirs in zip(one.log[:-1], other.log[:-1], strict=True):
        for name in ("loss", "entropy", "cov/selected_fraction", "cov/kl_old_new_nats"):
            assert theirs[name] == pytest.approx(mine[name], rel=1e-3, abs=2e-5), name


@pytest.mark.parametrize("case", ["clip_cov", "kl_cov", "kl_cov, terms and iterations"])
def test_micro_batches_do_not_change_the_result(case, tmp_path):
    """One micro-batch of 8 rows a step, or eight of one row."""
    settings = METHODS[case.partition(",")[0]]
    if "terms" in case:
        settings = {**settings, "entropy_coef": 0.05, "beta": 0.1, "num_iterations": 2}
        settings["covariance_scope"] = "mini_batch"
        settings["loss_aggregation"] = "sequence_mean_token_sum"
    whole = train(tmp_path, micro_batch=8, **settings)
    plain = train(tmp_path, micro_batch=8, loss_type="dapo")
    assert not torch.allclose(whole.weights, plain.weights)
    split = train(tmp_path, micro_batch=1, **settings)
    assert any(row.get("cov/selected_fraction", 0) > 0 for row in whole.log)
    assert_same_training(whole, split)


def test_micro_batch_scope_is_another_method_at_each_size(tmp_path):
    """The released code's scope: with one sequence a micro-batch the covariance is 0."""
    settings = {**CLIP_COV, "covariance_scope": "micro_batch", "max_steps": UPDATES}
    whole = train(tmp_path, micro_batch=8, **settings)
    split = train(tmp_path, micro_batch=1, **settings)
    assert all(row["cov/selected_fraction"] > 0 for row in whole.log[:-1])
    assert all(row["cov/selected_fraction"] == 0 for row in split.log[:-1])
    with pytest.raises(AssertionError):
        assert_same_training(whole, split)


def test_terms_are_this_packages(tmp_path):
    """Entropy bonus and reference KL, in value: TRL's settings, means over the step's tokens."""
    done = train(tmp_path, micro_batch=4, max_steps=2, beta=0.5, entropy_coef=0.3, **KL_COV)
    step = done.steps[1]
    mask = joined(step.parts, "completion_mask").bool()
    now = [log_probabilities(step.weights, part) for part in step.parts]
    logp_new, entropy = (torch.cat([row[i] for row in now]) for i in (1, 2))
    before = dict(tiny_model().named_parameters())
    logp_ref = torch.cat([log_probabilities(before, part)[1] for part in step.parts])
    out = kl_cov_loss(
        logp_new,
        joined(step.parts, "old_per_token_logps"),
        joined(step.parts, "advantages").unsqueeze(1).expand_as(logp_new),
        mask,
        penalty_coefficient=2.0,
        selected_mask=joined(step.parts, "selected_mask"),
    )
    plain = out.loss.item()
    out = with_entropy_bonus(out, entropy, mask, coefficient=0.3)
    out = with_reference_kl(out, logp_new, logp_ref, mask, coefficient=0.5)
    assert abs(out.loss.item() - plain) > 0.01
    assert sum(step.losses).item() == pytest.approx(out.loss.item(), rel=1e-4, abs=1e-5)
    logged = done.log[1]
    assert logged["entropy"] == pytest.approx(entropy[mask].mean().item(), rel=1e-4)


def test_trls_own_losses_are_untouched(tmp_path):
    log = train(tmp_path, micro_batch=4, loss_type="dapo", max_steps=2).log
    assert "clip_ratio/region_mean" in log[0]
    assert not any(name.startswith("cov/") for name in log[0])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"penalty_fraction": 2}, "for 2 percent write 0.02"),
        ({"covariance_scope": "minibatch"}, "mini_batch"),
        ({"importance_sampling_level": "sequence"}, "importance_sampling_level = sequence"),
        ({"delta": 4.0}, "delta = 4.0"),
        ({"steps_per_generation": 1}, "gradient 0"),
        ({"steps_per_generation": 3, "gradient_accumulation_steps": 2}, "give a multiple"),
        ({"loss_type": "KL_COV"}, "unknown loss_type 'KL_COV': did you mean 'kl_cov'"),
        ({"loss_type": "clip-cov"}, "unknown loss_type 'clip-cov': did you mean 'clip_cov'"),
        ({"loss_type": "DAPO"}, "unknown loss_type 'DAPO': did you mean 'dapo'"),
        ({"loss_type": ""}, "unknown loss_type '': known: bnpo"),
        ({"loss_type": None}, "unknown loss_type 'None'"),
        ({"beta": -0.1}, "beta = -0.1: give a number of 0 or more"),
        ({"beta": float("nan")}, "beta = nan: give a number of 0 or more"),
        ({"entropy_coef": True}, "entropy_coef = True: give a number of 0 or more"),
        ({"penalty_coefficient": True}, "penalty_coefficient = true"),
        ({"minimum_tokens": True}, "minimum_tokens = true"),
        ({"log_ratio_clamp": 0}, "log_ratio_clamp = 0"),
        ({"kl_estimator": "K3"}, "did you mean 'k3'"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(settings, said, tmp_path):
    with pytest.raises(UserError, match=said) as refused:
        make_trainer(tmp_path, **{**KL_COV, **settings})
    assert "\n" not in str(refused.value)


def test_the_loss_types_are_those_that_trl_names():
    """A type that TRL adds is to be added here."""
    from trl import GRPOConfig

    from entropy_mech.integrations.trl import METHODS, TRLS_OWN, CovGRPOConfig

    said = GRPOConfig.__dataclass_fields__["loss_type"].metadata["help"].partition(". '")[0]
    assert set(re.findall("'([a-z_]+)'", said)) == set(TRLS_OWN)
    assert CovGRPOConfig.loss_type in METHODS


def test_a_plain_configuration_is_refused(tmp_path):
    from trl import GRPOConfig

    from entropy_mech.integrations.trl import CovGRPOTrainer

    with pytest.raises(UserError, match="give a CovGRPOConfig"):
        CovGRPOTrainer("model", args=GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False))
