"""The attempts of a fit: on from the last checkpoint, and where the run diverges back to the last good one."""

import logging

import datasets
import tensorflow as tf
import tf_keras as keras

from tfft.config import FinetuneConfig, parse_interval
from tfft.data.batching import feed, row_lengths, training_batches
from tfft.data.dealing import Frame, distribute
from tfft.data.plans import EvaluationPlan, Plan
from tfft.errors import DivergedError
from tfft.models.checkpoints import Checkpoint, Checkpoints, UnwrittenCheckpoints
from tfft.models.gpt2 import GPT2MultiLabelClassifier
from tfft.models.loading import Model
from tfft.models.run_folder import RunFolder
from tfft.training.callbacks import EarlyStopping, Evaluation, MetricSums
from tfft.training.guards import Guard
from tfft.training.history import History
from tfft.training.micro_batches import MicroBatches
from tfft.training.monitoring import Watch
from tfft.training.optimizers import make_schedule, set_learning_rate
from tfft.training.progress import Progress
from tfft.training.recorders import EventLog, make_recorders
from tfft.training.rollback import roll_back
from tfft.training.saving import SaveCheckpoints
from tfft.training.signals import StopOnSignal, StoppedError
from tfft.training.step_callback import every
from tfft.training.workers import Workers
from tfft.whole_files import clear_leftovers

logger = logging.getLogger(__name__)


