"""How far a fit is: a bar on a terminal, else a line now and then."""

import logging
import time

from tqdm import tqdm

from tfft.data.plans import Plan
from tfft.training.step_callback import StepCallback

logger = logging.getLogger(__name__)


class Progress(StepCallback):
    """Shows step, loss, tokens a second and time left: a bar on a terminal, else a line now and then.

    Args:
        plan: Tells how many tokens a step learns from.
        total_steps: Steps of the run.
        seconds: Between lines where there is no terminal.
    """

    def __init__(self, plan: Plan, total_steps: int, seconds: float = 30.0) -> None:
        super().__init__()
        self.plan, self.total_steps, self.seconds = plan, total_steps, seconds

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Starts the clock."""
        hidden = True if not logger.isEnabledFor(logging.INFO) else None  # None: shown on a terminal only
        self.bar = tqdm(total=self.total_steps, initial=self.step, unit="step", disable=hidden, dynamic_ncols=True)
        self.start = self.last_line = time.monotonic()
        self.first_step, self.tokens = self.step, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Counts the step."""
        self.tokens += int(self.plan.lengths[self.plan.batch(self.step - 1).rows].sum())
        now = time.monotonic()
        speed = self.tokens / (now - self.start)
        self.bar.set_postfix_str(f"loss {logs['loss']:.4f}, {speed:,.0f} tokens/s", refresh=False)
        self.bar.update()
        if self.bar.disable and now - self.last_line >= self.seconds:
            self.last_line = now
            left = (now - self.start) / (self.step - self.first_step) * (self.total_steps - self.step)
            logger.info(
                "Step %d of %d, loss %.4f, %s tokens/s, %s left.",
                self.step,
                self.total_steps,
                logs["loss"],
                f"{speed:,.0f}",
                tqdm.format_interval(left),
            )

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Closes the bar."""
        self.bar.close()
