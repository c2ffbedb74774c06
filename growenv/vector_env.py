"""GrowthVectorEnv: N growing networks as one Gymnasium vector environment."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium import spaces
from numpy.typing import NDArray

from growenv import rendering
from growenv.actions import ActionTable
from growenv.config import GrowthConfig
from growenv.episodes import Episodes
from growenv.hardware import METERS, largest
from growenv.learner import Learner
from growenv.observations import ObservationEncoder
from growenv.registry import unknown_name
from growenv.rewards import RewardTerms, decision_reward
from growenv.streams import DISTRIBUTIONS, Context, draw_context, load_dataset, stream_length

RESET_OPTIONS = ("contexts", "split", "indices", "inner_seeds", "reset_mask")
Info = dict[str, Any]


class GrowthVectorEnv(VectorEnv):
    """N rows of `GrowthEnv`, which specifies the problem; trained in lock-step by one engine.

    Row i behaves as ``GrowthEnv`` seeded with ``seed + i`` does, whatever the other rows do.

    ## Ends of streams
    A stream ends with ``terminated``, never with ``truncated``. What follows depends on `autoreset_mode`:

    | mode | at the end of a stream |
    | --- | --- |
    | ``SAME_STEP`` (default) | the row begins its next stream; ``infos["final_obs"]`` and ``infos["final_info"]`` hold what it left |
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

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}

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
        if not isinstance(num_envs, int) or num_envs < 1:
            raise ValueError(f"num_envs={num_envs!r}: expected an integer >= 1")
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise unknown_name("render mode", render_mode, self.metadata["render_modes"])
        self.config = GrowthConfig.from_options(config, **options)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.autoreset_mode = _autoreset(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.dataset = load_dataset(self.config.dataset)
        self.streams = DISTRIBUTIONS.make(self.config.streams)
        tasks = stream_length(self.config.tasks, self.config.split)
        self.meter = copy.deepcopy(METERS.make(self.config.meter))
        self.reasons = ("", "width", *self.meter.reasons[1:])
        self.learner = Learner(self.config, self.dataset, num_envs, tasks, device=device)
        self.actions = ActionTable(len(self.config.hidden), self.config.amounts)
        self.encoder = ObservationEncoder(self.config, self.actions)
        self.feature_names = self.encoder.feature_names
        self.single_observation_space = self.encoder.space
        self.single_action_space = spaces.Discrete(self.actions.size)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        full = largest(self.dataset.features, self.config.max_hidden, tasks, self.dataset.classes)
        self.capacity = float(self.meter.usage(full)[0])
        self.episodes = Episodes(num_envs, tasks, self.dataset.classes)
        self.generators: list[np.random.Generator] = [seeding.np_random(None)[0] for _ in range(num_envs)]
        self._codes = np.zeros((num_envs, self.actions.size), dtype=np.int8)
        self._costs = np.zeros((num_envs, self.actions.size))
        self._begun = False

    # -- Gymnasium ---------------------------------------------------------------------------------------------------

    @property
    def contexts(self) -> list[Context]:
        """The context of each row."""
        return list(self.episodes.contexts)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.float32]], Info]:
        """Begin new streams in all rows, or in those of ``options["reset_mask"]``.

        Args:
            seed: seed of row 0, the next rows taking the numbers that follow; or one seed for each row.
            options: see the class.

        Returns:
            Observations and infos of all rows.

        Raises:
            ValueError: an option that does not exist, or that does not fit the environment.
        """
        options = dict(options or {})
        for name in options:
            if name not in RESET_OPTIONS:
                raise unknown_name("reset option", name, RESET_OPTIONS)
        rows = self._reset_rows(options.get("reset_mask"))
        self._seed(seed, rows)
        self._begin(rows, self._draw_contexts(rows, options))
        nothing = np.zeros(self.num_envs)
        terms = RewardTerms(nothing, nothing.copy(), nothing.copy())
        return self._observe(), self._infos(terms, np.zeros(self.num_envs, dtype=np.int8))

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Info]:
        """Grow as the actions say, train, measure.

        Args:
            actions: one action index for each row, shape (N,).

        Returns:
            Observations, rewards (N,), terminated (N,), truncated (N,), infos.

        Raises:
            ValueError: actions of another shape, or outside the action space.
            RuntimeError: `reset` has not been called.
        """
        chosen = self._checked(actions)
        episodes, live = self.episodes, ~self.episodes.ended
        chosen = np.where(live, chosen, 0)
        accuracy, used = episodes.mean_accuracy, episodes.used.copy()
        codes = self._grow(chosen)
        self._train(live)
        self._close_tasks(live)
        lost = live & episodes.diverged
        terms = decision_reward(
            accuracy, episodes.mean_accuracy, used, episodes.used, episodes.price, lost, self.config.divergence_penalty
        )
        terminated = episodes.ended.copy()
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            self._begin(~live, self._draw_contexts(~live, {}))
            terminated &= live
        self._refresh()
        observations, infos = self._observe(), self._infos(terms, codes)
        if self.autoreset_mode == AutoresetMode.SAME_STEP and terminated.any():
            observations, infos = self._restart(terminated, observations, infos)
        return observations, terms.total, terminated, np.zeros(self.num_envs, dtype=np.bool_), infos

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions are legal, shape (N, A)."""
        masks: NDArray[np.bool_] = self._codes == 0
        return masks

    def render(self) -> tuple[Any, ...] | None:
        """One frame a row: uint8 pictures of shape (height, width, 3), or texts."""
        if self.render_mode is None:
            return None
        self._need_reset()
        show = rendering.draw if self.render_mode == "rgb_array" else rendering.text
        return tuple(show(self._frame(row)) for row in range(self.num_envs))

    def snapshot(self) -> dict[str, Any]:
        """A copy of the whole state; `restore` continues from it exactly, generators included."""
        names = ("episodes", "generators", "_codes", "_costs", "_begun")
        state = {name: copy.deepcopy(getattr(self, name)) for name in names}
        return {"learner": self.learner.snapshot(), "meter": self.meter.snapshot(), "own": state}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a state that `snapshot` returned; it can be restored again and again."""
        self.learner.restore(snapshot["learner"])
        self.meter.restore(snapshot["meter"])
        for name, value in copy.deepcopy(snapshot["own"]).items():
            setattr(self, name, value)

    # -- beginning ---------------------------------------------------------------------------------------------------

    def _reset_rows(self, mask: Any) -> NDArray[np.bool_]:
        if mask is None:
            return np.ones(self.num_envs, dtype=np.bool_)
        rows = np.array(mask)
        if rows.dtype != np.bool_ or rows.shape != (self.num_envs,) or not rows.any():
            raise ValueError(
                f"reset_mask={mask!r}: expected {self.num_envs} booleans with at least one True"
            )
        if not self._begun:
            raise RuntimeError("some rows have never been reset; call reset() without a reset_mask first")
        return rows

    def _seed(self, seed: int | Sequence[int | None] | None, rows: NDArray[np.bool_]) -> None:
        if seed is None:
            return
        seeds = [seed + row for row in range(self.num_envs)] if isinstance(seed, int | np.integer) else list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"{len(seeds)} seeds for {self.num_envs} rows; give one number, or one for each row")
        for row in np.flatnonzero(rows):
            if seeds[row] is not None:
                self.generators[row] = seeding.np_random(seeds[row])[0]

    def _draw_contexts(self, rows: NDArray[np.bool_], options: dict[str, Any]) -> list[Context]:
        """New contexts for some rows; the others keep theirs."""
        given = {name: options.get(name) for name in ("contexts", "indices", "inner_seeds")}
        for name, values in given.items():
            if values is not None and len(values) != self.num_envs:
                raise ValueError(f"{len(values)} {name} for {self.num_envs} rows; give one for each row")
        contexts: list[Any] = list(self.episodes.contexts) or [None] * self.num_envs
        for row in np.flatnonzero(rows):
            draws = self.generators[row].integers(0, 2**31), self.generators[row].integers(0, 2**63 - 1)
            index, inner_seed = (
                int(draw if given[name] is None else given[name][row])
                for draw, name in zip(draws, ("indices", "inner_seeds"), strict=True)
            )
            if given["contexts"] is not None:
                context = given["contexts"][row]
                contexts[row] = context if isinstance(context, Context) else Context.from_json(context)
                contexts[row].check(self.dataset)
            else:
                contexts[row] = draw_context(
                    self.streams,
                    self.dataset,
                    options.get("split", self.config.split),
                    index,
                    tasks=self.config.tasks,
                    budget=self.config.budget,
                    price=self.config.price,
                    inner_seed=inner_seed,
                )
            if len(contexts[row].tasks) > self.episodes.tasks:
                raise ValueError(
                    f"context {contexts[row].id} has {len(contexts[row].tasks)} tasks, this environment holds "
                    f"{self.episodes.tasks}; make it with tasks={len(contexts[row].tasks)}, or split='ood' for ood contexts"
                )
        return contexts

    def _begin(self, rows: NDArray[np.bool_], contexts: list[Context]) -> None:
        if not rows.any():
            return
        episodes, learner = self.episodes, self.learner
        learner.begin(rows, contexts)
        episodes.begin(rows, contexts)
        self._begun = True
        episodes.outputs[rows, 0] = learner.data.task_classes[rows, 0]
        now = episodes.architecture(self.dataset.features, learner.units, learner.protection.directed)
        self.meter.begin(rows, now)
        self._refresh()
        episodes.used_at_start[rows] = episodes.used[rows]
        over = rows & (self._reserved() > episodes.budget * self.capacity * (1 + 1e-9))
        if over.any():
            row = int(np.flatnonzero(over)[0])
            raise ValueError(
                f"the initial network {self.config.hidden} with its heads needs {self._reserved()[row]:.0f} "
                f"{self.meter.unit}, the budget of context {contexts[row].id} is "
                f"{episodes.budget[row] * self.capacity:.0f}; raise the budget or start with fewer neurons"
            )
        if self.config.accuracy_matrix:
            for task in range(episodes.tasks):
                wanted = np.full(self.num_envs, task)
                episodes.untrained[rows, task] = learner.accuracy("test", wanted)[rows]

    def _restart(
        self, rows: NDArray[np.bool_], observations: dict[str, NDArray[np.float32]], infos: Info
    ) -> tuple[dict[str, NDArray[np.float32]], Info]:
        """Begin new streams in rows that have just ended, keeping what they left in the infos."""
        final_obs = np.full(self.num_envs, None, dtype=object)
        for row in np.flatnonzero(rows):
            final_obs[row] = {name: values[row].copy() for name, values in observations.items()}
        final_info = {name: (values & rows if name[0] == "_" else values) for name, values in infos.items()}
        self._begin(rows, self._draw_contexts(rows, {}))
        nothing = np.zeros(self.num_envs)
        fresh = self._infos(RewardTerms(nothing, nothing, nothing), np.zeros(self.num_envs, dtype=np.int8))
        for name, values in infos.items():
            if name[0] != "_":
                where = rows.reshape(-1, *([1] * (values.ndim - 1)))
                fresh[name] = np.where(where, fresh[name], values)
        ended = {"final_obs": final_obs, "_final_obs": rows.copy(), "final_info": final_info, "_final_info": rows.copy()}
        return self._observe(), {**fresh, **ended}

    # -- one decision ------------------------------------------------------------------------------------------------

    def _checked(self, actions: Any) -> NDArray[np.int64]:
        self._need_reset()
        chosen = np.asarray(actions)
        if chosen.shape != (self.num_envs,) or not np.issubdtype(chosen.dtype, np.integer):
            raise ValueError(f"actions={actions!r}: expected {self.num_envs} integers, one for each row")
        if chosen.min() < 0 or chosen.max() >= self.actions.size:
            raise ValueError(f"actions={actions!r}: expected numbers from 0 to {self.actions.size - 1}")
        return chosen.astype(np.int64)

    def _need_reset(self) -> None:
        if not self._begun:
            raise RuntimeError("the environment has not begun; call reset() first")

    def _grow(self, chosen: NDArray[np.int64]) -> NDArray[np.int8]:
        """Carry out the requests that fit; the refusal code of every row's request."""
        codes = self._codes[np.arange(self.num_envs), chosen]
        layer, amount = self.actions.request(np.where(codes == 0, chosen, 0))
        if amount.any():
            self.learner.grow(layer, amount)
            self.meter.commit(amount > 0, self._architecture())
        self.episodes.record_growth(self.learner.task, layer, amount)
        return codes

    def _train(self, live: NDArray[np.bool_]) -> None:
        learner, episodes = self.learner, self.episodes
        report = learner.train()
        accuracy, loss = learner.validate()
        episodes.record_training(learner.task, report, accuracy, loss, live)
        if learner.protection.invariant:
            return
        for task in range(int(learner.task.max())):
            rows = live & (task < learner.task) & ~episodes.diverged
            wanted = np.where(rows, task, learner.task)
            episodes.accuracies[rows, task] = learner.accuracy("validation", wanted)[rows]

    def _close_tasks(self, live: NDArray[np.bool_]) -> None:
        """Measure and leave the tasks that this decision finished."""
        learner, episodes = self.learner, self.episodes
        finished = live & ~episodes.diverged & (episodes.task_decisions == self.config.decisions)
        if finished.any():
            self._measure(finished)
        last = finished & (learner.task == episodes.lengths - 1)
        episodes.ended |= last | (live & episodes.diverged)
        onwards = finished & ~last
        if onwards.any():
            learner.next_task(onwards)
            row = np.flatnonzero(onwards)
            episodes.outputs[row, learner.task[row]] = learner.data.task_classes[row, learner.task[row]]
            episodes.task_decisions[row], episodes.since_growth[row] = 0, 0
            self.meter.commit(onwards, self._architecture())
        episodes.used = self.meter.usage(self._architecture()) / self.capacity

    def _measure(self, rows: NDArray[np.bool_]) -> None:
        """Fill the accuracy matrix on inner-test data after the current task of some rows."""
        learner, episodes = self.learner, self.episodes
        row, now = np.flatnonzero(rows), learner.task[rows]
        for task in range(episodes.tasks):
            keep = learner.protection.invariant & (task < now)
            episodes.matrix[row[keep], now[keep], task] = episodes.matrix[row[keep], now[keep] - 1, task]
            needed = (task <= now) | self.config.accuracy_matrix
            needed &= ~keep & (task < episodes.lengths[row])
            if needed.any():
                wanted = learner.task.copy()
                wanted[row[needed]] = task
                accuracy = learner.accuracy("test", wanted)
                episodes.matrix[row[needed], now[needed], task] = accuracy[row[needed]]

    # -- reading -----------------------------------------------------------------------------------------------------

    def _architecture(self, reserve: bool = False) -> Any:
        learner = self.learner
        return self.episodes.architecture(
            self.dataset.features, learner.units, learner.protection.directed, reserve
        )

    def _reserved(self) -> NDArray[np.float64]:
        """What the networks use with room for the heads of all tasks to come, (N,)."""
        return self.meter.usage(self._architecture(reserve=True))

    def _refresh(self) -> None:
        """Work out what every action would cost and whether it fits."""
        episodes, learner = self.episodes, self.learner
        now, reserved = self._architecture(), self._architecture(reserve=True)
        used = self.meter.usage(now)
        episodes.used = used / self.capacity
        limit = episodes.budget * self.capacity
        widths, most = learner.units.sum(axis=1), np.array(self.config.max_hidden)
        for action in range(1, self.actions.size):
            layer, amount = int(self.actions.layer[action]), int(self.actions.amount[action])
            too_wide = widths[:, layer] + amount > most[layer]
            refused = self.meter.refuse(reserved, layer, amount, learner.task, limit)
            self._codes[:, action] = np.where(too_wide, 1, np.where(refused > 0, refused + 1, 0))
            grown = self.meter.usage(now.grown(layer, amount, learner.task))
            self._costs[:, action] = (grown - used) / self.capacity

    def _observe(self) -> dict[str, NDArray[np.float32]]:
        learner = self.learner
        return self.encoder.encode(
            self.episodes, learner.task, learner.units, learner.data.familiarity, self._costs, self.action_masks()
        )

    def _infos(self, terms: RewardTerms, codes: NDArray[np.int8]) -> Info:
        episodes, learner, n = self.episodes, self.learner, self.num_envs
        row = np.arange(n)
        objective = episodes.mean_accuracy * ~episodes.diverged
        objective -= episodes.price * (episodes.used - episodes.used_at_start)
        objective -= self.config.divergence_penalty * episodes.diverged
        infos: Info = {
            "action_mask": self.action_masks().astype(np.int8),
            "context_id": np.array([context.id for context in episodes.contexts], dtype=object),
            "context_index": np.array([context.index for context in episodes.contexts], dtype=np.int64),
            "task": learner.task.copy(),
            "decision": episodes.decisions.copy(),
            "invalid_action": codes > 0,
            "refusal": np.array([self.reasons[code] for code in codes], dtype=object),
            "reward_accuracy": terms.accuracy.copy(),
            "reward_cost": terms.cost.copy(),
            "reward_penalty": terms.penalty.copy(),
            "validation_accuracy": episodes.mean_accuracy,
            "task_accuracy": episodes.accuracies[row, learner.task],
            "used": episodes.used.copy(),
            "budget": episodes.budget,
            "price": episodes.price,
            "widths": learner.units.sum(axis=1),
            "diverged": episodes.diverged.copy(),
            **episodes.final_figures(),
            "objective": np.where(episodes.ended, objective, 0.0),
            "growth_log": np.array(
                [episodes.growth_log(r) if episodes.ended[r] else "[]" for r in range(n)], dtype=object
            ),
        }
        return {**infos, **{f"_{name}": np.ones(n, dtype=np.bool_) for name in infos}}

    def _frame(self, row: int) -> rendering.Frame:
        episodes, learner = self.episodes, self.learner
        context, task = episodes.contexts[row], int(learner.task[row])
        length = len(context.tasks)
        seen = episodes.trained[row, :length]
        history = {
            f"task {number}": [
                accuracy if number == when else float("nan") for when, accuracy in episodes.history[row]
            ]
            for number in range(task + 1)
        }
        return rendering.Frame(
            context_id=context.id,
            task=task,
            tasks=length,
            decision=int(episodes.decisions[row]),
            decisions=length * self.config.decisions,
            classes=tuple(task.classes for task in context.tasks),
            widths=learner.units[row].sum(axis=0),
            max_hidden=self.config.max_hidden,
            generations=learner.units[row, :length],
            accuracies=np.where(seen, episodes.accuracies[row, :length], np.nan),
            used=float(episodes.used[row]),
            budget=context.budget,
            price=context.price,
            growth=[(when, layer, amount) for when, _, layer, amount in episodes.growth[row]],
            history=history,
        )


def _autoreset(mode: str | AutoresetMode) -> AutoresetMode:
    if isinstance(mode, AutoresetMode):
        return mode
    names = {member.name: member for member in AutoresetMode}
    if mode not in names:
        raise unknown_name("autoreset mode", mode, names)
    return names[mode]
