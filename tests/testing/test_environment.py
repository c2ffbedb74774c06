"""The checks of environments and policies pass what is right and name what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from growenv.hardware import CountingMeter
from growenv.hardware.simple import neurons
from growenv.testing import check_env, check_policy
from growenv.testing import environment as checks
from growenv.vector_env import GrowthVectorEnv

SMALL = {"tasks": 2, "decisions": 3, "minibatches": 3, "batch_size": 16, "validation_samples": 32, "test_samples": 32}


@pytest.mark.parametrize(
    "options",
    [{}, {"where": "tile", "regions": (3, 1)}, {"protection": "finetune", "meter": "macs", "streams": "split"}],
)
def test_our_own_environments_pass(options):
    check_env(**SMALL, **options)


def test_a_meter_that_couples_rows_is_found():
    meter = CountingMeter("mine", "neurons", lambda network: neurons(network) + neurons(network).sum())
    with pytest.raises(AssertionError, match="row 0 alone"):
        check_env(**SMALL, meter=meter, budget=(1.0, 1.0))


def breaking(step=None, mask=None):
    """An environment whose answers are changed after the engine has given them."""

    class Broken(GrowthVectorEnv):
        def step(self, actions):
            answer = list(super().step(actions))
            if step:
                step(self, answer)
            return tuple(answer)

        def action_masks(self):
            masks = super().action_masks()
            if mask:
                mask(masks)
            return masks

    return Broken


def set_info(name, change):
    def step(env, answer):
        answer[4] = {**answer[4], name: change(answer[4][name])}

    return step


def paid(env, answer):
    answer[1] = answer[1] + 0.25


def paid_in_terms(env, answer):
    paid(env, answer)
    answer[4]["reward_accuracy"] = answer[4]["reward_accuracy"] + 0.25


def truncated(env, answer):
    answer[3] = np.ones_like(answer[3])


def beyond_its_space(env, answer):
    answer[0]["task"] = answer[0]["task"] + np.float32(3)


def endless(env, answer):
    answer[2] = np.zeros_like(answer[2])


def uneven(env, answer):
    env.count = getattr(env, "count", 0) + 1
    answer[4]["task_accuracy"] = answer[4]["task_accuracy"] + 0.01 * env.count


def shared(env, answer):
    env.kept = getattr(env, "kept", answer[0]["task"])
    env.kept[:] = answer[0]["task"]
    answer[0]["task"] = env.kept


def drawing(env, answer):
    torch.rand(1)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (paid, "are not the sum"),
        (paid_in_terms, "rewards sum to"),
        (truncated, "was truncated"),
        (beyond_its_space, "observation 'task' left its space"),
        (shared, "observation 'task' shares memory"),
        (endless, "had not ended"),
        (uneven, "a second run of the same environment: info 'task_accuracy'"),
        (drawing, "global generator of torch"),
        (set_info("invalid_action", lambda flags: ~flags), "gave invalid_action"),
        (set_info("widths", lambda widths: widths + 1), "gave widths"),
        (set_info("used", lambda used: used + 1), "their budgets are"),
        (set_info("objective", lambda objective: objective + 1), "the objective is"),
        (set_info("action_mask", lambda mask: 1 - mask), "action masks .* differ"),
    ],
)
def test_environments_that_are_wrong(monkeypatch, step, message):
    monkeypatch.setattr(checks, "GrowthVectorEnv", breaking(step))
    with pytest.raises(AssertionError, match=message):
        check_env(**SMALL)


def test_waiting_must_be_legal(monkeypatch):
    monkeypatch.setattr(checks, "GrowthVectorEnv", breaking(mask=lambda masks: masks.__setitem__((0, 0), False)))
    with pytest.raises(AssertionError, match="waiting, action 0, must always be legal"):
        check_env(**SMALL)


class Choosing:
    """A policy that chooses with a given function of observations, masks and a generator of its own."""

    name = "mine"

    def __init__(self, choose, seed=0):
        self.choose, self.rng, self.resets = choose, np.random.default_rng(seed), []

    def reset(self, rows):
        self.resets.append(rows.copy())

    def act(self, observations, masks):
        return self.choose(observations, masks, self.rng)


def wait(observations, masks, rng):
    return np.zeros(len(masks), dtype=np.int64)


def random(observations, masks, rng):
    return np.array([rng.choice(np.flatnonzero(mask)) for mask in masks])


def smudge(observations, masks, rng):
    observations["task"][:] = 0.5
    return wait(observations, masks, rng)


def test_policies_that_are_right_pass_and_are_told_of_every_new_episode():
    check_policy(lambda env: Choosing(wait), **SMALL)
    policies = []
    check_policy(lambda env: policies.append(Choosing(random)) or policies[-1], **SMALL)
    assert [rows.all() for rows in policies[0].resets] == [True, True]


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (lambda observations, masks, rng: np.zeros(len(masks)), "must give 4 integers"),
        (lambda observations, masks, rng: np.zeros(1, dtype=np.int64), "must give 4 integers"),
        (lambda observations, masks, rng: [0] * len(masks), "must give 4 integers"),
        (lambda observations, masks, rng: np.full(len(masks), 99), "outside of"),
        (lambda observations, masks, rng: np.argmin(masks, axis=1), "legal were"),
        (smudge, "changed the observations"),
    ],
)
def test_policies_that_are_wrong(choose, message):
    with pytest.raises(AssertionError, match=message):
        check_policy(lambda env: Choosing(choose), **SMALL, max_hidden=(8, 8), budget=(1.0, 1.0))


def test_a_policy_that_is_not_seeded():
    seeds = iter(range(9))
    with pytest.raises(AssertionError, match="built twice"):
        check_policy(lambda env: Choosing(random, seed=next(seeds)), **SMALL)


def test_a_policy_without_a_name():
    policy = Choosing(wait)
    policy.name = ""
    with pytest.raises(AssertionError, match="needs a name"):
        check_policy(lambda env: policy, **SMALL)
