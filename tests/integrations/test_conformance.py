"""The conformance suite: right losses pass, and each defect is found for what it is."""

import warnings
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from entropy_mech.cli import UserError
from entropy_mech.integrations.conformance import (
    BAND,
    EXAMINED,
    FRACTION,
    Tokens,
    each_alone,
    examine,
    table_head,
    table_row,
)
from entropy_mech.objectives import clip_cov_loss, kl_cov_loss
from tests.integrations import conformance_losses as losses
from tests.integrations.conformance_losses import clip_cov, drawn, kl_cov, largest

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "integrations.md"
AS_RELEASED = ["scope", "one_response"]  # what a loss that sees one micro-batch cannot do

RIGHT = {
    "kl_cov": [kl_cov, partial(kl_cov, choose=partial(largest, least=0)),
               lambda *b: kl_cov_loss(*b, penalty_fraction=FRACTION)],
    "clip_cov": [clip_cov, partial(clip_cov, choose=partial(drawn, least=0)),
                 lambda *b: clip_cov_loss(*b, clip_fraction=FRACTION, cov_low=BAND[0],
                                          cov_high=BAND[1])],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize(("method", "number"), [(m, n) for m in RIGHT for n in range(3)])
def test_a_right_loss_departs_in_its_scope_alone(method, number):
    report = examine(each_alone(RIGHT[method][number]), method)
    assert report.wrong == AS_RELEASED, report.text()
    assert report.found("scope") == "micro-batch"


def over_the_step(loss):
    """The loss of all micro-batches in one piece: what the text of the paper says."""
    return lambda parts: loss(*Tokens(*map(torch.cat, zip(*parts, strict=True))))


@pytest.mark.parametrize(("method", "loss"), [("kl_cov", kl_cov), ("clip_cov", clip_cov)])
def test_a_right_step_conforms(method, loss):
    report = examine(over_the_step(loss), method)
    assert report.conforms, report.text()
    other = examine(over_the_step(loss), {"kl_cov": "clip_cov"}.get(method, "kl_cov"))
    assert "method" in other.wrong


# Defect, method, loss, the check that must find it, what it must say.
DEFECTS = {
    "in percent": ("kl_cov", partial(kl_cov, choose=partial(largest, fraction=FRACTION / 100)),
                   "share", "percent"),
    "Clip-Cov in percent": (
        "clip_cov", partial(clip_cov, choose=partial(drawn, fraction=FRACTION / 100)),
        "share", "percent"),
    "log p x A": ("kl_cov", partial(kl_cov, scores=losses.uncentred), "tokens", "not those of"),
    "one mean": ("kl_cov", partial(kl_cov, scores=losses.half_centred), "tokens",
                 "not those of"),
    "padding in the means": ("kl_cov", partial(kl_cov, scores=losses.padding_in_means), "tokens",
                             "not those of"),
    "the smallest": ("kl_cov", partial(kl_cov, scores=lambda *b: -losses.covariance(*b)), "tokens",
                     "not those of"),
    "the absolute": ("kl_cov", partial(kl_cov, scores=lambda *b: losses.covariance(*b).abs()
                                       .nan_to_num(posinf=0)), "tokens", "not those of"),
    "log p alone": ("kl_cov", partial(kl_cov, scores=lambda logp, a, m: logp.detach()), "tokens",
                    "not those of"),
    "A alone": ("kl_cov", partial(kl_cov, scores=lambda logp, a, m: a + 1e-4 * logp.detach()),
                "tokens", "not those of"),
    "at random": ("kl_cov", partial(kl_cov, scores=lambda logp, a, m: torch.rand(a.shape)),
                  "tokens", "not those of"),
    "Clip-Cov, log p x A": ("clip_cov", partial(clip_cov, scores=losses.uncentred), "tokens",
                            "not those of"),
    "each response": ("kl_cov", partial(kl_cov, scores=losses.each_response,
                                        choose=losses.largest_of_each_response),
                      "scope", "response"),
    "Clip-Cov, each response": ("clip_cov", partial(clip_cov, scores=losses.each_response),
                                "method", "no token"),
    "ties": ("kl_cov", partial(kl_cov, choose=losses.at_least_the_last), "ties", "for"),
    "a share of all places": ("kl_cov", partial(kl_cov, choose=losses.from_padding_too), "tokens",
                              "not those of"),
    "a mean over all places": ("kl_cov", partial(kl_cov, mean=losses.over_all_places), "padding",
                               "width"),
    "a mask that multiplies": ("kl_cov", losses.unmasked_ratio, "inf", "NaN"),
    "an empty mask": ("kl_cov", partial(kl_cov, mean=losses.multiplied), "empty", "NaN"),
    "padding is trained on": ("kl_cov", losses.padding_trained, "padding", "gradient"),
    "log ratio without a sign": ("kl_cov", partial(kl_cov, penalty=lambda x: x), "ratio_1", "acts"),
    "a reward for moving": ("kl_cov", partial(kl_cov, sign=-1.0), "method", "a penalty, -1"),
    "a penalty without gradient": ("kl_cov", losses.value_alone, "method", "no token"),
    "a PPO clip beside KL-Cov": ("kl_cov", losses.kl_with_ppo_clip, "ppo_clip", "below 1.5"),
    "PPO's own clip beside Clip-Cov": ("clip_cov", partial(clip_cov, epsilon=0.2), "ppo_clip",
                                       "below 1.5"),
    "another method": ("kl_cov", losses.plain, "method", "no token"),
    "the other method": ("clip_cov", kl_cov, "method", "kl_cov"),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_found_for_what_it_is(name):
    method, loss, check, said = DEFECTS[name]
    report = examine(each_alone(loss), method)
    assert check in report.wrong, report.text()
    assert said in report.found(check), report.text()


@pytest.mark.parametrize("name", ["log p x A", "padding in the means", "ties", "in percent"])
def test_a_defect_is_found_over_the_whole_step_too(name):
    method, loss, check, said = DEFECTS[name]
    report = examine(over_the_step(loss), method)
    assert check in report.wrong, report.text()
    assert said in report.found(check), report.text()


def test_an_unknown_method_is_refused():
    with pytest.raises(UserError, match="did you mean 'kl_cov'"):
        examine(each_alone(kl_cov), "kl-cov")


HERE = [(name, method, make) for package, rows in EXAMINED.items() if find_spec(package)
        for name, method, make in rows]  # fmt: skip


@pytest.mark.parametrize(("name", "method", "make"), HERE, ids=[row[0] for row in HERE])
def test_the_table_of_the_guide_is_what_is_found(name, method, make):
    """`python -m entropy_mech.integrations.conformance` prints it; verl's in its environment."""
    lines = GUIDE.read_text().splitlines()
    assert all(line in lines for line in table_head())
    row = table_row(name, examine(make(), method))
    assert row in lines, row


def test_what_is_said_of_verl_is_what_its_formulas_do():
    """Verl is not installed beside TRL 1: the released formulas, by hand, give its lines."""
    for method, loss in (("kl_cov", kl_cov), ("clip_cov", clip_cov)):
        mine = table_row("", examine(each_alone(loss), method)).split("|")
        (line,) = [x for x in GUIDE.read_text().splitlines() if f"| verl's own `{method}` |" in x]
        scope = table_head()[0].split("|").index(" scope ")
        assert line.split("|")[scope : scope + 4] == mine[scope : scope + 4]
