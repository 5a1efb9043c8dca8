"""Every error that Everlearn raises on purpose, as one tree.

    EverlearnError
    ├── BadInputError          what was given cannot be used; nothing was changed
    │   ├── GrammarError       a text that is no expression of its domain
    │   ├── UnknownDomainError a domain that no entry point offers
    │   └── SettingsError      a setting that is missing, misspelt or out of range
    ├── StoreError             the object store said no, or did not answer
    │   ├── NotFoundError      no such key
    │   ├── ConflictError      a condition did not hold: somebody else was first
    │   └── StoreDownError     no answer, no bucket, wrong credentials
    ├── RegistryError          the line's history does not allow this
    │   ├── StaleParentError   the champion that a night started from is champion no longer
    │   └── IntegrityError     a digest, a signature or the chain does not hold
    ├── CycleError             a night cannot go on
    │   ├── CycleBusyError     another run holds this line's lease
    │   └── BadDataError       too many bad rows
    ├── ServiceError           a server that does not start, stop or answer
    ├── ModelError             a base model or an adapter that cannot be used
    └── LateError              the champion has changed, but a consumer has not followed

Each message names the input and says what the user can do. `exit_code` is what the command line ends with.
"""

from __future__ import annotations

from typing import ClassVar


class EverlearnError(Exception):
    """Root of all errors that a user can answer."""

    exit_code: ClassVar[int] = 1


class BadInputError(EverlearnError):
    """What was given cannot be used. Nothing was changed."""

    exit_code: ClassVar[int] = 2


class GrammarError(BadInputError):
    """A text that is no expression of its domain."""


class UnknownDomainError(BadInputError):
    """A domain that no installed package offers."""


class SettingsError(BadInputError):
    """A setting that is missing, misspelt or out of range."""


class StoreError(EverlearnError):
    """The object store said no, or did not answer."""

    exit_code: ClassVar[int] = 3


class NotFoundError(StoreError):
    """No such key."""


class ConflictError(StoreError):
    """A condition did not hold: somebody else was first."""


class StoreDownError(StoreError):
    """No answer, no bucket, or wrong credentials."""


class RegistryError(EverlearnError):
    """The line's history does not allow this."""

    exit_code: ClassVar[int] = 4


class StaleParentError(RegistryError):
    """The champion that a night started from is champion no longer; abandon that cycle and start another."""


class IntegrityError(RegistryError):
    """A digest, a signature or the chain does not hold."""

    exit_code: ClassVar[int] = 5


class CycleError(EverlearnError):
    """A night cannot go on."""

    exit_code: ClassVar[int] = 6


class CycleBusyError(CycleError):
    """Another run holds this line's lease."""


class BadDataError(CycleError):
    """Too large a share of the new rows is bad."""


class ModelError(EverlearnError):
    """A base model or an adapter that cannot be used."""

    exit_code: ClassVar[int] = 7


class ServiceError(EverlearnError):
    """A server that does not start, stop or answer."""

    exit_code: ClassVar[int] = 8


class LateError(EverlearnError):
    """What was asked for is done, but a consumer has not followed in time."""

    exit_code: ClassVar[int] = 12
