"""Token log-probability and entropy from hidden states, all at once and tile by tile.

The references are the naive form (log-softmax, gather, -sum p log p, all by autograd), float64 and
mpmath.
"""

import itertools
import math

import mpmath
import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from entropy_mech.errors import UserError
from entropy_mech.objectives import logprobs, logprobs_and_entropy, token_entropy

QWEN_VOCABULARY = 151_936
# For N = 3 and V = 4: tiles that divide neither, either, both; one larger than the problem.
TILES = [(2, 3), (3, 2), (1, 1), (100, 100)]
NAMES = ("chunk_tokens", "block_words")


def problem(n=7, v=11, d=5, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, d, generator=generator, dtype=torch.float64)
    head = torch.randn(v, d, generator=generator, dtype=torch.float64) * 2 / math.sqrt(d)
    tokens = torch.randint(v, (n,), generator=generator)
    return hidden.to(dtype).requires_grad_(), head.to(dtype).requires_grad_(), tokens


def naive(hidden, head, tokens, temperature=1.0):
    logits = (hidden @ head.T).to(torch.promote_types(hidden.dtype, torch.float32))
    logp_all = torch.log_softmax(logits, dim=-1)
    logp = torch.log_softmax(logits / temperature, dim=-1).gather(1, tokens[:, None])[:, 0]
    return logp, -(logp_all.exp() * logp_all).sum(-1)


def gradients(form, hidden, head, tokens, weights, **settings):
    """d/d(hidden, head) of sum(weights[0] logp + weights[1] entropy), and the values."""
    logp, entropy = form(hidden, head, tokens, **settings)
    total = (weights[0] * logp).sum() + (weights[1] * entropy).sum()
    return logp, entropy, *torch.autograd.grad(total, (hidden, head))


def assert_near(ours, reference, tolerance):
    """Within ``tolerance`` of the reference's largest entry."""
    assert ours.shape == reference.shape
    error = (ours.double() - reference.double()).abs().max() / reference.double().abs().max()
    assert error < tolerance, f"relative error {error:.2e}"


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
@pytest.mark.parametrize("tile", [None, *TILES])
def test_gradients_are_those_of_finite_differences(tile, temperature):
    """Of both, of each alone, with a frozen head and with frozen hidden states."""
    hidden, head, tokens = problem(n=3, v=4, d=2)
    settings = {"temperature": temperature, **(dict(zip(NAMES, tile, strict=True)) if tile else {})}

    def both(h, w):
        return logprobs_and_entropy(h, w, tokens, entropy_gradient=True, **settings)

    def logp_alone(h, w):
        return logprobs_and_entropy(h, w, tokens, **settings)[0]

    for values in (both, logp_alone, lambda h, w: both(h, w)[1]):
        assert torch.autograd.gradcheck(values, (hidden, head))
    assert torch.autograd.gradcheck(lambda h: both(h, head.detach()), (hidden,))
    assert torch.autograd.gradcheck(lambda w: both(hidden.detach(), w), (head,))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_tiles_agree_with_the_naive_form_in_float32(temperature):
    """Values and gradients within 1e-5, at sizes that no tile divides; the plain path too."""
    hidden, head, tokens = problem(n=130, v=4099, d=48, dtype=torch.float32)
    weights = torch.randn(2, 130, generator=torch.Generator().manual_seed(1))
    settings = {"temperature": temperature}
    reference = gradients(naive, hidden, head, tokens, weights, **settings)
    plain = {}  # 130 * 4,099 logits are below the threshold
    for tile in (plain, {"chunk_tokens": 50, "block_words": 1000}, {"block_words": 7}):
        ours = gradients(
            logprobs_and_entropy,
            *(hidden, head, tokens, weights),
            **{"entropy_gradient": True, **settings, **tile},
        )
        for mine, theirs in zip(ours, reference, strict=True):
            assert_near(mine, theirs, 1e-5)


