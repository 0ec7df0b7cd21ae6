"""How a run stops when it is told to: at one step on which all hosts agree."""

import signal
from types import FrameType, TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoe_jax.input.placement import local_rows, put_batch
from zoe_jax.train.sharding import Shardings

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Whether any host got a signal to stop; to be used as a context, in which the signals only set a flag.

    Hosts get signals at different times. Before each step every host casts its vote in a tiny all-reduce that runs
    behind the training step; its result is read a step later, when it costs no waiting. All hosts read the same
    result at the same step. A second signal acts as it would have without this context.
    """

    def __init__(self, shardings: Shardings) -> None:
        self._signal = 0
        self._handlers: dict[int, Any] = {}
        self._alone = jax.process_count() == 1
        self._sharding = shardings.batch
        self._vote: jax.Array | None = None
        self._greatest = jax.jit(jnp.max, out_shardings=shardings.replicated)

    def __enter__(self) -> "StopRequest":
        # after jax.distributed.initialize, which has a handler of its own
        for number in SIGNALS:
            self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def agreed(self) -> int:
        """The signal on which all hosts agree, or 0; every host must ask once a step."""
        if self._alone:
            return self._signal
        before = self._vote
        votes = np.full(len(local_rows(self._sharding, self._sharding.num_devices)), self._signal, np.int32)
        self._vote = self._greatest(put_batch(votes, self._sharding))
        return 0 if before is None else int(before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        signal.signal(number, self._handlers[number] or signal.SIG_DFL)
