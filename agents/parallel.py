"""Independent pieces of work, in this process or spread over several.

Playing is made of batches that know nothing of each other, so they may run side by side. Who plays need not know:

    with processes(2):
        play_together(...)

Processes are forked, so they inherit policies and environments as they are; nothing is pickled but the results. Where a
system cannot fork, everything runs in this process.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch

J = TypeVar("J")
R = TypeVar("R")

_COUNT: ContextVar[int] = ContextVar("processes", default=1)
_inherited: Callable[[Any], Any] | None = None


@contextmanager
def processes(count: int) -> Iterator[None]:
    """Everything that is spread inside the block uses so many processes.

    Raises:
        ValueError: a count below 1, or several processes beside several threads of PyTorch, which survive no fork.
    """
    if count < 1:
        raise ValueError(f"at least one process is needed, got {count}")
    if count > 1 and torch.get_num_threads() > 1:
        raise ValueError(f"{count} processes need PyTorch to use one thread each, not {torch.get_num_threads()}")
    token = _COUNT.set(count if "fork" in multiprocessing.get_all_start_methods() else 1)
    try:
        yield
    finally:
        _COUNT.reset(token)


def process_count() -> int:
    """How many processes `spread` uses here."""
    return _COUNT.get()


def spread(work: Callable[[J], R], jobs: Sequence[J]) -> Iterator[tuple[int, R]]:
    """The number and the result of every job, in the order in which they are done.

    Args:
        work: what is done with a job. In other processes it works on a copy of what it refers to; a process keeps its
            copy from job to job, so what is expensive to make can be kept there.
        jobs: what is worked on.
    """
    count = min(process_count(), len(jobs))
    if count <= 1:
        yield from enumerate(map(work, jobs))
        return
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("fork"), _inherit, (work,))
    try:
        places = {pool.submit(_do, job): place for place, job in enumerate(jobs)}
        for future in as_completed(places):
            yield places[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _inherit(work: Callable[[Any], Any]) -> None:
    """Begin a process: remember the work, leave Ctrl-C to the parent, and do not spread any further."""
    global _inherited
    _inherited = work
    _COUNT.set(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _do(job: Any) -> Any:
    assert _inherited is not None
    return _inherited(job)
