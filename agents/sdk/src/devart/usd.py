"""Amounts of money as they are sent."""

from __future__ import annotations

import math
from decimal import Decimal

from devart import arguments
from devart.exact_decimal import up_to_a_millionth


def exact_usd(name: str, amount: Decimal | int | str | None) -> Decimal | None:
    """Return an amount of money as it is sent; None for none.

    Raises `TypeError` for a float, naming the argument.
    """
    if isinstance(amount, float):
        raise TypeError(f"{name} must be a Decimal, an int or a str: a float is not exact")
    return None if amount is None else arguments.usd(name, amount)


def estimated_usd(name: str, amount: Decimal | int | str | float | None) -> Decimal | None:
    """Return an estimate as it is sent: a float is rounded up to a millionth; None for none."""
    if isinstance(amount, float) and math.isfinite(amount):
        # By way of its shortest text, so that 0.1 is not a bit more than 0.1.
        return up_to_a_millionth(Decimal(str(amount)))
    return None if amount is None else arguments.usd(name, amount)
