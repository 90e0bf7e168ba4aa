"""The version of this SDK, as installed."""

from __future__ import annotations

from importlib.metadata import version

VERSION: str = version("devart")
