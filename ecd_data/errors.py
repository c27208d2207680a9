"""The errors that users see. Each message is one sentence that names the file or material and says what to do."""

from __future__ import annotations


class EcdError(Exception):
    """The data are bad or a run failed; the CLI prints only the message and exits with code 1."""


class FormatError(EcdError, ValueError):
    """A file does not follow its format."""


class StoreError(EcdError):
    """A store is incomplete or altered, or a folder is not a store."""


class MovedError(StoreError):
    """A part is missing or has other bytes than the index says: it is lost, or another process wrote the store."""


class UnknownIdError(EcdError, KeyError):
    """A material id does not exist; the message suggests similar ids."""

    __str__ = Exception.__str__


class UsageError(EcdError):
    """The arguments of a call are wrong; the CLI exits with code 2."""


class MissingDependencyError(EcdError, ImportError):
    """An optional package or program is not installed; the message says how to get it."""
