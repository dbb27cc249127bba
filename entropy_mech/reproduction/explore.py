"""What the notebook ``explore`` shows: a policy's step, a run's tokens, the law's window."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from entropy_mech import published
from entropy_mech.errors import UserError, bad_value, number_list, real_number, unknown_name
from entropy_mech.figures.explore_law import law_window_figure
from entropy_mech.figures.explore_policy import policy_figure
from entropy_mech.figures.explore_tokens import COLOURINGS
from entropy_mech.published.tables import SIZES
from entropy_mech.reproduction.explorer import Explorer, only_words
from entropy_mech.reproduction.targets import check_profile
from entropy_mech.reproduction.token_view import TokenView
from entropy_mech.runs.find import find_run, names_of_runs
from entropy_mech.runs.listing import list_runs
from entropy_mech.runs.store import Run, RunStore, default_store

_FEWEST_POINTS = 4
_TRY = {
    "toy": "`entropy-mech train reproduce/runs/toy/fig11_7b_clip_cov.toml` makes one",
    "paper": "`entropy-mech train reproduce/runs/paper/fig11_7b_clip_cov.toml` makes one, on GPUs",
}


def policy(logits: Sequence[float], advantages: Sequence[float], eta: float) -> Explorer:
    """Explore one softmax policy: a slider a logit, a slider an advantage, one for the step size.

    Raises:
        UserError: logits and advantages of unequal length, or not finite.

    """
    logits, advantages = number_list("logits", logits), number_list("advantages", advantages)
    eta = real_number("eta", eta)
    n = len(logits)
    if n != len(advantages):
        raise bad_value("advantages", advantages, f"give {n}, one a logit")
    first = {}
    for a, (z, advantage) in enumerate(zip(logits, advantages, strict=True)):
        first |= {f"logit {a}": float(z), f"advantage {a}": float(advantage)}  # side by side

    def draw(**values: float):
        z = [values[f"logit {a}"] for a in range(n)]
        advantage = [values[name] for name in values if name.startswith("advantage")]
        return policy_figure(z, advantage, values["eta"])

    def controls():
        import ipywidgets

        like = {"continuous_update": False, "style": {"description_width": "84px"}}
        sliders = {
            name: ipywidgets.FloatSlider(
                value=value, min=min(-5.0, value), max=max(5.0, value), step=0.1,
                description=name, **like,
            )
            for name, value in first.items()
        }  # fmt: skip
        sliders["eta"] = ipywidgets.FloatSlider(
            value=eta, min=0.0, max=max(2.0, eta), step=0.01, description="eta", **like
        )
        return sliders

    return Explorer(draw, {**first, "eta": float(eta)}, controls)


def tokens(
    run: str = "",
    *,
    profile: str = "toy",
    colouring: str = "covariance",
    store: RunStore | None = None,
) -> Explorer:
    """Explore the tokens that stored runs sampled, coloured by what was measured of them.

    Controls: the run, the rollout step, the colouring, the prompt. Of a step that a run has not
    kept, the last kept before it is shown. Colours mean the same at all steps of a run: they are
    full at the 95th percentile of its first kept step.

    Args:
        run: what ``runs.handle_on`` takes; empty begins with the newest that kept tokens.
        profile: whose runs; in ``published`` there are none.
        colouring: covariance, entropy or touched.
        store: where runs lie; the default store if None.

    Raises:
        UserError: no such run, profile or colouring.

    """
    if colouring not in COLOURINGS:
        raise unknown_name("colouring", colouring, COLOURINGS)
    store = store or default_store()
    asked = _asked(run, profile, store)
    if asked is not None and not asked.token_steps():
        return only_words(f"{_label(asked)}: it has kept no tokens of its rollouts")
    found = _stored(asked, profile, store, lambda one: bool(one.token_steps()))
    if not found:
        return only_words(_nothing(profile, "tokens of stored runs"))
    views = {name: TokenView(one) for name, one in found.items()}
    steps = sorted({step for view in views.values() for step in view.steps})
    first = next(iter(views))
    values = {"run": first, "step": views[first].steps[0], "colour": colouring, "prompt": 0}

    def controls():
        import ipywidgets

        most = max(one.config.rollout.prompts for one in found.values())
        return {
            "run": ipywidgets.Dropdown(options=list(views), value=first, description="run"),
            "step": ipywidgets.SelectionSlider(
                options=steps, value=values["step"], description="step", continuous_update=False
            ),
            "colour": ipywidgets.Dropdown(
                options=list(COLOURINGS), value=colouring, description="colour"
            ),
            "prompt": ipywidgets.IntSlider(
                value=0, min=0, max=most - 1, description="prompt", continuous_update=False
            ),
        }

    def draw(run: str, step: int, colour: str, prompt: int) -> str:
        return views[run].page(run, step, colour, prompt)

    return Explorer(draw, values, controls)


def law(
    run: str = "",
    *,
    profile: str = "toy",
    window_percent: tuple[int, int] = (0, 50),
    store: RunStore | None = None,
) -> Explorer:
    """Explore which points the law is fitted to, and where it then puts the ceiling.

    Controls: the run (stored ones, and the paper's five sizes as digitised from its Figure 1) and
    the window, in percent of its points.

    Args:
        run: what ``runs.handle_on`` takes; empty begins with the newest stored run of at least
            four validations, or with the paper's 7B points where there is none.
        profile: whose runs; ``published`` offers the paper's points alone.
        window_percent: the part of the points to begin with.
        store: where runs lie; the default store if None.

    Raises:
        UserError: no such run or profile, or percents out of order.

    """
    store = store or default_store()
    if len(number_list("window_percent", window_percent)) != 2:
        raise bad_value("window_percent", window_percent, "give two percents, the lower first")
    asked = _asked(run, profile, store)
    if asked is not None and (n := len(_points(asked)[0])) < _FEWEST_POINTS:
        return only_words(f"{_label(asked)}: {n} validations so far; the law takes four")
    runs = _stored(asked, profile, store, lambda one: one.steps_done >= _FEWEST_POINTS)
    sources = {name: _points(one) for name, one in runs.items()}
    sources = {name: xy for name, xy in sources.items() if len(xy[0]) >= _FEWEST_POINTS}
    for size in sorted(SIZES, key=lambda size: size != "7B"):  # the 7B before the others
        name = f"the paper's Qwen2.5-{size} (digitised, by falling entropy)"
        sources[name] = tuple(np.asarray(column) for column in published.scatter(size))
    first = next(iter(sources))

    def controls():
        import ipywidgets

        return {
            "run": ipywidgets.Dropdown(
                options=list(sources), value=first, description="run", layout={"width": "480px"}
            ),
            "window": ipywidgets.IntRangeSlider(
                value=window_percent, min=0, max=100, description="window, %",
                continuous_update=False, layout={"width": "420px"},
            ),
        }  # fmt: skip

    def draw(run: str, window: tuple[int, int]):
        return law_window_figure(*sources[run], tuple(window), name=run)

    return Explorer(draw, {"run": first, "window": tuple(window_percent)}, controls)


def _asked(run: str, profile: str, store: RunStore) -> Run | None:
    check_profile(profile)
    if not run or profile == "published":
        return None
    return find_run(run, store=store, profile=profile)


def _stored(
    asked: Run | None, profile: str, store: RunStore, has: Callable[[Run], bool]
) -> dict[str, Run]:
    """Return the profile's runs that ``has`` accepts, by name; the one asked for is first."""
    if profile == "published":
        return {}
    found = [] if asked is None else [asked]
    for row in list_runs(store).itertuples():
        name = row.id
        if row.state == "damaged":
            print(f"{name} is left out: {row.error}")
            continue
        if not (store.root / name / "config.json").is_file():
            continue  # it only starts and has not said yet what it is
        try:
            one = find_run(store.root / name, store=store)
        except UserError as error:  # of another version of this package: the others are of use
            print(f"{name} is left out: {error}")
            continue
        if one.config.toy == (profile == "toy") and has(one):
            found.append(one)
    names = names_of_runs(found, store, profile)
    labelled: dict[str, Run] = {}
    for one in found:
        labelled.setdefault(_label(one, names.get(one.path.name, "")), one)
    return labelled


def _label(run: Run, name: str = "") -> str:
    """Say which run it is: its file's name, or its method and id."""
    if name:
        return f"{name}, seed {run.config.seed}"
    return f"{run.config.loss.method}, seed {run.config.seed} ({run.path.name[:8]})"


def _points(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Return entropy (nats) and accuracy (fractions) of a run's validations, in their order."""
    frame = run.metrics()
    if not {"entropy_nats", "validation_accuracy"} <= set(frame):
        return np.empty(0), np.empty(0)
    frame = frame.dropna(subset=["entropy_nats", "validation_accuracy"])
    return frame["entropy_nats"].to_numpy(), frame["validation_accuracy"].to_numpy()


def _nothing(profile: str, what: str) -> str:
    if profile == "published":
        return f"{what}: the paper has published none; in profile toy, {_TRY['toy']}"
    return f"{what}: there are none of profile {profile} yet; {_TRY[profile]}"
