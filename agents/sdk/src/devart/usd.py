"""Amounts of money as they are sent."""

from __future__ import annotations

from decimal import ROUND_UP, Decimal

_MILLIONTH = Decimal("0.000001")


def exact_usd(name: str, amount: Decimal | int | str | None) -> Decimal | None:
    """Return an amount of money as it is sent; None for none.

    Raises `TypeError` for a float, naming the argument.
    """
    if isinstance(amount, float):
        raise TypeError(f"{name} must be a Decimal, an int or a str: a float is not exact")
    return None if amount is None else Decimal(amount)


def estimated_usd(amount: Decimal | int | str | float | None) -> Decimal | None:
    """Return an estimate as it is sent: a float is rounded up to a millionth; None for none."""
    if isinstance(amount, float):
        # By way of its shortest text, so that 0.1 is not a bit more than 0.1.
        return Decimal(str(amount)).quantize(_MILLIONTH, ROUND_UP)
    return None if amount is None else Decimal(amount)
