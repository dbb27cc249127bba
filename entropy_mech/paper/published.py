"""The paper's models, its printed and digitised numbers, and the law fitted to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from entropy_mech.errors import unknown_name
from entropy_mech.law.fit import compare_forms, fit_law

# -- Models of all profiles: what run files call them, and how figures label them --------------


@dataclass(frozen=True)
class BaseModel:
    """A model of the paper, in the toy profile the tiny one that stands for it; or a small one.

    Attributes:
        name: as in file names, ``qwen2.5_7b``.
        label: as in the paper's figures.
        family: the panel of Figs. 3 and 4 that it is drawn in.

    """

    name: str
    label: str
    family: str


BASE_MODELS = {
    model.name: model
    for model in (
        BaseModel("qwen2.5_0.5b", "Qwen2.5-0.5B", "Qwen2.5"),
        BaseModel("qwen2.5_1.5b", "Qwen2.5-1.5B", "Qwen2.5"),
        BaseModel("qwen2.5_3b", "Qwen2.5-3B", "Qwen2.5"),
        BaseModel("qwen2.5_7b", "Qwen2.5-7B", "Qwen2.5"),
        BaseModel("qwen2.5_32b", "Qwen2.5-32B", "Qwen2.5"),
        BaseModel("mistral_7b", "Mistral-7B-v0.3", "Mistral"),
        BaseModel("mistral_nemo_12b", "Mistral-Nemo-12B", "Mistral"),
        BaseModel("mistral_small_24b", "Mistral-Small-24B", "Mistral"),
        BaseModel("llama3.2_3b", "LLaMA3.2-3B", "LLaMA and DeepSeek-Math"),
        BaseModel("llama3.1_8b", "LLaMA3.1-8B", "LLaMA and DeepSeek-Math"),
        BaseModel("deepseek_math_7b", "DeepSeek-Math-7B", "LLaMA and DeepSeek-Math"),
        BaseModel("1.5b_instruct", "Qwen2.5-1.5B-Instruct", "Qwen2.5-Instruct"),
        BaseModel("3b_instruct", "Qwen2.5-3B-Instruct", "Qwen2.5-Instruct"),
        BaseModel("7b_instruct", "Qwen2.5-7B-Instruct", "Qwen2.5-Instruct"),
        # Not the paper's: what one CPU core or one GPU can train.
        BaseModel("0.5b_instruct", "Qwen2.5-0.5B-Instruct", "Qwen2.5-Instruct"),
        BaseModel("llama3.2_1b", "LLaMA3.2-1B", "LLaMA and DeepSeek-Math"),
        BaseModel("smollm2_135m", "SmolLM2-135M", "SmolLM2"),
        BaseModel("smollm2_360m", "SmolLM2-360M", "SmolLM2"),
        BaseModel("smollm2_1.7b", "SmolLM2-1.7B", "SmolLM2"),
        BaseModel("smollm2_135m_instruct", "SmolLM2-135M-Instruct", "SmolLM2"),
    )
}


def model_of_run(run: str, profile: str = "paper") -> BaseModel:
    """Return the model that a run trains, by the name of its file and the profile.

    The toys have the names of those that they stand for. In profile smollm one model stands for
    all, and in one_gpu Qwen2.5-1.5B for the 7B.

    >>> model_of_run("fig03_mistral_7b").label, model_of_run("fig11_32b_kl_cov").label
    ('Mistral-7B-v0.3', 'Qwen2.5-32B')
    """
    if profile in ("smollm", "kept_smollm"):
        return BASE_MODELS["smollm2_135m_instruct"]
    _, _, rest = run.partition("_")
    if rest not in BASE_MODELS:
        rest = "qwen2.5_32b" if rest.startswith("32b") else "qwen2.5_7b"
    if profile == "one_gpu" and rest == "qwen2.5_7b":
        rest = "qwen2.5_1.5b"
    return BASE_MODELS[rest]


# -- Printed and digitised numbers ---------------------------------------------------------------

_DATA = Path(__file__).parent / "data"
FIGURES = tuple(sorted(path.stem for path in _DATA.glob("fig*.csv")))
SIZES = ("0.5B", "1.5B", "3B", "7B", "32B")


def load(figure: str) -> pd.DataFrame:
    """Return the readings of one figure; they are readings of a plot, not the authors' logs.

    - ``fig01_right``: model, entropy_nats, accuracy_pct, kind (``point`` or ``drawn_curve``),
      visible_fraction and reading errors. No training step is shown in that panel.
    - ``fig01_left``, ``fig08_left``, ``fig08_right``: series, step, value, reading_error.
    - ``fig11``, ``fig11_accuracy_7b``: model, metric, method, step, value, reading_error.

    Entropy is in nats, accuracy in percent, response length in tokens; ``reading_error`` has the
    unit of its value and covers the reading alone. Raises ``UserError`` for an unknown figure.

    >>> load("fig01_left").groupby("series")["value"].first().to_dict()
    {'test_accuracy_pct': 21.4141, 'training_entropy': 0.5457}
    """
    if figure not in FIGURES:
        raise unknown_name("published figure", figure, FIGURES)
    return _read(figure)


def scatter(model: str) -> tuple[pd.Series, pd.Series]:
    """Return entropy (nats) and accuracy (fractions) of the points of Fig. 1 right for one size.

    Points are in order of falling entropy, which is close to, but not known to be, training order.

    >>> entropy, accuracy = scatter("32B")
    >>> len(entropy), float(entropy.iloc[0]), float(accuracy.iloc[0].round(5))
    (53, 0.61492, 0.2381)
    """
    if model not in SIZES:
        raise unknown_name("model of Fig. 1 right", model, SIZES)
    frame = load("fig01_right")
    frame = frame[(frame["model"] == model) & (frame["kind"] == "point")]
    frame = frame.sort_values("entropy_nats", ascending=False, ignore_index=True)
    return frame["entropy_nats"], frame["accuracy_pct"] / 100.0


def curve_coefficients() -> pd.DataFrame:
    """Return the law's coefficients as drawn in Fig. 1 right, one row a Qwen2.5 size.

    Columns: parameters_billion (non-embedding), a, b, ceiling = b - a; performance in fractions.
    The drawn curves have exactly the form -a exp(H) + b and give (a, b) to about 0.3 %.

    >>> curve_coefficients().loc["7B"].round(4).to_dict()
    {'parameters_billion': 6.53, 'a': 0.2103, 'b': 0.5972, 'ceiling': 0.3869}
    """
    frame = _read("curve_coefficients").set_index("model")
    frame["a"], frame["b"] = frame.pop("a_pct") / 100.0, frame.pop("b_pct") / 100.0
    frame["ceiling"] = frame["b"] - frame["a"]
    return frame


def table1() -> pd.DataFrame:
    """Return Table 1: mean token covariance of the top fractions of tokens, Qwen2.5-7B, step 1.

    >>> table1().iloc[0].to_dict()
    {'top_fraction': 0.0002, 'mean_covariance': 5.654}
    """
    return _read("tab01")


def table2() -> pd.DataFrame:
    """Return Table 2, percent, indexed by (model, method), with the mean of the seven benchmarks.

    ``printed_average`` is the paper's column. It is not the mean of the seven benchmarks in any
    row, so ``recomputed_average`` stands beside it.

    >>> table2().loc[("32B", "KL_Cov"), ["printed_average", "recomputed_average"]].round(1).tolist()
    [52.2, 51.6]
    """
    frame = _read("tab02").set_index(["model", "method"])
    frame["recomputed_average"] = frame.drop(columns="printed_average").mean(axis="columns")
    return frame


def printed() -> pd.DataFrame:
    """Return numbers that the text states: place, quantity, value, unit.

    >>> printed().query("place == 'abstract'")["value"].tolist()
    [2.0, 6.4]
    """
    return _read("printed")


def _read(name: str) -> pd.DataFrame:
    return pd.read_csv(_DATA / f"{name}.csv")


# -- The law on the digitised points -------------------------------------------------------------


def published_fits() -> pd.DataFrame:
    """Return least-squares fits of Fig. 1 right beside the authors' drawn curves, a row a size.

    Columns: points, a, b, ceiling, rmse, r2 (from the scatter points alone, fractions), a_drawn,
    b_drawn and the relative errors a_error, b_error. All points weigh the same.

    >>> published_fits().loc["7B", ["a", "a_drawn"]].round(3).tolist()
    [0.209, 0.21]
    """
    drawn = curve_coefficients()
    names = ["a", "b", "ceiling", "rmse", "r2"]
    rows = {}
    for size in drawn.index:
        fit = fit_law(*scatter(size))
        rows[size] = [fit.n_points, *(getattr(fit, name) for name in names)]
    table = pd.DataFrame.from_dict(rows, "index", columns=["points", *names]).rename_axis("model")
    table = table.assign(a_drawn=drawn["a"], b_drawn=drawn["b"])
    errors = {f"{name}_error": table[name] / drawn[name] - 1.0 for name in ("a", "b")}
    return table.assign(**errors)


def published_forms() -> pd.DataFrame:
    """Return ``compare_forms`` for each size, indexed by (model, form).

    The panel shows no steps: points are taken in order of falling entropy, and its dense end is
    thinned, so the first 15 % of points are less than 15 % of training.

    >>> table = published_forms()
    >>> table.loc["0.5B", "delta_aicc"].round().astype(int).to_dict()["linear"]
    25
    """
    sizes = curve_coefficients().index
    tables = {size: compare_forms(*scatter(size)) for size in sizes}
    return pd.concat(tables, names=["model"])


def published_run() -> pd.DataFrame:
    """Return step, entropy_nats and performance (percent) of Fig. 1 left: one 7B run, smoothed.

    >>> published_run().columns.tolist(), len(published_run())
    (['step', 'entropy_nats', 'performance'], 71)
    """
    wide = load("fig01_left").pivot(index="step", columns="series", values="value")
    names = {"training_entropy": "entropy_nats", "test_accuracy_pct": "performance"}
    wide = wide.dropna().reset_index().rename(columns=names).rename_axis(columns=None)
    return wide[["step", *names.values()]]