def test_the_path_is_chosen_by_the_number_of_logits(monkeypatch):
    """Just above the threshold and just below it the same problem gives the same answer."""
    hidden, head, tokens = problem(n=9, v=40, dtype=torch.float32)
    weights = torch.ones(2, 9)
    results, forms = [], []
    for limit in (9 * 40, 9 * 40 - 1):
        monkeypatch.setattr(logprobs, "PLAIN_LOGITS", limit)
        results.append(
            gradients(logprobs_and_entropy, hidden, head, tokens, weights, entropy_gradient=True)
        )
        forms.append(type(results[-1][0].grad_fn).__name__)
    assert forms == ["SqueezeBackward1", "_ChunkedHeadBackward"]
    for plain, tiled in zip(*results, strict=True):
        assert_near(tiled, plain, 1e-5)


@pytest.mark.parametrize("tile", [{}, {"chunk_tokens": 4, "block_words": 3}])
def test_what_is_differentiable(tile):
    hidden, head, tokens = problem(dtype=torch.float32)
    logp, entropy = logprobs_and_entropy(hidden, head, tokens, **tile)
    assert logp.requires_grad
    assert not entropy.requires_grad
    frozen_head, frozen_hidden = head.detach(), hidden.detach()
    logprobs_and_entropy(hidden, frozen_head, tokens, **tile)[0].sum().backward()
    logprobs_and_entropy(frozen_hidden, head, tokens, **tile)[0].sum().backward()
    assert hidden.grad.abs().max() > 0
    assert head.grad.abs().max() > 0
    assert frozen_head.grad is None
    assert frozen_hidden.grad is None
    with torch.no_grad():
        assert not logprobs_and_entropy(hidden, head, tokens, **tile)[0].requires_grad


def test_a_tied_head_gets_both_gradients():
    """The same weight embeds and predicts; its gradient is the sum of the two uses."""
    _, weight, tokens = problem(dtype=torch.float64)
    total = {}
    for form, tile in ((naive, {}), (logprobs_and_entropy, {"chunk_tokens": 2, "block_words": 4})):
        logp, _ = form(torch.tanh(weight[tokens]), weight, tokens.roll(1), **tile)
        (total[form],) = torch.autograd.grad(logp.sum(), weight)
    torch.testing.assert_close(total[logprobs_and_entropy], total[naive])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tile", [{}, {"chunk_tokens": 8, "block_words": 300}])
def test_half_precision_is_summed_in_float32(dtype, tile):
    """The inputs alone are rounded: neither the logits nor the sums over words are."""
    hidden, head, tokens = problem(n=20, v=2000, d=16, dtype=dtype)
    weights = torch.ones(2, 20)
    logp, entropy, *ours = gradients(
        logprobs_and_entropy, hidden, head, tokens, weights, entropy_gradient=True, **tile
    )
    assert logp.dtype == entropy.dtype == torch.float32
    logits = hidden.detach().double() @ head.detach().double().T
    exact = torch.log_softmax(logits, dim=-1)
    assert_near(logp, exact.gather(1, tokens[:, None])[:, 0], 1e-6)
    assert_near(entropy, -(exact.exp() * exact).sum(-1), 1e-6)
    wide = [tensor.detach().double().requires_grad_() for tensor in (hidden, head)]
    for mine, theirs in zip(ours, gradients(naive, *wide, tokens, weights)[2:], strict=True):
        assert mine.dtype == dtype
        assert_near(mine, theirs, 16 * torch.finfo(dtype).eps)


def test_small_weights_of_the_loss_do_not_underflow_in_float16():
    """A probability of 1e-3 times a token's weight of 1e-5 is 0 in float16."""
    hidden, head, tokens = problem(n=20, v=2000, d=16, dtype=torch.float16)
    logp, _ = logprobs_and_entropy(hidden, head, tokens, chunk_tokens=8)
    (unit,) = torch.autograd.grad(logp.sum(), hidden, retain_graph=True)
    (small,) = torch.autograd.grad(1e-5 * logp.sum(), hidden)
    assert_near(small, 1e-5 * unit.double(), 1e-2)


