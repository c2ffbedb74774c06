from __future__ import annotations

import os

import pytest
import torch

from agents import parallel
from agents.evaluation import play
from agents.policy import PolicySpec
from tests.agents.fake_env import CONFIG, FakeVectorEnv, make_contexts


def test_jobs_are_done_in_order_in_this_process() -> None:
    assert list(parallel.spread(lambda job: (job, os.getpid()), [3, 4])) == [
        (0, (3, os.getpid())),
        (1, (4, os.getpid())),
    ]


def test_jobs_are_spread_over_other_processes_which_keep_what_they_made() -> None:
    made: list[int] = []

    def work(job: int) -> tuple[int, int, int]:
        made.append(job)  # in a process's own copy
        return job * job, os.getpid(), len(made)

    with parallel.processes(2):
        done = dict(parallel.spread(work, range(6)))
    assert [done[number][0] for number in range(6)] == [0, 1, 4, 9, 16, 25]
    assert os.getpid() not in {process for _, process, _ in done.values()}
    assert made == []
    assert max(count for _, _, count in done.values()) > 1


def test_a_failing_job_fails_the_whole() -> None:
    with parallel.processes(2), pytest.raises(ZeroDivisionError):
        list(parallel.spread(lambda job: 1 // job, [1, 0, 1]))


def test_what_runs_in_a_process_spreads_no_further() -> None:
    with parallel.processes(2):
        counts = [found for _, found in parallel.spread(lambda _: parallel.process_count(), [0, 1, 2])]
        assert counts == [1, 1, 1]
        assert parallel.process_count() == 2
    assert parallel.process_count() == 1


def test_several_processes_play_the_same_episodes() -> None:
    contexts, spec = make_contexts(150), PolicySpec("random")
    alone = play(spec, CONFIG, contexts, 64, make_env=FakeVectorEnv)
    seen: list[tuple[int, int]] = []
    with parallel.processes(2):
        together = play(spec, CONFIG, contexts, 64, lambda *at: seen.append(at), make_env=FakeVectorEnv)
    assert together == alone
    assert seen[-1] == (150, 150)


def test_counts_below_one_and_threads_beside_processes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one process is needed, got 0"), parallel.processes(0):
        pass
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="one thread each, not 2"), parallel.processes(2):
            pass
    finally:
        torch.set_num_threads(threads)
