"""The errors that a user can meet: each message is one sentence with the file, the material and the remedy."""

from __future__ import annotations


class EcdError(Exception):
    """Bad data or a failed run; the CLI prints the message alone and exits with code 1."""


class FormatError(EcdError, ValueError):
    """A file that is not what its format says."""


class StoreError(EcdError):
    """A store that is incomplete, altered or not a store."""


class MovedError(StoreError):
    """A part is missing or has other bytes than the index said: it was lost, or the store was written meanwhile."""


class UnknownIdError(EcdError, KeyError):
    """A material id that does not exist; the message suggests near names."""

    __str__ = Exception.__str__


class UsageError(EcdError):
    """A request that cannot be met as stated; the CLI exits with code 2."""


class MissingDependencyError(EcdError, ImportError):
    """An optional package or program that is not installed; the message says how to get it."""
