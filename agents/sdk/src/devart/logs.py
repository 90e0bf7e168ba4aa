"""Loggers whose lines nobody can forge: what comes from outside is escaped."""

from __future__ import annotations

import logging
import traceback
from functools import partial

from devart.text import one_line, text_of


def get_logger(name: str) -> logging.Logger:
    """Return the logger; texts and errors among the arguments of its lines become one line each.

    A handler that raises harms nothing but its line. Titles, names of queues and answers of others
    end in the log. An exception that is logged with its traceback keeps its lines.
    """
    logger = logging.getLogger(name)
    logger.addFilter(_escape_arguments)
    logger.handle = partial(_handle, logger)  # type: ignore[method-assign]
    return logger


def _handle(logger: logging.Logger, record: logging.LogRecord) -> None:
    """Log a line; a handler or filter of somebody's that raises ends none of the SDK's threads."""
    try:
        type(logger).handle(logger, record)
    except Exception:
        if logging.raiseExceptions:
            traceback.print_exc()


def _escape_arguments(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(_escaped(argument) for argument in record.args)
    return True


def _escaped(argument: object) -> object:
    if isinstance(argument, str):
        return one_line(argument)
    return one_line(text_of(argument)) if isinstance(argument, BaseException) else argument