@pytest.mark.parametrize("gap", [0.0, 8.0, 20.0, 35.0, 60.0])
def test_near_deterministic_policies_keep_their_entropy(gap):
    """One likely word among 151,936, from 11.9 nats down to 1e-19: all digits of H and 1 - p.

    A hidden size of 1 makes the logits exact: the gap at word 7, zero elsewhere.
    """
    hidden = torch.tensor([[gap]])
    head = torch.zeros(QWEN_VOCABULARY, 1)
    head[7] = 1.0
    with mpmath.workdps(50):
        others = (QWEN_VOCABULARY - 1) * mpmath.exp(-gap)
        logp = -mpmath.log1p(others)
        entropy = float(-logp + others * gap / (1 + others))
        by_hidden = float(others / (1 + others))  # 1 - p of the likely word
        logp = float(logp)
    logits = (hidden @ head.T)[0]
    assert token_entropy(logits).item() == pytest.approx(entropy, rel=2e-6)
    hidden.requires_grad_()
    ours, ours_entropy = logprobs_and_entropy(
        hidden, head, torch.tensor([7]), block_words=8192, entropy_gradient=True
    )
    assert ours_entropy.item() == pytest.approx(entropy, rel=2e-6)
    assert ours.item() == pytest.approx(logp, rel=2e-6)
    (gradient,) = torch.autograd.grad(ours.sum(), hidden, retain_graph=True)
    assert gradient.item() == pytest.approx(by_hidden, rel=2e-6)
    # dH/d(gap) = -gap p (1 - p), since H depends on the gap alone.
    (gradient,) = torch.autograd.grad(ours_entropy.sum(), hidden)
    assert gradient.item() == pytest.approx(-gap * by_hidden * (1 - by_hidden), rel=1e-5)


def test_entropy_of_a_spread_policy_at_vocabulary_size():
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(4, 16, generator=generator)
    head = torch.randn(QWEN_VOCABULARY, 16, generator=generator)
    tokens = torch.randint(QWEN_VOCABULARY, (4,), generator=generator)
    ours = logprobs_and_entropy(hidden, head, tokens, chunk_tokens=3)
    for mine, exact in zip(ours, naive(hidden.double(), head.double(), tokens), strict=True):
        assert_near(mine, exact, 1e-6)


def test_entropy_with_impossible_words_has_a_gradient():
    logits = torch.tensor([0.0, 1.0, -math.inf], requires_grad=True)
    possible = torch.tensor([0.0, 1.0], requires_grad=True)
    ours, reference = token_entropy(logits), token_entropy(possible)
    assert ours.item() == pytest.approx(reference.item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(ours, logits)
    assert gradient.tolist() == [*torch.autograd.grad(reference, possible)[0].tolist(), 0.0]


def test_token_entropy_is_differentiable():
    logits = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(token_entropy, (logits,))
    tied = torch.zeros(1, 6, dtype=torch.float64, requires_grad=True)  # all words are likeliest
    (gradient,) = torch.autograd.grad(token_entropy(tied).sum(), tied)
    assert gradient.abs().max() < 1e-15


def test_a_weight_that_is_sharded_between_the_passes():
    """As under ZeRO-3: values leave the parameter after the forward pass and come back later.

    Nothing may keep them alive in between, and the backward pass must read the new copy.
    """
    hidden, reference, tokens = problem(dtype=torch.float32)
    whole = reference.detach().clone()
    head = torch.nn.Parameter(torch.empty(0))
    head.data = whole.clone()
    logp, _ = logprobs_and_entropy(hidden, head, tokens, chunk_tokens=3, block_words=4)
    gathered = StorageWeakRef(head.untyped_storage())
    head.data = torch.empty(0)
    assert gathered.expired()
    head.data = whole.clone()
    logp.sum().backward()
    (expected,) = torch.autograd.grad(naive(hidden, reference, tokens)[0].sum(), reference)
    assert_near(head.grad, expected, 1e-5)


def test_logits_of_all_tokens_never_exist():
    """The largest tensor that either pass makes, but for the head's own gradient, is a tile."""

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, op, types, args=(), kwargs=None):
            out = op(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else [out]:
                if isinstance(tensor, torch.Tensor):
                    storage = tensor.untyped_storage().nbytes() // tensor.element_size()
                    self.numbers = max(self.numbers, storage)
            return out

    n, v, d = 60, 300, 4
    hidden, head, tokens = problem(n=n, v=v, d=d, dtype=torch.float32)
    for extra in itertools.product([1.0, 0.8], [False, True]):
        settings = dict(zip(("temperature", "entropy_gradient"), extra, strict=True))
        with Largest() as largest:
            logp, entropy = logprobs_and_entropy(
                hidden, head, tokens, chunk_tokens=20, block_words=60, **settings
            )
            (logp.sum() + entropy.sum()).backward()
        assert 0 < largest.numbers <= max(2 * 20 * 60, v * d)


class Operations(TorchDispatchMode):
    """Counts multiplications of matrix products, and new tensors of the head's shape."""

    def __init__(self, head):
        super().__init__()
        self.head, self.multiplications, self.gradients = head, 0, 0

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        out = op(*args, **(kwargs or {}))
        if op.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm_):
            left, right = args[-2:]
            self.multiplications += left.shape[0] * left.shape[1] * right.shape[1]
        elif op.overloadpacket is torch.ops.aten.new_empty:
            self.gradients += out.shape == self.head.shape
        return out


