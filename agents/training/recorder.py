"""Training that shows where it stands, keeps the best policy on val, and can be killed at any moment.

`Recorder` is the only callback. Between two roll-outs it evaluates when an evaluation is due, captures the state of
training and now and then writes it. Files are only replaced whole, so whenever the process dies the run folder holds a
policy that loads and a checkpoint that resumes.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common import logger
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import ResultsWriter
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from agents.learned import save_policy
from agents.saving import SavedFileError, write_atomically
from agents.training import checkpoints
from agents.training.progress import ROWS_PLANNED, ProgressFile, Tally, figures_of_update
from agents.training.run_folder import CHECKPOINT, EVALUATIONS, MONITOR, PROGRESS, RunFolder
from agents.training.tracking import Tracker
from agents.training.validation import Evaluator

CHECKPOINT_SECONDS = 20.0
CAPTURE_SECONDS = 1.0
LINE_SECONDS = 5.0
EVALUATIONS_PLANNED = 10
MONITORED = ("context_id", "objective", "validation_accuracy", "used", "acc", "forgetting")


class Recorder(BaseCallback):
    """Evaluates, reports and checkpoints.

    Args:
        run: where everything is written.
        manifest: of the policy that is trained.
        evaluate: plays the policy on val episodes, the best one is kept; None keeps the last one.
        total: environment steps at which training ends.
        say: prints a line.
        state: what `checkpoints.read` returned, for a run that is resumed.
        tracker: gets the figures of every line of ``progress.csv``, too.
    """

    def __init__(
        self,
        run: RunFolder,
        manifest: Mapping[str, Any],
        evaluate: Evaluator | None,
        total: int,
        *,
        say: Callable[[str], None] = print,
        state: Mapping[str, Any] | None = None,
        tracker: Tracker | None = None,
    ) -> None:
        super().__init__()
        extra = {} if state is None else state["extra"]
        self.run, self.manifest, self.evaluate, self.total, self.say = run, dict(manifest), evaluate, total, say
        self.best = float(extra.get("best", -np.inf))
        self.tracker = tracker
        self.spent = float(extra.get("seconds", 0.0))  # seconds of earlier sessions
        self.evaluating = float(extra.get("evaluating", 0.0))  # seconds that went into evaluations, of all sessions
        self.progress = ProgressFile(run.file(PROGRESS), int(extra.get("progress_bytes", 0)))
        self.tally = Tally(**extra.get("tally", {}))
        self.next_evaluation = int(extra.get("next_evaluation", 0))
        self.history = read_evaluations(run, int(extra.get("evaluations", 0)))
        self.latest: dict[str, Any] | None = None
        self.played = evaluate.played if evaluate else "val"
        self._shown, self._waits = "", ""
        self._growth = False
        self._begun = self._line = self._written = self._captured = time.monotonic()
        self._steps_before, self._episodes, self._episodes_shown = 0, 0, 0

    # --- events ----------------------------------------------------------------------------------------------------

    def _on_training_start(self) -> None:
        self._begun = self._line = time.monotonic()
        self._steps_before = self.num_timesteps
        self._growth = self.training_env.has_attr("feature_names")
        self._captured = self._written = -np.inf

    def _on_rollout_start(self) -> None:
        self._between_rollouts(last=False)

    def _on_step(self) -> bool:
        now = self.locals
        self._episodes += self.tally.add(now["actions"], now["dones"], now["infos"], growth=self._growth)
        return True

    def _on_training_end(self) -> None:
        if self.evaluate is None:
            save_policy(self.run.path, (self.model.policy, self.manifest))
        self._between_rollouts(last=True)

    def _between_rollouts(self, last: bool) -> None:
        """Everything that is due while no roll-out is under way."""
        done = self.history["timesteps"]
        due = self.evaluate is not None and (last or self.num_timesteps >= self.next_evaluation)
        figures: dict[str, float] = figures_of_update(self.logger.name_to_value)  # before a report clears them
        if (waits := self.tally.share_of_waits) is not None:
            self._waits = f"waits {waits:.0%}"
        if due and not (done and done[-1] == self.num_timesteps):
            figures["val_return"] = self._evaluate()
        self._note_progress(figures, last)
        now = time.monotonic()
        if not due and (last or now - self._line >= LINE_SECONDS):
            self.report()
        if last or due or now - self._captured >= CAPTURE_SECONDS:
            self.latest, self._captured = checkpoints.capture(self.model, self._extra()), now
        if last or due or now - self._written >= CHECKPOINT_SECONDS:
            self.write()
            self._written = time.monotonic()

    # --- evaluating ------------------------------------------------------------------------------------------------

    def _evaluate(self) -> float:
        """Play the val episodes and keep the policy if it is the best so far; the mean return."""
        assert self.evaluate is not None
        begun = time.monotonic()
        found = self.evaluate(self.model.policy, self.manifest)
        mean = float(found.results.mean())
        self.next_evaluation = self.num_timesteps + max(1, self.total // EVALUATIONS_PLANNED)
        self.history["timesteps"].append(np.asarray(self.num_timesteps))
        self.history["results"].append(found.results)
        self.history["ep_lengths"].append(found.lengths)
        write_evaluations(self.run, self.history)
        if mean > self.best:
            self.best = mean
            training = {
                "num_timesteps": self.num_timesteps,
                "val_return": mean,
                "val_episodes": len(found.results),
                "kept": f"the best mean return on {self.played} at an evaluation",
            }
            save_policy(self.run.path, (self.model.policy, {**self.manifest, "training": training}))
        figures = {"return": mean, **found.figures}
        for name, value in figures.items():
            self.logger.record(f"val/{name}", value)
        self._shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
        self.report()
        self.evaluating += time.monotonic() - begun
        return mean

    # --- the learning curve ----------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Seconds since training began, those of earlier sessions included."""
        return self.spent + time.monotonic() - self._begun

    def _note_progress(self, figures: Mapping[str, float], last: bool) -> None:
        """Add a line to ``progress.csv``, unless this moment has one or the last one was just now."""
        since = self.num_timesteps - self.progress.timesteps
        often = isinstance(self.model, OffPolicyAlgorithm)  # updates after single steps
        due = last or "val_return" in figures or since >= (self.total // ROWS_PLANNED if often else 1)
        if since == 0 or not due:
            return
        seconds = self.seconds
        row: dict[str, float | None] = {
            "timesteps": self.num_timesteps,
            "seconds": seconds,
            "training_seconds": seconds - self.evaluating,
            "train_return": self.tally.mean_return,
            "waits": self.tally.share_of_waits,
            **figures,
        }
        self.progress.append(row)
        self.tally = Tally()
        if self.tracker is not None:
            self.tracker.log({name: value for name, value in row.items() if value is not None})

    # --- reporting -------------------------------------------------------------------------------------------------

    def report(self) -> None:
        """Print a line on where training stands, and log it."""
        now = time.monotonic()
        rate = (self._episodes - self._episodes_shown) / max(now - self._line, 1e-9)
        done, steps = min(1.0, self.num_timesteps / max(1, self.total)), self.num_timesteps - self._steps_before
        left = (now - self._begun) / steps * max(0, self.total - self.num_timesteps) if steps else None
        self.logger.record("rollout/episodes_per_second", rate)
        returns = [episode["r"] for episode in self.model.ep_info_buffer or ()]
        if returns:
            self.logger.record("rollout/ep_rew_mean", float(np.mean(returns)))
        parts = [
            f"{self.num_timesteps:>9,} / {self.total:,} steps ({done:4.0%})",
            f"{self.played}: {self._shown or '-'}",
            *([f"train return {np.mean(returns):.3f}"] if returns else []),
            *self._exploration(),
            *([self._waits] if self._waits else []),
            *([f"{rate:.0f} episodes/s"] if self._episodes > self._episodes_shown else []),
            *([f"{_duration(left)} left"] if left else []),
        ]
        self.say(" | ".join(parts))
        self.logger.dump(self.num_timesteps)
        self._line, self._episodes_shown = now, self._episodes

    def _exploration(self) -> list[str]:
        """The entropy of the policy, or how often a value-based one explores."""
        values = self.logger.name_to_value
        if "train/entropy_loss" in values:
            return [f"entropy {-values['train/entropy_loss']:.2f}"]
        if "rollout/exploration_rate" in values:
            return [f"exploration {values['rollout/exploration_rate']:.0%}"]
        return []

    # --- checkpoints -----------------------------------------------------------------------------------------------

    def _extra(self) -> dict[str, Any]:
        monitor = self.run.file(MONITOR)
        return {
            "best": self.best,
            "seconds": self.seconds,
            "evaluating": self.evaluating,
            "progress_bytes": self.progress.size,
            "tally": self.tally.to_json(),
            "next_evaluation": self.next_evaluation,
            "evaluations": len(self.history["timesteps"]),
            "monitor_bytes": monitor.stat().st_size if monitor.exists() else 0,
        }

    def finish(self) -> None:
        """Note that the last step is reached, unless that is noted already.

        Raises:
            OSError: the note cannot be written.
        """
        if self.run.finished(self.total) is None:
            best = self.best if np.isfinite(self.best) else None
            seconds = self.seconds
            self.run.finish(self.model.num_timesteps, seconds, seconds - self.evaluating, best)

    def write(self) -> bool:
        """Write the state captured last; False if there is none yet.

        Raises:
            OSError: the checkpoint cannot be written; the one before is still whole.
        """
        if self.latest is None:
            return False
        checkpoints.write(self.run.file(CHECKPOINT), self.model, self.latest)
        return True


def train(model: BaseAlgorithm, recorder: Recorder, state: dict[str, Any] | None = None) -> None:
    """Train until the recorder's total; a state that was read from a checkpoint goes on where it was taken.

    The counter never restarts, and schedules go on at the share of the total that is done.

    Raises:
        SavedFileError: the checkpoint does not fit the model.
        OSError: a file of the run cannot be written.
    """
    if state is not None:
        checkpoints.restore(model, state, recorder.run.file(CHECKPOINT))
    model.set_logger(logger.configure(str(recorder.run.path), ["tensorboard"] if _has_tensorboard() else []))
    left = recorder.total - model.num_timesteps
    if left > 0:
        # SB3 adds the steps done so far to what it is given when it does not reset the counter.
        model.learn(left, callback=recorder, log_interval=None, reset_num_timesteps=state is None)  # type: ignore[arg-type]


def monitored(vec_env: VecEnv, run: RunFolder, state: Mapping[str, Any] | None = None) -> VecMonitor:
    """`vec_env` with a record of every episode in ``monitor.csv``.

    A resumed run goes on with the file where the checkpoint was taken: episodes after it will be played again.
    """
    keywords = MONITORED if vec_env.has_attr("feature_names") and vec_env.has_attr("config") else ()
    file, resumed = run.file(MONITOR), state is not None and run.file(MONITOR).exists()
    begun = time.time() - (float(state["extra"].get("seconds", 0.0)) if state is not None else 0.0)
    if resumed and state is not None:
        with open(file, "r+b") as old:
            old.truncate(min(file.stat().st_size, int(state["extra"].get("monitor_bytes", 0))))
    monitor = VecMonitor(vec_env, info_keywords=keywords)
    header: dict[str, float | str] = {"t_start": begun, "env_id": run.path.name}
    monitor.results_writer = ResultsWriter(str(file), header, keywords, override_existing=not resumed)
    monitor.t_start = begun
    return monitor


def read_evaluations(run: RunFolder, count: int) -> dict[str, list[NDArray[Any]]]:
    """The first `count` evaluations of a run, by name of the array.

    Raises:
        SavedFileError: the file is damaged.
    """
    names = ("timesteps", "results", "ep_lengths")
    if count == 0:
        return {name: [] for name in names}
    path = run.file(EVALUATIONS)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: list(file[name][:count]) for name in names}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise SavedFileError(f"{path} is damaged: {error}") from None


def write_evaluations(run: RunFolder, history: Mapping[str, list[NDArray[Any]]]) -> None:
    """Write ``evaluations.npz`` with arrays ``timesteps`` (K,), ``results`` and ``ep_lengths`` (K, episodes)."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.array(values) for name, values in history.items()})  # type: ignore[arg-type]
    write_atomically(run.file(EVALUATIONS), buffer.getvalue())


def _has_tensorboard() -> bool:
    return getattr(logger, "SummaryWriter", None) is not None


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