class Attempts:
    """What a fit works with, from its first step or from the last checkpoint.

    Args:
        model: Compiled; in the state of the last checkpoint from here on, if there is one.
        plan: Which rows each step learns from.
        total_steps: Steps of the run.
        monitor: What makes an evaluation the best: "loss" or "accuracy".
        config: The settings.
        run: Where checkpoints and logs go.
    """

    def __init__(
        self, model: Model, plan: Plan, total_steps: int, monitor: str, config: FinetuneConfig, run: RunFolder
    ) -> None:
        self.model, self.plan, self.total_steps, self.config, self.run = model, plan, total_steps, config, run
        self.strategy, self.workers = model.distribute_strategy, Workers(model.distribute_strategy)
        kind = Checkpoints if self.workers.is_chief else UnwrittenCheckpoints
        self.checkpoints = kind(run.checkpoints, config.keep, monitor)
        self.micro_batches = MicroBatches(model, config, plan, run)
        self.guard = Guard(config.max_skipped, config.spike_factor, config.max_rollbacks)
        self._go_on()
        run.logs.mkdir(exist_ok=True)
        self.history = History(run.history_file, self.step, monitor)
        self.history.rows = self.workers.from_chief(lambda: self.history.rows)
        self.events = EventLog(run.logs / "events.jsonl")
        self.events.write("started", step=self.step, total_steps=total_steps)

    @property
    def step(self) -> int:
        """Optimizer updates made."""
        return int(self.model.optimizer.iterations.numpy())

    def train(self, rows: datasets.Dataset, validation_rows: datasets.Dataset, watch: Watch) -> None:
        """Makes all steps that are left.

        Args:
            rows: Encoded rows to learn from.
            validation_rows: Encoded rows to measure on; may be empty.
            watch: What evaluations look at besides.

        Raises:
            DivergedError: Gradients are not finite or the loss rises, and going back did not help.
            OutOfMemoryError: A batch does not fit in the device's memory.
            PreemptedError: A signal asked to stop; the state is saved.
        """
        with StopOnSignal() as stopper:
            evaluation, saver = self._evaluation(watch, stopper), self._saver()
            stopping = [EarlyStopping(self.history, self.config.patience)] if self.config.patience else []
            after_step = [evaluation, saver, *stopping, stopper]
            try:
                while self._is_owed(evaluation) or self._is_to_train():
                    if len(validation_rows):
                        evaluation.validation, evaluation.num_batches = self._validation(validation_rows)
                    self._attempt(rows, evaluation, after_step)
            except StoppedError:
                stopper.save_and_leave(saver)

    def keep_best(self) -> int:
        """Puts the weights of the best evaluation into the model; returns its step, or the last one without any."""
        steps, ranked = self.step, self.checkpoints.ranked()
        if ranked and ranked[0].step != steps and (best := self.checkpoints.restore(self.model, ranked)):
            logger.info("The best evaluation was at step %d: its weights are kept.", best.step)
        self.events.write("finished", step=steps, best_step=self.step)
        return self.step

    def _attempt(
        self, rows: datasets.Dataset, evaluation: Evaluation, after_step: list[keras.callbacks.Callback]
    ) -> None:
        factor = self.guard.learning_rate_factor
        set_learning_rate(self.model, make_schedule(self.config, self.total_steps, factor))
        try:
            if self._is_owed(evaluation):
                keras.callbacks.CallbackList(after_step, model=self.model).on_train_batch_end(0)
            if self._is_to_train():
                batches = self._distribute(
                    training_batches(rows, self.plan, self.step, self.total_steps),
                    self.plan.batch_size,
                    self.plan.widest,
                )
                callbacks = [MetricSums(), self.guard, Progress(self.plan, self.total_steps), *after_step]
                self._fit(batches, callbacks)
        except DivergedError as error:
            self._go_back(error)

    def _fit(self, batches: tf.data.Dataset, callbacks: list[keras.callbacks.Callback]) -> None:
        try:
            self.model.fit(batches, steps_per_epoch=self.total_steps - self.step, verbose=0, callbacks=callbacks)
        except tf.errors.ResourceExhaustedError as error:
            step = self.step
            self.micro_batches.halve(error.message)
            # The update itself may have been cut short: the weights at hand are of no step.
            self._restore_newest()
            self.history.forget_after(self.step)
            self.events.write("out_of_memory", step=step, to_step=self.step, micro_batch_size=self.micro_batches.size)

    def _is_owed(self, evaluation: Evaluation) -> bool:
        """Whether a signal cut short what comes after the last step."""
        return self.step > 0 and evaluation.is_due(self.step) and not self.history.measured(self.step)

    def _is_to_train(self) -> bool:
        patience = self.config.patience
        is_spent = patience is not None and self.history.evaluations_since_best() >= patience
        return self.step < self.total_steps and not is_spent

    def _go_back(self, error: DivergedError) -> None:
        roll_back(self.model, self.checkpoints, self.history, self.guard, error)
        factor = self.guard.learning_rate_factor
        self.events.write("rolled_back", **self.guard.rollbacks[-1], learning_rate_factor=factor)
        self.run.write_manifest(rollbacks=self.guard.rollbacks)

    def _go_on(self) -> None:
        clear_leftovers(self.checkpoints.folder)
        newest = self._restore_newest()
        if self.step:
            logger.info("Going on from step %d (%s).", self.step, newest.folder)

    def _restore_newest(self) -> Checkpoint | None:
        newest = self.workers.restore(self.model, self.checkpoints, reversed(self.checkpoints.all()))
        if newest is not None:
            self.guard.restore(newest.guards)
        return newest

    def _validation(self, rows: datasets.Dataset) -> tuple[tf.data.Dataset, int]:
        # What a replica has memory for in a step, it has in an evaluation.
        batch_size = self.micro_batches.size * self.strategy.num_replicas_in_sync
        plan = EvaluationPlan(row_lengths(rows), batch_size)
        batches = feed(rows, plan.batch, 0, plan.num_batches)
        return self._distribute(batches, batch_size, plan.batch(0).width), plan.num_batches

    def _distribute(self, batches: tf.data.Dataset, batch_size: int, width: int) -> tf.data.Dataset:
        several = isinstance(self.model, GPT2MultiLabelClassifier)
        frame = Frame(batch_size, width, self.model.config.num_labels if several else None)
        on_tpu = isinstance(self.strategy, tf.distribute.TPUStrategy)
        return distribute(batches, self.strategy, frame if on_tpu else None)

    def _evaluation(self, watch: Watch, stopper: StopOnSignal) -> Evaluation:
        is_due = every(self.config.evaluate_every or self.plan.steps_per_epoch, self.total_steps)
        recorders = []
        if self.workers.is_chief:
            recorders = make_recorders(self.run.logs, self.events, watch.samples and watch.samples.take)
        return Evaluation(None, is_due, [self.history.add, *recorders], [stopper], watch.bytes_per_token)

    def _saver(self) -> SaveCheckpoints:
        steps, seconds = parse_interval(self.config.save_every or self.plan.steps_per_epoch)
        # By the clock alone, the last step is the only one that is sure to be saved.
        is_due = every(steps or self.total_steps, self.total_steps)
        return SaveCheckpoints(self.checkpoints, self.history, self.guard, is_due, seconds)
