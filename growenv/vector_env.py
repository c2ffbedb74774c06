"""GrowthVectorEnv: N growing networks as one Gymnasium vector environment."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from growenv import rendering, views
from growenv.admission import Admission
from growenv.batching import autoreset_of, checked_actions, checked_count, checked_mask
from growenv.config import GrowthConfig
from growenv.context_source import ContextSource
from growenv.episodes import Episodes
from growenv.growth.signals import Scene, SignalPanel, probe_samples
from growenv.learner import Learner
from growenv.observations import ObservationEncoder
from growenv.registry import unknown_name
from growenv.rewards import RewardTerms, decision_reward
from growenv.streams import Context, pooled, stream_length

Observation = dict[str, NDArray[np.float32]]


class GrowthVectorEnv(VectorEnv):
    """N rows of `GrowthEnv`, which specifies the problem; trained in lock-step by one engine.

    Row i behaves as ``GrowthEnv`` seeded with ``seed + i`` does, whatever the other rows do.

    ## Ends of streams
    A stream ends with ``terminated``, never with ``truncated``. What follows depends on `autoreset_mode`:

    | mode | at the end of a stream |
    | --- | --- |
    | ``SAME_STEP`` (default) | the row begins its next stream; ``infos`` holds ``final_obs`` and ``final_info`` |
    | ``NEXT_STEP`` | the next step ignores the row's action, begins its next stream and returns reward 0 |
    | ``DISABLED`` | the row idles with reward 0 until ``reset(options={"reset_mask": ...})`` |

    ## Reset options
    ``contexts`` (N contexts or their JSON), ``split``, ``indices`` (N context numbers), ``inner_seeds`` (N seeds) and
    ``reset_mask`` (which rows are reset, shape (N,)).

    Args:
        num_envs: number of rows N.
        config: options; those given by name replace them.
        autoreset_mode: an `AutoresetMode` or its name.
        render_mode: ``"rgb_array"``, ``"ansi"`` or None; `render` returns one frame a row.
        device: where networks and data live.
        options: options of `GrowthConfig`.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (an instance has its own, with its autoreset mode)
        "render_modes": ["rgb_array", "ansi"],
        "render_fps": 4,
    }

    def __init__(
        self,
        num_envs: int = 1,
        config: GrowthConfig | None = None,
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        device: str = "cpu",
        **options: Any,
    ) -> None:
        num_envs = checked_count(num_envs)
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise unknown_name("render mode", render_mode, self.metadata["render_modes"])
        self.config = GrowthConfig.from_options(config, **options)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.autoreset_mode = autoreset_of(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.dataset = pooled(self.config.dataset, self.config.input_pool)
        tasks = stream_length(self.config.tasks, self.config.split)
        self.source = ContextSource(self.config, self.dataset, num_envs, tasks)
        self.learner = Learner(self.config, self.dataset, num_envs, tasks, dtype=self.config.dtype, device=device)
        self.admission = Admission(self.config, self.learner)
        self.learner.admit = self._admit
        self.actions = self.admission.actions
        self.episodes = Episodes(num_envs, tasks, self.dataset.classes)
        self._check_signals()
        self.panel = SignalPanel(self.config.signals, num_envs, len(self.config.hidden))
        self.encoder = ObservationEncoder(
            self.config, self.actions, self.admission.feature_names, self.panel.feature_names
        )
        self.feature_names = self.encoder.feature_names
        self.single_observation_space = self.encoder.space
        self.single_action_space = spaces.Discrete(self.actions.size)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._refused = np.zeros(num_envs, dtype=np.int8)
        self._losses = np.zeros((num_envs, self.config.minibatches))
        self._begun = False

    # -- Gymnasium ---------------------------------------------------------------------------------------------------

    @property
    def contexts(self) -> list[Context]:
        """The context of each row."""
        return list(self.episodes.contexts)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, views.Info]:
        """Begin new streams in all rows, or in those of ``options["reset_mask"]``.

        Args:
            seed: seed of row 0, the next rows taking the numbers that follow; or one seed for each row.
            options: see the class.

        Returns:
            Observations and infos of all rows.

        Raises:
            ValueError: an option that does not exist, or that does not fit the environment.
        """
        rows = checked_mask((options or {}).get("reset_mask"), self.num_envs, self._begun)
        self.source.seed(seed, rows)
        self._begin(rows, options)
        self._look(rows)
        return self._observe(), self._infos()

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], views.Info]:
        """Grow as the actions say, train, measure.

        Args:
            actions: one action index for each row, shape (N,).

        Returns:
            Observations, rewards (N,), terminated (N,), truncated (N,), infos.

        Raises:
            ValueError: actions of another shape, or outside the action space.
            RuntimeError: `reset` has not been called.
        """
        self._need_reset()
        chosen = checked_actions(actions, self.num_envs, self.actions.size)
        episodes, live = self.episodes, ~self.episodes.ended
        chosen = np.where(live, chosen, 0)
        accuracy, used = episodes.mean_accuracy, episodes.used.copy()
        self._grow(chosen)
        self._train(live)
        self._close_tasks(live)
        lost = live & episodes.diverged
        terms = decision_reward(
            accuracy, episodes.mean_accuracy, used, episodes.used, episodes.price, lost, self.config.divergence_penalty
        )
        terminated, changed = episodes.ended.copy(), live
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            self._begin(~live)
            terminated &= live
            changed = np.ones_like(live)
        self._look(changed)
        observations, infos = self._observe(), self._infos(terms)
        if self.autoreset_mode == AutoresetMode.SAME_STEP and terminated.any():
            observations, infos = self._restart(terminated, observations, infos)
        return observations, terms.total, terminated, np.zeros(self.num_envs, dtype=np.bool_), infos

    @property
    def figure_names(self) -> tuple[str, ...]:
        """Infos that the hardware adds at the end of a stream."""
        return tuple(self.admission.figures)

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions are legal, shape (N, A)."""
        return self.admission.masks

    def render(self) -> tuple[Any, ...] | None:
        """One frame a row: uint8 pictures of shape (height, width, 3), or texts."""
        if self.render_mode is None:
            return None
        self._need_reset()
        show = rendering.draw if self.render_mode == "rgb_array" else rendering.text
        reasons = [self.admission.reasons[code] for code in self._refused]
        parts = (self.config, self.episodes, self.learner, self.admission)
        return tuple(show(views.frame(*parts, reason, row)) for row, reason in enumerate(reasons))

    def snapshot(self) -> dict[str, Any]:
        """A copy of the whole state; `restore` continues from it exactly, generators included."""
        own = copy.deepcopy((self.episodes, self.source.generators, self._refused, self._losses, self._begun))
        parts = {"admission": self.admission.state(), "signals": self.panel.state()}
        return {"learner": self.learner.snapshot(), **parts, "own": own}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a state that `snapshot` returned; it can be restored again and again."""
        self.learner.restore(snapshot["learner"])
        self.admission.load_state(snapshot["admission"])
        self.panel.load_state(snapshot["signals"])
        own = copy.deepcopy(snapshot["own"])
        self.episodes, self.source.generators, self._refused, self._losses, self._begun = own

    def _check_signals(self) -> None:
        """Refuse signals where the current task, on whose samples they look, is hidden."""
        if self.config.signals and not self.learner.scenario.boundaries:
            raise ValueError(
                f"option signals={self.config.signals}: the scenario {self.learner.scenario.name!r} does not tell when "
                "tasks begin, and signals look at samples of the current task; use signals=()"
            )

    # -- beginning ---------------------------------------------------------------------------------------------------

    def _begin(self, rows: NDArray[np.bool_], options: dict[str, Any] | None = None) -> None:
        """Begin new streams in some rows."""
        episodes, learner = self.episodes, self.learner
        contexts = self.source.draw(rows, episodes.contexts, options)
        if not rows.any():
            return
        self.admission.check(rows, contexts)
        episodes.ended[rows] = True  # until the initial networks stand, nothing can grow
        learner.begin(rows, contexts)
        episodes.begin(rows, contexts)
        self.panel.begin(rows)
        self._note_classes(rows)
        self._refused[rows] = 0
        self._begun = True
        self.admission.begin(rows, episodes)
        episodes.used = self.admission.used(episodes)
        episodes.used_at_start[rows] = episodes.used[rows]
        if self.config.accuracy_matrix:
            for task in range(1, episodes.tasks):
                wanted = np.full(self.num_envs, task)
                episodes.untrained[rows, task] = learner.accuracy("test", wanted)[rows]

    def _restart(
        self, rows: NDArray[np.bool_], observations: Observation, infos: views.Info
    ) -> tuple[Observation, views.Info]:
        """Begin new streams in rows that have just ended, keeping what they left in the infos."""
        final_obs = np.full(self.num_envs, None, dtype=object)
        for row in np.flatnonzero(rows):
            final_obs[row] = {name: values[row].copy() for name, values in observations.items()}
        final_info = {name: (values & rows if name[0] == "_" else values) for name, values in infos.items()}
        self._begin(rows)
        self._look(rows)
        fresh = self._infos()
        for name, values in infos.items():
            if name[0] != "_":
                where = rows.reshape(-1, *([1] * (values.ndim - 1)))
                fresh[name] = np.where(where, fresh[name], values)
        left = {"final_obs": final_obs, "final_info": final_info}
        return self._observe(), {**fresh, **left, **{f"_{name}": rows.copy() for name in left}}

    # -- one decision ------------------------------------------------------------------------------------------------

    def _need_reset(self) -> None:
        if not self._begun:
            raise RuntimeError("the environment has not begun; call reset() first")

    def _grow(self, chosen: NDArray[np.int64]) -> None:
        """Carry out the requests that fit."""
        self._refused = self.admission.codes[np.arange(self.num_envs), chosen]
        layer, amount = self.actions.request(np.where(self._refused == 0, chosen, 0))
        if (amount > 0).any():
            self.admission.grow(layer, np.maximum(amount, 0), self.episodes, self.actions.region[chosen])
        if (amount < 0).any():
            self.admission.prune(layer, np.maximum(-amount, 0), self.episodes)
        self.episodes.record_growth(self.learner.task, layer, amount)

    def _admit(self, layer: int, amounts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Growth that the protection asks for has to fit as an action's does."""
        admitted = self.admission.admit(layer, amounts, self.episodes)
        self.episodes.log_growth(self.learner.task, np.full(self.num_envs, layer), admitted)
        return admitted

    def _train(self, live: NDArray[np.bool_]) -> None:
        learner, episodes = self.learner, self.episodes
        report = learner.train()
        self.admission.follow(episodes)
        accuracy, loss = learner.validate()
        episodes.record_training(learner.task, report, accuracy, loss, live)
        self._losses = report.losses
        if learner.invariant:
            return
        together = learner.scenario.together
        for task in range(episodes.tasks if together else int(learner.task.max())):
            known = (task != learner.task) & (task < episodes.lengths) if together else task < learner.task
            rows = live & known & ~episodes.diverged
            wanted = np.where(rows, task, learner.task)
            episodes.accuracies[rows, task] = learner.accuracy("validation", wanted)[rows]

    def _close_tasks(self, live: NDArray[np.bool_]) -> None:
        """Measure and leave the tasks that this decision finished."""
        learner, episodes = self.learner, self.episodes
        finished = live & ~episodes.diverged & (episodes.task_decisions == self.config.decisions)
        if finished.any():
            self._measure(finished)
        last = finished & (learner.task == episodes.lengths - 1)
        ended = last | (live & episodes.diverged)
        episodes.ended |= ended
        self.admission.finish(ended, episodes)
        onwards = finished & ~last
        if onwards.any():
            learner.next_task(onwards)
            row = np.flatnonzero(onwards)
            self.admission.follow(episodes)
            self._note_classes(onwards)
            episodes.task_decisions[row], episodes.since_growth[row] = 0, 0
            self.admission.begin_heads(onwards, episodes)
        episodes.used = self.admission.used(episodes)

    def _note_classes(self, rows: NDArray[np.bool_]) -> None:
        """Some rows have begun a task, with its classes."""
        learner, episodes, row = self.learner, self.episodes, np.flatnonzero(rows)
        episodes.outputs[row, learner.task[row]] = learner.data.task_classes[row, learner.task[row]]
        if learner.scenario.scored != "task":
            episodes.seen[row] = learner.heads.seen[row].sum(axis=1)

    def _measure(self, rows: NDArray[np.bool_]) -> None:
        """Fill the accuracy matrix on inner-test data after the current task of some rows."""
        learner, episodes = self.learner, self.episodes
        row, now = np.flatnonzero(rows), learner.task[rows]
        for task in range(episodes.tasks):
            keep = learner.invariant & (task < now)
            episodes.matrix[row[keep], now[keep], task] = episodes.matrix[row[keep], now[keep] - 1, task]
            # Forward transfer needs each task just before it is trained; no metric needs those further ahead.
            needed = task <= now + self.config.accuracy_matrix
            needed &= ~keep & (task < episodes.lengths[row])
            if needed.any():
                wanted = learner.task.copy()
                wanted[row[needed]] = task
                accuracy = learner.accuracy("test", wanted)
                episodes.matrix[row[needed], now[needed], task] = accuracy[row[needed]]

    # -- reading -----------------------------------------------------------------------------------------------------

    def _look(self, rows: NDArray[np.bool_]) -> None:
        """Work out what fits now in all rows, and the signals of those that have changed, if it is their turn."""
        self.admission.refresh(self.episodes)
        due = rows & (self.episodes.task_decisions % self.config.signals_every == 0)
        if self.panel and due.any():
            self.panel.measure(self.scene(), due)

    def scene(self) -> Scene:
        """What signals may look at now; to be used before the next step."""
        episodes, learner, row = self.episodes, self.learner, np.arange(self.num_envs)
        return Scene(
            evidence=learner.evidence(samples=probe_samples(self.config.max_hidden)),
            units=learner.units,
            task=learner.task,
            outputs=episodes.outputs[row, learner.task],
            trained=episodes.trained[row, learner.task],
            losses=self._losses,
            validation_accuracy=episodes.accuracies[row, learner.task],
            validation_loss=episodes.validation_loss,
            unit_cost=self.admission.cost_of_a_neuron(),
        )

    def _observe(self) -> Observation:
        learner, admission = self.learner, self.admission
        return self.encoder.encode(
            self.episodes,
            learner.task,
            learner.units,
            learner.data.familiarity,
            admission.costs,
            admission.masks,
            admission.features,
            self.panel.values,
        )

    def _infos(self, terms: RewardTerms | None = None) -> views.Info:
        return views.infos(self.config, self.episodes, self.learner, self.admission, self._refused, terms)