@pytest.mark.parametrize(("tokens", "products"), [(5, 3.0), (8, 3.0), (16, 3.5), (100, 4.0)])
def test_logits_kept_in_the_gradients_memory_are_not_computed_twice(tokens, products):
    """With 8 hidden units a word's gradient holds 8 logits: all of 8 tokens, half of 16.

    Of 100 tokens it would hold so few that the products with them would be thin: none is kept.
    """
    hidden, head, ids = problem(n=tokens, v=64, d=8)
    with Operations(head) as done:
        logprobs_and_entropy(hidden, head, ids, block_words=16)[0].sum().backward()
    assert done.multiplications == products * tokens * 64 * 8
    assert done.gradients == 1


def test_nothing_is_kept_where_no_gradient_of_the_head_is_asked_for():
    hidden, head, tokens = problem()
    with Operations(head) as done:
        logprobs_and_entropy(hidden, head.detach(), tokens, block_words=4)[0].sum().backward()
        with torch.no_grad():
            logprobs_and_entropy(hidden, head, tokens, block_words=4)
    assert done.multiplications > 0
    assert done.gradients == 0


def test_a_second_backward_pass_gives_the_same():
    """The first has overwritten the kept logits."""
    hidden, head, tokens = problem(n=7, v=11, d=5)
    tile = {"chunk_tokens": 4, "block_words": 4}
    logp, entropy = logprobs_and_entropy(hidden, head, tokens, entropy_gradient=True, **tile)
    total = (logp * entropy).sum()
    first = torch.autograd.grad(total, (hidden, head), retain_graph=True)
    for again, before in zip(torch.autograd.grad(total, (hidden, head)), first, strict=True):
        torch.testing.assert_close(again, before)


@pytest.mark.parametrize("tile", [{}, {"chunk_tokens": 4}])
def test_no_token_at_all_still_has_a_graph(tile):
    """A rank without tokens must be able to go through the joint backward pass."""
    hidden, head, _ = problem()
    none = torch.zeros(0, dtype=torch.long)
    logp, entropy = logprobs_and_entropy(hidden[:0], head, none, **tile)
    assert logp.shape == entropy.shape == (0,)
    logp.sum().backward()
    assert head.grad.abs().max() == 0


@pytest.mark.parametrize("tokens", [[0, 11, 1], [0, 1, -1]])
def test_a_token_that_is_no_word_is_refused(tokens):
    hidden, head, _ = problem(n=3)
    with pytest.raises(IndexError, match=r"words from 0 to 10"):
        logprobs_and_entropy(hidden, head, torch.tensor(tokens), chunk_tokens=2)
    with pytest.raises(IndexError, match=r"words from 0 to 10"):
        logprobs_and_entropy(hidden, head, torch.tensor(tokens))
    with pytest.raises(ValueError, match=r"hidden and tokens have shapes \(3, \d+\) and \(2,\)"):
        logprobs_and_entropy(hidden, head, torch.tensor([0, 1]))


@pytest.mark.parametrize("name", ["temperature", *NAMES])
def test_settings_that_are_not_positive_are_refused(name):
    with pytest.raises(UserError, match=f"{name} = 0: give a positive number"):
        logprobs_and_entropy(*problem(), **{name: 0})
