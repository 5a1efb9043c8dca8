"""Every error that Everlearn raises on purpose, as one tree.

    EverlearnError
    ├── BadInputError           invalid input; nothing was changed
    │   ├── GrammarError        text that is not an expression of its domain
    │   ├── InvalidLineError    a line that is not one strict JSON object
    │   ├── UnknownDomainError  a domain without an installed entry point
    │   ├── UncertifiedError    a domain whose verifier was not shown to be safe to train on
    │   └── SettingsError       a setting that is missing, unknown or out of range
    ├── StoreError              the object store refused a request, or did not answer
    │   ├── NotFoundError       no object under this key
    │   ├── ConflictError       the condition of a write did not hold: another writer was first
    │   └── StoreDownError      no answer, no bucket, or wrong credentials
    ├── RegistryError           the history of the line does not allow this operation
    │   ├── StaleParentError    the champion that the cycle started from has been replaced
    │   └── IntegrityError      a digest, a signature or the event chain does not match
    │       └── AdapterError    invalid adapter files
    ├── CycleError              a cycle that cannot continue
    │   ├── CycleBusyError      another run has taken over the lease of this line
    │   │   └── LineBusyError   another run holds the lease of this line
    │   └── BadDataError        too large a share of invalid rows
    ├── ModelError              a base model or adapter that cannot be used
    ├── ServiceError            a server that does not start, stop or answer
    │   ├── DiskFullError       too little space on a disk of this machine
    │   └── SandboxError        answers that are programs cannot be isolated on this machine
    └── LateError               the operation succeeded, but a consumer did not follow in time

A message names the input with its value, then the remedy. The command line exits with `exit_code`. A test compares
this drawing with the classes of the whole project.
"""

from __future__ import annotations

from typing import ClassVar


class EverlearnError(Exception):
    """Root of all errors that a user can act on."""

    exit_code: ClassVar[int] = 1


class BadInputError(EverlearnError):
    """Invalid input. Nothing was changed."""

    exit_code: ClassVar[int] = 2


class GrammarError(BadInputError):
    """Text that is not an expression of its domain."""


class InvalidLineError(BadInputError):
    """A line is not one JSON object. `fault` names the kind of fault; the message states what to change."""

    def __init__(self, fault: str, why: str) -> None:
        super().__init__(why)
        self.fault = fault


class UnknownDomainError(BadInputError):
    """A domain without an installed entry point."""


class UncertifiedError(BadInputError):
    """A domain whose verifier was not shown to be safe to train on."""


class SettingsError(BadInputError):
    """A setting that is missing, unknown or out of range."""


class StoreError(EverlearnError):
    """The object store refused a request, or did not answer."""

    exit_code: ClassVar[int] = 3


class NotFoundError(StoreError):
    """No object under this key."""


class ConflictError(StoreError):
    """The condition of a write did not hold: another writer was first."""


class StoreDownError(StoreError):
    """No answer, no bucket, or wrong credentials. A write may or may not have been carried out."""


class RegistryError(EverlearnError):
    """The history of the line does not allow this operation."""

    exit_code: ClassVar[int] = 4


class StaleParentError(RegistryError):
    """The champion that the cycle started from has been replaced; abandon the cycle and start another."""


class IntegrityError(RegistryError):
    """A digest, a signature or the event chain does not match."""

    exit_code: ClassVar[int] = 5


class AdapterError(IntegrityError):
    """Invalid adapter files, which must not be published or delivered."""


class CycleError(EverlearnError):
    """A cycle that cannot continue."""

    exit_code: ClassVar[int] = 6


class CycleBusyError(CycleError):
    """Another run has taken over the lease of this line."""


class LineBusyError(CycleBusyError):
    """Another run holds the lease of this line. Nothing was changed."""


class BadDataError(CycleError):
    """Too large a share of the new rows is invalid."""


class ModelError(EverlearnError):
    """A base model or adapter that cannot be used."""

    exit_code: ClassVar[int] = 7


class ServiceError(EverlearnError):
    """A server that does not start, stop or answer."""

    exit_code: ClassVar[int] = 8


class DiskFullError(ServiceError):
    """Too little space on a disk of this machine."""

    exit_code: ClassVar[int] = 9


class SandboxError(ServiceError):
    """Answers that are programs cannot be isolated on this machine. They are never run without."""


class LateError(EverlearnError):
    """The operation succeeded, but a consumer did not follow in time."""

    exit_code: ClassVar[int] = 12
