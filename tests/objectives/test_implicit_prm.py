"""The implicit PRM's loss by hand, split over batches, and what it learns."""

import math

import pytest
import torch

from entropy_mech.errors import UserError
from entropy_mech.objectives import implicit_prm_loss, implicit_process_rewards

MASK = torch.tensor([[True, True], [True, False], [True, True]])
LOGP_REF = torch.full((3, 2), -1.0, dtype=torch.float64)
LOGP_PRM = torch.tensor([[-0.5, -0.7], [-3.0, 99.0], [-1.5, -0.4]], dtype=torch.float64)
OUTCOMES = torch.tensor([1.0, 0.0, 0.0])


def test_loss_and_accuracy_by_hand():
    # Sums of log-ratios: 0.8, -2.0, 0.1; the last is taken for right and is wrong.
    loss, metrics = implicit_prm_loss(LOGP_PRM, LOGP_REF, MASK, OUTCOMES, beta=0.5)
    by_hand = [
        math.log1p(math.exp(-0.4)),  # -log sigmoid(0.4)
        math.log1p(math.exp(-1.0)),  # -log (1 - sigmoid(-1))
        math.log1p(math.exp(0.05)),
    ]
    assert loss.item() == pytest.approx(sum(by_hand) / 3, rel=1e-12)
    assert metrics["prm_accuracy"].item() == pytest.approx(2 / 3)
    assert metrics["prm_positive_fraction"].item() == pytest.approx(1 / 3)


def test_rewards_are_the_terms_of_the_score():
    rewards = implicit_process_rewards(LOGP_PRM, LOGP_REF, MASK, beta=0.5)
    assert rewards[0].tolist() == pytest.approx([0.25, 0.15])
    assert rewards[1].tolist() == pytest.approx([-1.0, 0.0])
    loss, _ = implicit_prm_loss(LOGP_PRM, LOGP_REF, MASK, OUTCOMES, beta=0.5)
    p = torch.sigmoid(rewards.sum(1))
    cross_entropy = -(OUTCOMES * p.log() + (1 - OUTCOMES) * (1 - p).log()).mean()
    assert loss.item() == pytest.approx(cross_entropy.item())


def test_parts_add_up_to_the_whole():
    def gradient(rows, **count):
        logp = LOGP_PRM.clone().requires_grad_()
        loss, metrics = implicit_prm_loss(
            logp[rows], LOGP_REF[rows], MASK[rows], OUTCOMES[rows], **count
        )
        loss.backward()
        return (loss, metrics), logp.grad

    whole, whole_gradient = gradient(slice(None))
    parts = [gradient(rows, sequence_count=3) for rows in (slice(0, 1), slice(1, 3))]
    assert sum(p[0] for p, _ in parts).item() == pytest.approx(whole[0].item(), rel=1e-12)
    torch.testing.assert_close(sum(g for _, g in parts), whole_gradient, rtol=1e-12, atol=0)
    for name, value in whole[1].items():
        assert sum(p[1][name] for p, _ in parts).item() == pytest.approx(value.item())
    assert (whole_gradient[~MASK] == 0).all()


def test_it_learns_which_token_makes_the_outcome():
    """Trained on outcomes alone, its reward is highest for the token that decides them."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(4, (256, 5), generator=generator)
    outcomes = ((tokens == 2).sum(1) >= 2).float()  # right where two 2s occur
    logits = torch.zeros(4, requires_grad=True)
    logp_ref = torch.full((256, 5), math.log(1 / 4))
    mask = torch.ones(256, 5, dtype=torch.bool)
    for _ in range(100):
        logp = torch.log_softmax(logits, -1)[tokens]
        loss, metrics = implicit_prm_loss(logp, logp_ref, mask, outcomes, beta=1.0)
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = (logits - gradient).detach().requires_grad_()
    assert logits.argmax() == 2
    constant_guess = 1 - metrics["prm_positive_fraction"]
    assert metrics["prm_accuracy"] > constant_guess + 0.1
    rewards = implicit_process_rewards(logp, logp_ref, mask, beta=1.0)
    assert rewards[tokens == 2].min() > rewards[tokens != 2].max()
    assert not rewards.requires_grad


def test_faults_are_named():
    with pytest.raises(UserError, match=r"algorithm\.prm_beta = 0"):
        implicit_prm_loss(LOGP_PRM, LOGP_REF, MASK, OUTCOMES, beta=0)
    with pytest.raises(ValueError, match="one a sequence"):
        implicit_prm_loss(LOGP_PRM, LOGP_REF, MASK, OUTCOMES[:2])
