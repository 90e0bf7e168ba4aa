"""Arithmetic on decimals that no setting of the caller's changes.

`Decimal`'s operators round, and raise, as the thread's context says, which handlers may set.
"""

from __future__ import annotations

from decimal import MAX_EMAX, MIN_EMIN, ROUND_UP, Context, Decimal, InvalidOperation

_MILLIONTH = Decimal("0.000001")
# More digits than a float or a timedelta has.
_OWN = Context(
    prec=1_000, Emin=MIN_EMIN, Emax=MAX_EMAX, rounding=ROUND_UP, traps=[InvalidOperation]
)


def number(text: str) -> Decimal:
    """Read a number exactly.

    Raises:
        decimal.InvalidOperation: it is none.
    """
    return Decimal(text, _OWN.copy())


def millionths(count: int) -> Decimal:
    """Return that many millionths."""
    return Decimal(count).scaleb(-6, _OWN.copy())


def up_to_a_millionth(value: Decimal) -> Decimal:
    """Round away from zero."""
    return value.quantize(_MILLIONTH, context=_OWN.copy())
