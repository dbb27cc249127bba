"""A method that one place forgot is found here, with the name of the place.

``docs/guides/adding_an_objective.md`` lists the same places.
"""

import inspect
from typing import get_args, get_type_hints

import pytest

from entropy_mech.config import TrainConfig
from entropy_mech.train import update
from tests.invariants.world import CASES


def _sections(field):
    """The classes of a section's union, by the name that a run file gives."""
    annotation = TrainConfig.model_fields[field].annotation
    key = "method" if field == "loss" else "name"
    return {section.model_fields[key].default: section for section in get_args(annotation)}


LOSSES, ALGORITHMS = _sections("loss"), _sections("algorithm")


def test_the_trainer_has_a_function_for_every_loss_and_no_other():
    assert set(update._FUNCTIONS) == set(LOSSES)


@pytest.mark.parametrize("method", LOSSES)
def test_a_sections_settings_are_the_functions_keyword_arguments(method):
    parameters = inspect.signature(update._FUNCTIONS[method]).parameters
    keywords = {p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert set(LOSSES[method]().of_the_method()) <= keywords
    assert {"aggregation", "token_weights"} <= keywords


@pytest.mark.parametrize("method", LOSSES)
def test_a_loss_that_is_given_its_tokens_has_somebody_who_chooses_them(method):
    needs = "selected_mask" in inspect.signature(update._FUNCTIONS[method]).parameters
    chooses = get_args(get_type_hints(update.select_tokens)["loss"])
    assert (LOSSES[method] in chooses) == needs


def test_every_method_is_under_the_test_of_batch_splits():
    tested = {section: {case.get(section, {}).get(key) for case in CASES.values()}
              for section, key in (("loss", "method"), ("algorithm", "name"))}  # fmt: skip
    assert set(LOSSES) <= tested["loss"]
    assert set(ALGORITHMS) - {"grpo"} <= tested["algorithm"]  # GRPO is what every case has
