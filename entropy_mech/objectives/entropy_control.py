"""Hold the policy entropy at a level, by steering KL-Cov (beyond the paper).

The paper leaves open whether there is an optimal entropy (section 4.5). Its penalty is fixed, and
the entropy at which a run ends follows from it. Here the entropy is set and the penalty is adjusted
to reach it, so that runs that differ in entropy alone can be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from entropy_mech.errors import bad_value

_SMALLEST_ENTROPY_NATS = 1e-6  # below it the logarithm says nothing more


@dataclass(frozen=True)
class ControlState:
    """The controller's state, two numbers, which go into the checkpoint and the metrics.

    Attributes:
        value: the setting that is steered, for the next rollout.
        error: log(target / entropy) at the last rollout, cut off at ``error_limit``.

    """

    value: float
    error: float


def steer(
    settings: Any,
    state: ControlState | None,
    entropy_nats: float,
    *,
    start: float,
    minimum: float,
    maximum: float,
) -> ControlState:
    """One step of a proportional-integral controller on the logarithms of entropy and setting.

    With e = log(target / entropy), cut off at +- ``error_limit``, and v the setting:

        log v <- log v + gain e + proportional_gain (e - e_before),  within [minimum, maximum]

    Entropy below the target raises the penalty. The integral part (``gain``) removes a lasting
    error. The proportional part reacts to a change at once and damps: a penalty acts on the *rate*
    at which entropy falls, so an integral controller alone would oscillate about the target. The
    rule is in velocity form: the clipped setting itself is stored, not an integral, so there is no
    windup at a bound, and the setting leaves the bound as soon as its increment changes sign.

    Args:
        settings: target, gains and limit: ``config.objective.EntropyTargetConfig``.
        state: of the rollout before; None on the first, which has no change of error.
        entropy_nats: the policy's entropy at this rollout, nats a token.
        start: the setting's own value, from which control starts; above 0.
        minimum: the setting's lowest value, above 0.
        maximum: its highest.

    Returns:
        The next state, a function of the arguments alone: a resumed run continues unchanged.

    Raises:
        UserError: bounds out of order or not above 0.

    """
    if not 0 < minimum <= start <= maximum:
        raise bad_value(
            "loss.entropy_target.minimum",
            minimum,
            f"0 < minimum <= start = {start:g} <= maximum = {maximum:g} must hold",
        )
    error = math.log(settings.target_nats / max(entropy_nats, _SMALLEST_ENTROPY_NATS))
    error = min(max(error, -settings.error_limit), settings.error_limit)
    value, before = (start, error) if state is None else (state.value, state.error)
    move = settings.gain * error + settings.proportional_gain * (error - before)
    return ControlState(min(max(value * math.exp(move), minimum), maximum), error)
