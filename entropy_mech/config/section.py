"""What every part of a configuration is: a frozen table that refuses keys it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from entropy_mech.errors import bad_value

Fraction = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=1e8)]
LearningRate = Annotated[float, Field(gt=0, le=100)]
Temperature = Annotated[float, Field(ge=1e-3, le=1e3)]

# The largest whole number that every reader of JSON takes for the same number.
_LARGEST = 2**53


def refused(fix: str) -> PydanticCustomError:
    """Return the error of a validator of one field; the field and its value are put before it."""
    return PydanticCustomError("refused", "{fix}", {"fix": fix})


def _nonnegative_and_some(values: dict[Any, float]) -> dict[Any, float]:
    if not values or min(values.values()) < 0 or not any(values.values()):
        raise refused("give 0 or more for each, and more than 0 for one")
    return values


def _numbers_of_steps(values: dict[int, float]) -> dict[int, float]:
    from entropy_mech.problems.toy import MOST_STEPS

    if any(not 1 <= level <= MOST_STEPS for level in values):
        raise refused(f"a level is a number of steps: give 1 to {MOST_STEPS}")
    return values


_SOME, _STEPS = AfterValidator(_nonnegative_and_some), AfterValidator(_numbers_of_steps)
LevelShares = Annotated[dict[int, float], _SOME, _STEPS]
LevelCounts = Annotated[dict[int, int], _SOME, _STEPS]


class Section(BaseModel):
    """A frozen table of settings that refuses keys it does not know.

    True and false are no numbers, and numbers and words are not true or false.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _values_are_of_their_kind(cls, table: Any) -> Any:
        for name, value in table.items() if isinstance(table, dict) else ():
            if name in cls.model_fields:
                _check_kind(name, value, set(_parts(cls.model_fields[name].annotation)))
        return table


def _check_kind(name: str, value: Any, kinds: set[Any]) -> None:
    if any(isinstance(kind, type) and issubclass(kind, Section) for kind in kinds):
        return  # a table, whose own values are looked at there
    for one in _leaves(value):
        if bool in kinds and not isinstance(one, bool):
            raise ValueError(str(bad_value(name, value, "give true or false")))
        if isinstance(one, bool) and bool not in kinds:
            shown = value if isinstance(value, dict | list | tuple) else str(value).lower()
            raise ValueError(str(bad_value(name, shown, "true and false have no meaning here")))
        if isinstance(one, int) and abs(one) > _LARGEST:
            raise ValueError(str(bad_value(name, value, f"give at most {_LARGEST}")))
        if isinstance(one, bytes | complex):
            raise ValueError(str(bad_value(name, value, "give a number, or text")))
        if isinstance(one, str) and one and not (one.strip() and one.isprintable()):
            raise ValueError(str(bad_value(name, value, "give text of one line")))


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield an annotation and all that it is made of; values of a Literal by their type."""
    parts = get_args(annotation)
    if not parts:
        yield annotation if isinstance(annotation, type) else type(annotation)
    for part in parts:
        yield from _parts(part)


def _leaves(value: Any) -> Iterator[Any]:
    """Yield the values in lists and tables."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for one in value:
            yield from _leaves(one)
    else:
        yield value
