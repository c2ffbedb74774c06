from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.baselines import SEARCHES, known_policies
from agents.evaluation import evaluation_contexts
from agents.rcl import BASELINE_RATE, NOISE, Controller, choices_of, rcl
from growenv.config import GrowthConfig
from tests.agents.fake_env import CONFIG, FakeVectorEnv, make_contexts, with_tasks


def test_choices_reach_what_a_task_can_add() -> None:
    # Six decisions give each of two layers three turns of at most 16; steps of 48 / 29 are rounded to multiples of 4.
    assert choices_of(GrowthConfig()).tolist() == list(range(0, 49, 4))
    single = GrowthConfig(hidden=(4,), max_hidden=(99,), amounts=(1,), decisions=29)
    assert choices_of(single).tolist() == list(range(30))


def lstm_by_hand(x: np.ndarray, output: np.ndarray, memory: np.ndarray, weights: np.ndarray) -> tuple:
    gates = np.concatenate((x, output, [1.0])) @ weights
    enter, keep, show = (1.0 / (1.0 + np.exp(-part)) for part in np.split(gates, 4)[:3])
    memory = keep * memory + enter * np.tanh(np.split(gates, 4)[3])
    return show * np.tanh(memory), memory


def test_the_probability_of_a_sequence_is_that_of_two_lstm_layers() -> None:
    controller = Controller(np.array([3, 4]), 1, 2, 5)
    with torch.no_grad():  # so that the choices are no longer nearly alike
        for weights in controller.weights.values():
            weights *= 8.0
    weights = {name: values[1].detach().double().numpy() for name, values in controller.weights.items()}
    output = memory = upper = upper_memory = np.zeros(100)
    x, expected = controller.noise[1].double().numpy() @ weights["noise_in"], 0.0
    for place in (3, 1):
        output, memory = lstm_by_hand(x, output, memory, weights["lower"])
        upper, upper_memory = lstm_by_hand(output, upper, upper_memory, weights["upper"])
        logits = upper @ weights["out"]
        expected += logits[place] - np.log(np.exp(logits).sum())
        x = weights["choice_in"][place]
    found = controller.log_probability(np.array([[0, 0], [3, 1]])).detach().numpy()
    assert found[1] == pytest.approx(expected, abs=1e-5)
    assert abs(expected - 2 * np.log(1 / 5)) > 0.01


def test_probabilities_of_all_sequences_sum_to_one() -> None:
    controller = Controller(np.array([3]), 0, 2, 3)
    logs = [controller.log_probability(np.array([[a, b]])).item() for a in range(3) for b in range(3)]
    assert np.exp(logs).sum() == pytest.approx(1.0, abs=1e-5)


def test_the_baseline_learns_the_mean_reward_linearly() -> None:
    controller = Controller(np.array([5]), 0, 1, 3)
    controller.learn(np.array([[1]]), np.array([0.5]))
    state = np.append(controller.noise[0].numpy(), 1.0)
    np.testing.assert_allclose(controller.baseline[0].numpy(), BASELINE_RATE * 0.5 * state, rtol=1e-5)
    for _ in range(200):
        controller.learn(np.array([[1]]), np.array([0.5]))
    assert float(state @ controller.baseline[0].double().numpy()) == pytest.approx(0.5, abs=0.01)
    assert len(state) == NOISE + 1


def test_what_is_rewarded_becomes_likelier_in_each_row_by_itself() -> None:
    controller = Controller(np.arange(2), 0, 2, 4)
    for trial in range(150):
        places = controller.propose(trial)
        controller.learn(places, (places == np.array([[0, 3], [2, 1]])).mean(axis=1))
    right = controller.log_probability(np.array([[0, 3], [2, 1]])).exp()
    assert right.min().item() > 0.5


def test_proposals_depend_on_the_row_and_the_task_alone() -> None:
    both, alone = Controller(np.array([7, 8]), 2, 2, 10), Controller(np.array([8]), 2, 2, 10)
    other = Controller(np.array([8]), 3, 2, 10)
    drawn = [both.propose(trial)[1].tolist() for trial in range(20)]
    assert drawn == [alone.propose(trial)[0].tolist() for trial in range(20)]
    assert drawn != [other.propose(trial)[0].tolist() for trial in range(20)]
    assert not torch.equal(both.noise[1], other.noise[0])


def test_trials_are_counted_and_the_best_is_kept() -> None:
    config = GrowthConfig(**{**CONFIG.to_json(), "tasks": 1})
    contexts = with_tasks(make_contexts(4, price=0.1), 1)
    few, many = (rcl(config, contexts, trials=trials, make_env=FakeVectorEnv) for trials in (1, 12))
    assert (few[1], many[1]) == (4, 12 * 4)
    gained = [np.mean([record.return_ for record in records]) for records, _ in (few, many)]
    # The best is 1/2 + W / (2 (W + 8)) - 0.1 W / 64 at 40 neurons.
    assert gained[0] < gained[1] <= 0.5 + 40 / 96 - 4 / 64 + 1e-9
    assert {record.policy for record in many[0]} == {"rcl"}


def test_no_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one trial, got 0"):
        rcl(CONFIG, make_contexts(1), trials=0, make_env=FakeVectorEnv)


def test_it_is_one_of_the_searches() -> None:
    assert "rcl" in SEARCHES
    assert "rcl" in known_policies()


def test_it_plays_real_networks() -> None:
    config = GrowthConfig(tasks=2, decisions=2, minibatches=1, budget=1.0, price=0.15)
    records, steps = rcl(config, evaluation_contexts(config, "val", 2), trials=2)
    assert steps == 2 * 4
    assert sum(record.growth_events for record in records) > 0
