"""The notebook of your own run says in one line what is wrong with what it was given."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from entropy_mech.errors import UserError

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "law_of_your_run.ipynb"


def execute(**given):
    """Run the code cells as papermill does: what is given is injected below the parameters."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    parameters, *rest = ("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    namespace: dict = {}
    exec(parameters, namespace)
    namespace.update(given)
    for code in rest:
        exec(code, namespace)
    plt.close("all")
    return namespace["report"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"entropy_colum": "h"},
            "unknown parameter 'entropy_colum': did you mean 'entropy_column'",
        ),
        ({"Log": "run.csv"}, "unknown parameter 'Log': did you mean 'log'"),
        ({"steps": 5}, "unknown parameter 'steps'"),
        ({"forecast_fraction": "two"}, "forecast_fraction = two: give a fraction"),
        ({"forecast_fraction": 15}, "forecast_fraction = 15: give a fraction"),
        ({"forecast_fraction": True}, "forecast_fraction = True: give a fraction"),
        ({"log": 3}, "log = 3: give a name in quotes"),
        ({"step_column": 1}, "step = 1: give a name in quotes"),
        ({"log": "no.csv"}, "log = no.csv: no such file"),
    ],
)
def test_a_mistyped_parameter_is_one_line(given, said):
    with pytest.raises(UserError) as caught:
        execute(**given)
    assert str(caught.value).startswith(said)


def test_without_a_log_and_with_one_that_is_no_law(tmp_path, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: None)
    assert execute().course.is_law
    rising = pd.DataFrame({"entropy": np.linspace(0.2, 0.9, 40), "accuracy": np.linspace(0, 1, 40)})
    rising.to_csv(tmp_path / "log.csv", index=False)
    assert execute(log=str(tmp_path / "log.csv")).course.name == "rises"
