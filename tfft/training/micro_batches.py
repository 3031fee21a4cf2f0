"""The rows of a step that a device works on at once: as many as its memory bears."""

import logging

from tfft.config import FinetuneConfig
from tfft.data.plans import Plan
from tfft.errors import OutOfMemoryError
from tfft.models.loading import Model
from tfft.models.run_folder import RunFolder
from tfft.training.memory import GIB, advise, choose_micro_batch_size, estimate_memory, free_memory
from tfft.training.workers import Workers

logger = logging.getLogger(__name__)


class MicroBatches:
    """Their size, chosen once for a run and kept in run.json, so that a resumed run adds gradients up in one order.

    Args:
        model: Compiled; its `micro_batch_size` is set.
        config: The settings.
        plan: Tells how many rows a step has, and how wide they are.
        run: Its run.json holds the size; None where there is no run.
    """

    def __init__(self, model: Model, config: FinetuneConfig, plan: Plan, run: RunFolder | None = None) -> None:
        self.model, self.config, self.plan, self.run = model, config, plan, run
        self.workers = Workers(model.distribute_strategy)
        self._set(self.workers.from_chief(self._decide))

    @property
    def size(self) -> int:
        """Rows at once, at most."""
        return self.model.micro_batch_size

    def halve(self, problem: str) -> None:
        """Halves the size after a step that had no memory left.

        Args:
            problem: What TensorFlow said.

        Raises:
            OutOfMemoryError: It is 1 already.
        """
        if self.size == 1:
            whole = "Every checkpoint is whole. " if self.run else ""
            raise OutOfMemoryError(
                f"The device has no memory left for one row: {problem.splitlines()[0][:200]}. Expected it to fit. "
                f"{whole}{advise(self.model, self.config, self.plan.widest)}"
            )
        if self.workers.are_several:  # the others wait for the sums of this step, and cannot be called off
            raise OutOfMemoryError(
                f"A device of this worker has no memory left for {self.size} rows: {problem.splitlines()[0][:200]}. "
                f"Every checkpoint is whole. Pass all workers --micro-batch-size {-(-self.size // 2)} to go on."
            )
        before = self.size
        self._set(-(-before // 2))
        logger.warning(
            "The device has no memory left for %d rows at once: going on with %d, and as many rows a step as before.",
            before,
            self.size,
        )

    def _decide(self) -> int:
        if self.config.micro_batch_size != "auto":
            return min(int(self.config.micro_batch_size), self.plan.batch_size)
        return self._find_before() or self._choose()

    def _find_before(self) -> int | None:
        has_steps = self.run and any(self.run.checkpoints.glob("step-*"))
        return self.run.read_manifest().get("micro_batch_size") if has_steps else None

    def _choose(self) -> int:
        estimate = estimate_memory(self.model, self.config, self.plan.widest)
        free, on_cpu = free_memory()
        num_rows = -(-self.plan.batch_size // self.model.distribute_strategy.num_replicas_in_sync)
        size = choose_micro_batch_size(estimate, num_rows, free, on_cpu)
        logger.info(
            "Memory: about %.1f GiB of %.1f free, with %d of %d rows at once.",
            estimate.total(size) / GIB,
            free / GIB,
            size,
            num_rows,
        )
        return size

    def _set(self, size: int) -> None:
        self.model.micro_batch_size = size
        self.model.train_function = None  # the graph of another size is of no use any more
        if self.run:
            self.run.write_manifest(micro_batch_size=size)
