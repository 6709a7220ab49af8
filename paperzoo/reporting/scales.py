"""Axes of settings: numbers on a line, straight or logarithmic, and words side by side."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paperzoo.reporting.charts import Number, short, ticks

LOGARITHMIC = 20  # the largest positive number is so many times the smallest
MOST_WORDS = 12  # that are written beside an axis
FEW_NUMBERS = 5  # that are all written there
MARGIN = 0.04


@dataclass(frozen=True)
class Scale:
    """Where the values of an axis are.

    Attributes:
        places: by value, as text, from 0 to 1.
        marks: (place, text) pairs to be written beside the axis.
    """

    places: Mapping[str, float]
    marks: Sequence[tuple[float, str]]


def scale(values: Sequence[str]) -> Scale:
    """The axis of these values: of numbers, if all are finite ones, else of words in the order of the alphabet."""
    distinct = sorted(set(values))
    try:
        numbers = {text: float(text) for text in distinct}
    except ValueError:
        return _words(distinct)
    return _numbers(numbers) if numbers and all(map(math.isfinite, numbers.values())) else _words(distinct)


def _words(distinct: Sequence[str]) -> Scale:
    places = {text: (index + 0.5) / len(distinct) for index, text in enumerate(distinct)}
    every = math.ceil(len(distinct) / MOST_WORDS)
    return Scale(places, [(places[text], text) for text in distinct[::every]])


def _numbers(numbers: Mapping[str, float]) -> Scale:
    low, high = min(numbers.values()), max(numbers.values())
    if low == high:
        return Scale(dict.fromkeys(numbers, 0.5), [(0.5, short(low))])
    is_log = low > 0 and high / low >= LOGARITHMIC

    def place(value: Number) -> float:
        share = math.log(value / low) / math.log(high / low) if is_log else (value - low) / (high - low)
        return round(MARGIN + (1 - 2 * MARGIN) * share, 4)

    if len(numbers) <= FEW_NUMBERS:
        marked, digits = sorted(numbers.values()), 4
    else:
        marked, digits = (_powers(low, high), 3) if is_log else (ticks(low, high), 6)
    marks = [(place(value), short(float(f"{value:.{digits}g}"))) for value in marked]
    return Scale({text: place(value) for text, value in numbers.items()}, marks)


def _powers(low: float, high: float) -> list[float]:
    """Powers of ten, the two ends among them if there are few."""
    powers = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    return powers[:: math.ceil(len(powers) / 6)] if len(powers) > 1 else [low, *powers, high]
