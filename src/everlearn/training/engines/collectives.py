"""One training by several processes: each samples its share of the problems and learns from its share of the groups.

    torchrun --nproc-per-node 2 -m everlearn.training.engines.torchrun job.json       (what `learn.processes: 2` runs)

What travels is small: the verified answers, once to everybody, and the gradients of A and B, summed. Everything else is
computed by all of them alike, so that curriculum, optimizer and adapter are the same everywhere without being sent.
`gloo` on CPUs, `nccl` where there are GPUs. In a process on its own each function gives back what it was given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


def count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is; 0 is the one that writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def share(items: Sequence[T]) -> list[T]:
    """This process's part of a list: every `count()`th, so that a sorted list is shared out evenly."""
    return list(items[rank() :: count()])


def gather(items: list[T]) -> list[T]:
    """The whole list, in its order, from everybody's `share` of it."""
    if count() == 1:
        return items
    parts: list[Any] = [None] * count()
    distributed.all_gather_object(parts, items)
    return [parts[index % count()][index // count()] for index in range(sum(map(len, parts)))]


def agree(value: T) -> T:
    """What the first process says."""
    if count() == 1:
        return value
    said: list[Any] = [value]
    distributed.broadcast_object_list(said, src=0)
    return said[0]  # type: ignore[no-any-return]


def add_gradients(parameters: Sequence[torch.Tensor]) -> None:
    """Everybody's gradients become their sum, in one message."""
    if count() == 1:
        return
    flat = torch.cat([(torch.zeros_like(each) if each.grad is None else each.grad).flatten() for each in parameters])
    distributed.all_reduce(flat)
    for each, part in zip(parameters, flat.split([each.numel() for each in parameters]), strict=True):
        each.grad = part.view_as(each)


def wait_for_all() -> None:
    """Until everybody is here."""
    if count() > 1:
        distributed.barrier()
