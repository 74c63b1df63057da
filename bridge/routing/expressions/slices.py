"""Slices: a part of a text or of a list, by Python's rules."""

from __future__ import annotations

from typing import Any

from bridge.routing.expressions.values import refuse


def part(value: Any, start: object, stop: object) -> Any:
    """`value[start:stop]`."""
    for end in (start, stop):
        if type(end) is not int:
            refuse("a slice", "whole numbers", end)
    if type(value) not in (str, list) and value is not None:  # a field of null is missing, and so is a part of it
        refuse("a slice", "text or a list", value)
    return value[start:stop]
