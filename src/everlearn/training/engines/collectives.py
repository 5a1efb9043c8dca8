"""Collective operations of the processes that share one training.

Each process samples its share of the problems and computes the gradient of its share of the groups. In each step three
things are exchanged: the verified answers, the record of the pairs that could not be judged in time, and the gradients
of A and B, summed. Everything else is computed alike by each process, so that curriculum, optimizer and adapter stay
equal without being sent. Without a process group each function returns its input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


def backend_of(device: torch.device) -> str:
    """Return torch's backend for A and B on that device; the verified answers are in main memory in any case."""
    return "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"


def count() -> int:
    """Return the number of processes that train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0; process 0 writes all files."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def share(items: Sequence[T]) -> list[T]:
    """Return this process's part of a list: every `count()`th item, so that a sorted list is divided evenly."""
    return list(items[rank() :: count()])


def gather(items: list[T]) -> list[T]:
    """Return the whole list, in its order, from the `share` of each process."""
    if count() == 1:
        return items
    parts: list[Any] = [None] * count()
    distributed.all_gather_object(parts, items)
    return [parts[index % count()][index // count()] for index in range(sum(map(len, parts)))]


def merge(entries: dict[str, T]) -> None:
    """Add the entries of all processes to those of each. Of equal keys, that of the lowest process stays."""
    if count() == 1:
        return
    parts: list[Any] = [None] * count()
    distributed.all_gather_object(parts, entries)
    for part in reversed(parts):
        entries.update(part)


def broadcast(value: T) -> T:
    """Return the value of process 0."""
    if count() == 1:
        return value
    values: list[Any] = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]  # type: ignore[no-any-return]


def add_gradients(parameters: Sequence[torch.Tensor]) -> None:
    """Replace the gradients of each process by their sum, in one message."""
    if count() == 1:
        return
    # A process whose share of the groups was empty has no gradient; all messages must have the same length.
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    distributed.all_reduce(flat)
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter)


def wait_for_all() -> None:
    """Block until every process has called this."""
    if count() > 1:
        distributed.barrier()
