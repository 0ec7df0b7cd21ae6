"""What the torch sides share: answering requests, and the peak of memory; nothing of this project is imported."""

import json
import resource
import sys
from pathlib import Path

import torch


class MeasuredMemory:
    """Requests about the memory of a side that has a `device`, "cuda" or "cpu"."""

    device: str

    def reset_peak(self):
        """Forgets the peak of memory so far."""
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        Path("/proc/self/clear_refs").write_text("5")
        return {}

    def peak(self):
        """Peak of resident memory, or of the device's, since `reset_peak`, in bytes."""
        if self.device == "cuda":
            return {"bytes": torch.cuda.max_memory_allocated()}
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return {"bytes": int(line.split()[1]) * 1024}
        return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}

    def _wait(self):
        if self.device == "cuda":
            torch.cuda.synchronize()


def serve(make_side):
    """Answers each line of standard input by the method it names, with whatever else is printed on standard error.

    `make_side` makes the object that answers, after standard output has been set aside.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    side = make_side()
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(getattr(side, request.pop("operation"))(**request)) + "\n")
        answers.flush()
