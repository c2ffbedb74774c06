"""GrowthEnv: when and where should a network grow? One network as a Gymnasium environment."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from growenv.batching import first_info, first_observation
from growenv.config import GrowthConfig
from growenv.vector_env import GrowthVectorEnv


class GrowthEnv(gym.Env[dict[str, NDArray[np.float32]], np.int64]):
    """A growing network learns a stream of tasks; the agent decides when and where it grows.

    ## Description
    An episode is one stream: `tasks` tasks of `decisions` decisions each. At every decision the network may grow,
    then it trains `minibatches` minibatches of the current task and is measured on the task's validation samples.
    Growth uses hardware, which has a hard budget and a price. Both are drawn for every episode and can be seen, and
    so can how familiar the task's inputs look; a good policy grows where a new task needs it, as far as the price
    allows.

    The hardware is Mosaic unless `meter` says otherwise: a grid of tiles that hold neurons, in a mesh of routers
    (``docs/mosaic.md``). All neurons of one request stand on one tile and never move. Connections within a tile are
    cheap; between tiles every neuron needs a channel of each router on its way, and of the tiles that it reaches.

    ## Action space
    ``Discrete(1 + layers * len(amounts))``. With the defaults (two hidden layers, amounts 4 and 16):

    | index | meaning |
    | --- | --- |
    | 0 | wait: keep training, always legal |
    | 1, 2 | add 4, 16 neurons to hidden layer 0 |
    | 3, 4 | add 4, 16 neurons to hidden layer 1 |

    The meter chooses the tile. With ``where="tile"`` the action names a region of tiles, and the meter chooses among
    its tiles: ``Discrete(1 + layers * len(amounts) * R)``, regions innermost. `regions` cuts the grid into R regions,
    numbered row by row from the north-west; a grid with fewer rows or columns is cut into single ones. The default
    hardware has 3x3 tiles, hence R = 9:

    | index | meaning |
    | --- | --- |
    | 0 | wait: keep training, always legal |
    | 1 to 9, 10 to 18 | add 4, 16 neurons to hidden layer 0 in region 0 to 8 |
    | 19 to 27, 28 to 36 | add 4, 16 neurons to hidden layer 1 in region 0 to 8 |

    An action is legal if the layer stays within `max_hidden`, some tile has room for all its neurons and their
    channels, and the grown network keeps the budget; all this with the full heads of all tasks to come, so that a
    head always fits. An illegal action grows nothing and costs nothing extra; it sets ``info["invalid_action"]``, and
    ``info["refusal"]`` says why: ``width`` (of the layer), ``slots`` (for neurons on a tile), ``fan-in`` (channels into
    tiles), ``router`` (channels of routers), ``crossbar``, ``memristors``, ``energy``, ``latency`` (limits that a
    `MosaicSpec` may set) or ``budget``. The mask is in the observation, in ``info["action_mask"]`` and in
    `action_masks`.

    The option `prune` adds actions after these, ``prune layer l by k``, layers outermost: the k neurons of the layer
    that matter least to the protection go, if it gives any back. They are legal as long as it gives back so many and
    one neuron stays (else refused as ``kept``), and the smaller network, placed anew where hardware has places, finds
    one within the budget (``placement``). What was used is refunded at its price.

    A protection may ask for growth itself. That needs room and budget as an action's does, costs as much, and is in the
    growth log.

    Under ``protection="freeze"`` a unit that grew in an earlier task is never changed again and reads nothing newer.
    So new units of hidden layer 0 serve the current task only once hidden layer 1 has grown in that task as well.

    A network can also grow deeper: ``hidden=(8, 0)`` starts without hidden layer 1, and the first action that grows it
    adds the layer. That leaves the function as it is, because wires lead around such a layer, before and after: who
    reads the layer also reads what the layer reads (``docs/architecture.md``).

    ## Observation space
    A ``Dict`` of float32 vectors with values in [-1, 1]. `feature_names` names every entry. "Above chance" is 0 for
    guessing and 1 for perfection. Figures of a task that has not been trained on yet are 0.

    | group | entries | range |
    | --- | --- | --- |
    | training | measured | 0 or 1 |
    | | accuracy, above_chance, accuracy_gain (by the last decision) on the task's validation samples | [-1, 1] |
    | | validation_loss, training_loss as x / (1 + x) | [0, 1] |
    | | loss_drop: share of the training loss that the last decision took away | [-1, 1] |
    | | confidence: probability of the right class in training | [0, 1] |
    | | generalisation_gap: validation minus training loss | [-1, 1] |
    | | stream_accuracy: mean over all tasks of the stream, unseen ones counting 0 | [0, 1] |
    | | previous_above_chance: where the previous task ended | [-1, 1] |
    | architecture | width_l: units of each hidden layer, share of the most | [0, 1] |
    | | grown_l: of these, grown in the current task | [0, 1] |
    | | since_growth: decisions since growth in this task, share of a task | [0, 1] |
    | budget | budget, used: shares of what the largest network uses | [0, 1] |
    | | budget_left: share of the budget | [0, 1] |
    | | price: (log10(price) + 3) / 4 | [0, 1] |
    | | cost of each growth action, share of the budget left; 0 where no tile has room for it | [0, 1] |
    | task | task_progress, stream_progress: shares that are over | [0, 1] |
    | | tasks_left as x / (1 + x) | [0, 1] |
    | | classes: share of the data set's classes | [0, 1] |
    | | familiarity: correlation of the mean input with the likest earlier task's | [-1, 1] |
    | | first_task | 0 or 1 |
    | hardware | free_slots: share of all tiles' slots, those held for heads to come not counting as free | [0, 1] |
    | | free_fan_in: share of the channels into tiles | [0, 1] |
    | | free_channels: share of the channels into routers | [0, 1] |
    | | mean_hops: routers between the ends of a connection, share of the longest route's | [0, 1] |
    | action_mask | 1 for legal actions | 0 or 1 |

    What the option `scenario` hides is not there. Where it does not tell when tasks begin (``task-free``,
    ``multitask``) all that depends on that is missing: measured, the figures from validation samples of the current
    task (accuracy to generalisation_gap), grown_l, since_growth and the group task; signals are refused. Where it does
    not tell which task it is (``domain-incremental``, ``task-free``), stream_accuracy, previous_above_chance and the
    group task are missing. Chance is one among the task's classes, or among those seen so far where an answer may be
    any of them.

    Only hardware with places, such as Mosaic, has the group hardware; meters that count have none.

    The option `signals` adds the group signals: evidence for when and where to grow, from a probe batch of training
    samples of the current task, taken when a task begins and after every decision, or every `signals_every` of them.
    Signals change nothing but the observation. With ``signals="all"``, and l for each hidden layer:

    | signal | entries | range |
    | --- | --- | --- |
    | loss | loss_slope, loss_curvature: from the means of early, middle and late minibatches | [-1, 1] |
    | gap | train_accuracy: on the probe batch | [0, 1] |
    | | accuracy_gap: that minus validation accuracy | [-1, 1] |
    | | overfitting_risk: 1 / (1 + exp(4 - gap in points)) | [0, 1] |
    | gradmax | sv_share_l: gradient across layer l, 4 largest squared singular values, share of all layers' | [0, 1] |
    | | sv_strength_l: the same divided by the squared loss, as x / (1 + x) | [0, 1] |
    | gradient | gradient_ratio_l, gradient_ratio_head: norm of gradient over norm of weights, as x / (1 + x) | [0, 1] |
    | | grad_excess_l: largest gradient of a new neuron over half of all the old ones', as x / (1 + x) | [0, 1] |
    | rank | rank_l: singular values of the activations above 0.01, per unit | [0, 1] |
    | | rank_ratio_l: that over its value when the task began, at most 2, halved | [0, 1] |
    | | weight_rank_l: the same of the incoming weights that train, per unit that trains | [0, 1] |
    | dead | dead_l: share of the units that fire on no sample | [0, 1] |
    | senn | senn_ratio_l: gain of natural gradients from new neurons over that from old ones, as x / (1 + x) | [0, 1] |
    | | senn_gain_l: share of the squared errors that new neurons explain, as x / (1 + x) | [0, 1/2] |
    | noracl | saturation_l: effective dimension over its value when the task began, at most 2, halved | [0, 1] |
    | | plasticity_l: share of the weights that train that the task has taken | [0, 1] |
    | firefly | ff_gain_l: share of the loss that the 4 best of 16 random neurons would take, as x / (1 + x) | [0, 1] |
    | gain | gain_per_cost_l: squared singular values over the cost of a neuron, share of all layers' | [0, 1] |
    | | shadow_price: the largest of these for a hundredth of the capacity, as x / (1 + x) | [0, 1] |

    The classes in ``growenv/growth/signals`` define each one exactly.

    ## Reward
    Change of the mean validation accuracy over the stream's tasks (unseen tasks count 0), minus the price times the
    share of capacity newly used. Answers are scored as the scenario says, and old tasks are measured again where they
    can change. So the reward knows of validation samples of past tasks, which a scenario may hide from observations.
    Capacity is what the largest network uses (`max_hidden`, all heads). On Mosaic the share is the mean of two: that of
    the memristors, which are synapses and devices programmed in routers, and that of the routing energy, which is the
    number of routers that one spike of every neuron crosses. ``info`` holds the terms ``reward_accuracy``,
    ``reward_cost`` and ``reward_penalty``; over an episode they sum to ``info["objective"]``.

    ## Start and end
    The network starts with `hidden` units. The episode ends with ``terminated`` after the last decision of the last
    task, or when the network's loss is no longer finite, which costs `divergence_penalty` and all accuracy. It is
    never truncated.

    ## Info
    The same keys at every step: ``action_mask``, ``context_id``, ``context_index``, ``task``, ``decision``,
    ``invalid_action``, ``refusal``, the reward terms, ``validation_accuracy``, ``task_accuracy``, ``used``,
    ``protection_bytes`` (kept by the protection beside the weights), ``budget``, ``price``, ``widths``, ``diverged``;
    and at the end of a stream (0 before) ``acc``, ``bwt``, ``fwt``, ``forgetting`` from the accuracy matrix on
    inner-test data (``acc`` is the inner-test accuracy), ``objective`` and ``growth_log`` (JSON: [decision, task,
    layer, neurons]). Where the scenario hides it, there is no ``task``, and without boundaries no ``task_accuracy``.

    Hardware with places adds at the end of a stream (0 before) ``memristors``, of these ``routing_devices`` in routers,
    ``mean_hops`` of a connection, ``energy_pj`` and ``latency_ns`` of one inference, and ``tiles_in_use``. Inputs
    and outputs count as one spike each, hidden neurons as often as they are active on the last task's validation
    samples.

    ## Arguments
    The options of `GrowthConfig` by name, for example
    ``gymnasium.make("growenv/MixedDigits-v1", tasks=3, price=0.3)``, and ``render_mode`` (``"rgb_array"``, ``"ansi"``).
    ``reset(options=...)`` takes ``context`` (a `Context` or its JSON), ``split``, ``index`` and ``inner_seed``.

    ## Version history
    * v1: networks stand on Mosaic by default, with the group hardware, more refusals and figures of the hardware;
      actions may name regions; the ids for images of 28x28 pixels average them down to 14x14.
    * v0: hardware counted parameters.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (declared so by Gymnasium)
        "render_modes": ["rgb_array", "ansi"],
        "render_fps": 4,
    }
    _OPTIONS: ClassVar[dict[str, str]] = {"context": "contexts", "index": "indices", "inner_seed": "inner_seeds"}

    def __init__(
        self,
        config: GrowthConfig | None = None,
        *,
        render_mode: str | None = None,
        device: str = "cpu",
        **options: Any,
    ) -> None:
        self.rows = GrowthVectorEnv(
            1, config, autoreset_mode=AutoresetMode.DISABLED, render_mode=render_mode, device=device, **options
        )
        self.render_mode = render_mode
        self.config, self.actions = self.rows.config, self.rows.actions
        self.feature_names = self.rows.feature_names
        self.action_space = self.rows.single_action_space
        self.observation_space = self.rows.single_observation_space

    @property
    def context(self) -> Any:
        """The context of the current episode."""
        return self.rows.contexts[0]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
        """Begin a new stream.

        Args:
            seed: seeds the choice of this and all later streams.
            options: see the class.
        """
        super().reset(seed=seed)
        self.rows.source.generators[0] = self.np_random
        given = {self._OPTIONS.get(name, name): value for name, value in (options or {}).items()}
        lists = {name: [value] if name in self._OPTIONS.values() else value for name, value in given.items()}
        observations, infos = self.rows.reset(options=lists)
        return first_observation(observations), first_info(infos)

    def step(self, action: np.int64 | int) -> tuple[dict[str, NDArray[np.float32]], float, bool, bool, dict[str, Any]]:
        """Grow as the action says, train, measure."""
        observations, rewards, terminated, _, infos = self.rows.step(np.atleast_1d(action))
        return first_observation(observations), float(rewards[0]), bool(terminated[0]), False, first_info(infos)

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions are legal, shape (A,)."""
        masks: NDArray[np.bool_] = self.rows.action_masks()[0]
        return masks

    def render(self) -> Any:
        """The network on its hardware: a uint8 picture (height, width, 3), or text."""
        frames = self.rows.render()
        return None if frames is None else frames[0]

    def snapshot(self) -> dict[str, Any]:
        """A copy of the whole state; `restore` continues from it exactly."""
        return self.rows.snapshot()

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a state that `snapshot` returned."""
        self.rows.restore(snapshot)
        self._np_random = self.rows.source.generators[0]
