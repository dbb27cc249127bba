"""Clip-Cov and KL-Cov in verl's real training worker are this package's, however it splits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from entropy_mech.objectives import (
    Aggregation,
    clip_cov_loss,
    kl_cov_loss,
    select_largest,
    token_covariance,
)
from tests.integrations.verl_world import (
    FRACTION,
    RESPONSE,
    ROWS,
    UPDATES,
    log_probabilities,
    rollout,
    save_model,
)
from tests.needs import needs_verl

pytestmark = [
    needs_verl,
    pytest.mark.filterwarnings("ignore::entropy_mech.objectives.InertPenaltyWarning"),
]
ROOT = Path(__file__).parents[2]
OURS = [f"{m}_{s}" for m in ("clip_cov", "kl_cov") for s in ("rollout_batch", "mini_batch")]
MEANS = ("seq-mean-token-mean", "seq-mean-token-sum-norm")
CASES = [*OURS, *(f"kl_cov_rollout_batch {mean}" for mean in MEANS)]


def argument(case, micro_batch):
    """A case of the program's: ``kl_cov_rollout_batch seq-mean-token-mean`` at a micro-batch."""
    mode, _, mean = case.partition(" ")
    return ",".join([mode, str(micro_batch), mean or "token-mean"])


def run(folder, size, cases):
    """Run the program on every rank; return what rank 0 saved."""
    (folder / "group").unlink(missing_ok=True)
    words = [sys.executable, "-W", "ignore", "-m", "tests.integrations.verl_world", str(folder)]
    logs = [open(folder / f"log-{rank}-of-{size}", "w") for rank in range(size)]  # noqa: SIM115
    ranks = [
        subprocess.Popen(
            [*words, str(rank), str(size), *cases],
            cwd=ROOT, env={**os.environ}, stdout=log, stderr=subprocess.STDOUT,
        )
        for rank, log in enumerate(logs)
    ]  # fmt: skip
    try:
        codes = [process.wait(timeout=500) for process in ranks]
    finally:
        for process, log in zip(ranks, logs, strict=True):
            process.kill()
            log.close()
    assert codes == [0] * size, Path(logs[0].name).read_text()[-3000:]
    return torch.load(folder / f"results-{size}.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("verl")
    save_model(path / "model")
    return path


@pytest.fixture(scope="module")
def results(folder):
    """All cases at one and at eight rows a micro-batch, verl's own losses too."""
    cases = [argument(case, rows) for case in [*CASES, "kl_cov", "clip_cov"] for rows in (1, 8)]
    return run(folder, 1, cases)


@pytest.mark.parametrize("case", CASES)
def test_micro_batches_do_not_change_the_result(case, results):
    whole, split = results[argument(case, 8)], results[argument(case, 1)]
    torch.testing.assert_close(whole["end"], split["end"], rtol=1e-4, atol=2e-6)
    for mine, theirs in zip(whole["steps"], split["steps"], strict=True):
        assert torch.equal(mine["chosen"], theirs["chosen"])


@pytest.mark.parametrize("mode", ["kl_cov", "clip_cov"])
def test_verls_own_losses_change_with_the_micro_batch(mode, results):
    whole, split = results[argument(mode, 8)], results[argument(mode, 1)]
    assert (whole["end"] - split["end"]).abs().max() > 1e-3


@pytest.mark.parametrize("case", CASES)
def test_tokens_and_gradients_are_this_packages(case, folder, results):
    """Each optimizer step again, in one piece, from its weights and the rollout alone."""
    done, batch = results[argument(case, 1)], rollout(folder / "model")
    mask, advantages = batch["response_mask"].bool(), batch["advantages"]
    mean = {
        "": Aggregation(),
        MEANS[0]: Aggregation("sequence_mean_token_mean"),
        MEANS[1]: Aggregation("sequence_mean_token_sum", normaliser_tokens=RESPONSE),
    }[case.partition(" ")[2]]
    everywhere = select_largest(
        token_covariance(batch["old_log_probs"], advantages, mask), mask, penalty_fraction=FRACTION
    )
    assert len(done["steps"]) == UPDATES
    assert any(step["chosen"].any() for step in done["steps"])
    for number, step in enumerate(done["steps"]):
        rows = torch.arange(ROWS).view(UPDATES, -1)[number]
        model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
        model.load_state_dict(dict(zip(done["names"], step["weights"], strict=True)), strict=False)
        logp_new = log_probabilities(model, batch["input_ids"][rows], batch["attention_mask"][rows])
        logp_old = batch["old_log_probs"][rows] if number else logp_new.detach()
        tensors = (logp_new, logp_old, advantages[rows], mask[rows])
        settings = {"selected_mask": step["chosen"], "aggregation": mean}
        if case.startswith("kl_cov"):
            expected = everywhere[rows]
            if "mini_batch" in case:
                covariance = token_covariance(logp_new, advantages[rows], mask[rows])
                expected = select_largest(covariance, mask[rows], penalty_fraction=FRACTION)
            assert torch.equal(step["chosen"], expected)
            out = kl_cov_loss(*tensors, penalty_coefficient=2.0, **settings)
        else:
            out = clip_cov_loss(*tensors, **settings)
        out.loss.backward()
        mine = dict(model.named_parameters())
        for name, gradient in zip(done["names"], step["gradients"], strict=True):
            torch.testing.assert_close(mine[name].grad, gradient, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def on_two_ranks(folder):
    return run(folder, 2, [argument(f"kl_cov_{s}", 1) for s in ("rollout_batch", "mini_batch")])


@pytest.mark.parametrize("scope", ["rollout_batch", "mini_batch"])
def test_two_ranks_choose_together(scope, results, on_two_ranks):
    """Over two FSDP ranks, where each sees half of every mini-batch."""
    case = argument(f"kl_cov_{scope}", 1)
    ranks = on_two_ranks[case]
    torch.testing.assert_close(ranks["end"], results[case]["end"], rtol=1e-4, atol=2e-6)
    for mine, whole in zip(ranks["steps"], results[case]["steps"], strict=True):
        assert torch.equal(mine["chosen"], whole["chosen"][: ROWS // UPDATES // 2])


def test_a_loss_without_its_worker_refuses(results):
    without_worker, unknown_mean = results["refusals"]
    assert "external_lib=entropy_mech.integrations.verl" in without_worker
    assert "token-mean" in unknown_mean
