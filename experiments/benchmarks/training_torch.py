"""The other side of `training.py`: a plain PyTorch loop over transformers' ZoeDepth, without this project."""

import argparse
import contextlib
import time

import numpy as np
import torch
import transformers
from transformers import ZoeDepthForDepthEstimation
from worker_torch import MeasuredMemory, serve

TOTAL_STEPS = 1000
LEARNING_RATE = 1.61e-4


class TransformersTraining(MeasuredMemory):
    """Answers requests with seconds; every time includes waiting for the result."""

    def __init__(self, checkpoint: str, batch_size: int, dtype: str, size: tuple[int, int]):
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = ZoeDepthForDepthEstimation.from_pretrained(checkpoint).to(self.device).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=LEARNING_RATE,
            total_steps=TOTAL_STEPS,
            pct_start=0.7,
            div_factor=1,
            final_div_factor=1e4,
        )
        bfloat16 = torch.autocast(self.device, torch.bfloat16)
        self.autocast = bfloat16 if dtype == "bfloat16" else contextlib.nullcontext()
        rng = np.random.RandomState(0)
        shape = (batch_size, *size)
        image = torch.from_numpy(rng.random_sample((*shape, 3)).astype(np.float32))
        self.pixels = ((image - 0.5) / 0.5).permute(0, 3, 1, 2).contiguous().to(self.device)
        self.depth = torch.from_numpy(rng.uniform(0.5, 9.0, shape).astype(np.float32)).to(self.device)
        self.mask = torch.from_numpy(rng.random_sample(shape) < 0.9).to(self.device)

    def facts(self):
        """Versions and device."""
        name = torch.cuda.get_device_name() if self.device == "cuda" else "cpu"
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        return {"versions": versions, "device": name, "threads": torch.get_num_threads()}

    def step(self):
        """Seconds of one step, and its loss."""
        self._wait()
        started = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast:
            prediction = self.model(self.pixels).predicted_depth
        loss = silog(prediction.float(), self.depth, self.mask)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.1)
        self.optimizer.step()
        self.scheduler.step()
        self._wait()
        return {"seconds": time.perf_counter() - started, "loss": loss.item()}


def silog(prediction, truth, mask):
    """10 sqrt(var(g) + 0.15 mean(g)^2) over the valid pixels, g = ln(prediction) - ln(truth)."""
    g = torch.log(prediction[mask] + 1e-7) - torch.log(truth[mask] + 1e-7)
    return 10 * torch.sqrt(torch.var(g) + 0.15 * torch.mean(g) ** 2)


def main():
    """Serves requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--size", type=int, nargs=2, required=True)
    options = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    serve(lambda: TransformersTraining(options.checkpoint, options.batch_size, options.dtype, tuple(options.size)))


if __name__ == "__main__":
    main()
