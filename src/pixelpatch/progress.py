"""One progress line: rewritten in place on a terminal, a new line now and then in a log file."""

import sys
import time

from torch import Tensor

LOG_SECONDS = 30.0
TERMINAL_SECONDS = 0.5


class Progress:
    """Says how far a run is: loss, accuracy, images per second and time left."""

    def __init__(self, name: str, *, epochs: int, steps: int, images: int, finished: int = 0) -> None:
        """`steps` and `images` are those of an epoch; `finished` steps of all were taken before, by another process."""
        self.name, self.epochs, self.steps, self.images = name, epochs, steps, images
        self.terminal = sys.stderr.isatty()
        self._left = epochs * steps - finished
        self._done = 0
        self._train_seconds = 0.0  # of the epochs done
        self._epoch_seconds = 0.0  # of the last one
        self._accuracy = ""
        self._started = self._epoch_began = self._shown = time.perf_counter()

    def step(self, epoch: int, losses: list[Tensor]) -> None:
        """Call after every training step with the epoch's losses so far.

        The last one is read, for which a GPU has to be waited for, only when a line is due.
        """
        self._done += 1
        if time.perf_counter() - self._shown >= (TERMINAL_SECONDS if self.terminal else LOG_SECONDS):
            text = f"step {len(losses)}/{self.steps}, loss {float(losses[-1]):.4f}{self._accuracy}"
            self._show(epoch, text, self._train_seconds + time.perf_counter() - self._epoch_began)

    def trained(self) -> float:
        """Call when steps are done, and waited for; returns the seconds that those of this epoch took."""
        self._epoch_seconds = time.perf_counter() - self._epoch_began
        return self._epoch_seconds

    def epoch(self, epoch: int, results: dict[str, float]) -> None:
        """Call at the end of every epoch, evaluation included; writes a line that stays."""
        if (accuracy := results.get("validation/accuracy")) is not None:
            self._accuracy = f", validation accuracy {accuracy:.2f} %"
        self._train_seconds += self._epoch_seconds
        self._show(epoch, f"loss {results['train/loss']:.4f}{self._accuracy}", self._train_seconds, stays=True)
        self._epoch_began = time.perf_counter()

    def _show(self, epoch: int, text: str, train_seconds: float, *, stays: bool = False) -> None:
        now = time.perf_counter()
        left = (now - self._started) / max(self._done, 1) * (self._left - self._done)
        rate = self._done * self.images / self.steps / max(train_seconds, 1e-9)
        clock = f"{int(left) // 60}:{int(left) % 60:02d} left"
        line = f"{self.name}  epoch {epoch}/{self.epochs}  {text}, {rate:,.0f} images/s, {clock}"
        end = "\n" if stays or not self.terminal else ""
        print(f"\r\033[K{line}" if self.terminal else line, end=end, file=sys.stderr, flush=True)
        self._shown = now
