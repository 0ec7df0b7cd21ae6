"""The other side of `inference.py`: transformers' ZoeDepth behind the same requests, without this project."""

import argparse
import time

import numpy as np
import torch
import transformers
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from transformers import ZoeDepthForDepthEstimation, ZoeDepthImageProcessor
from worker_torch import MeasuredMemory, serve


class TransformersZoeDepth(MeasuredMemory):
    """Answers requests with seconds; every time includes waiting for the result."""

    def __init__(self, checkpoint: str, dtype: str, image: str):
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        started = time.perf_counter()
        self.model = ZoeDepthForDepthEstimation.from_pretrained(checkpoint, dtype=getattr(torch, dtype))
        self.model = self.model.to(self.device).eval()
        self.load_s = time.perf_counter() - started
        self.dtype = getattr(torch, dtype)
        self.processor = ZoeDepthImageProcessor(size={"height": 384, "width": 512}, ensure_multiple_of=32)
        self.image = Image.open(image).convert("RGB")

    def facts(self):
        """Versions, device, loading time."""
        name = torch.cuda.get_device_name() if self.device == "cuda" else "cpu"
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        return {"versions": versions, "device": name, "threads": torch.get_num_threads(), "load_s": self.load_s}

    def forward(self, batch: int, save: str | None = None):
        """Seconds of one forward pass over `batch` images of 384x512; the depth goes to the file `save`."""
        pixels = torch.from_numpy(np.random.RandomState(0).random_sample((batch, 384, 512, 3)).astype(np.float32))
        pixels = ((pixels - 0.5) / 0.5).permute(0, 3, 1, 2).contiguous().to(self.device, self.dtype)
        with torch.inference_mode():
            self._wait()
            started = time.perf_counter()
            depth = self.model(pixels).predicted_depth
            self._wait()
            seconds = time.perf_counter() - started
        if save:
            np.save(save, depth.float().cpu().numpy())
        return {"seconds": seconds}

    def flops(self):
        """Floating-point operations of one image at 384x512, counted by torch."""
        counter = FlopCounterMode(display=False)
        with counter, torch.inference_mode():
            self.model(torch.zeros(1, 3, 384, 512, device=self.device, dtype=self.dtype))
        return {"flops": counter.get_total_flops()}

    def predict(self):
        """Seconds from image in memory to depth at its size, with padding and flip."""
        started = time.perf_counter()
        inputs = self.processor(images=self.image, return_tensors="pt")
        pixels = inputs["pixel_values"].to(self.device, self.dtype)
        with torch.inference_mode():
            depth = self.model(pixels).predicted_depth
            flipped = self.model(torch.flip(pixels, dims=[3])).predicted_depth
            depth = (depth + torch.flip(flipped, dims=[2])) / 2
            # what post_process_depth_estimation does; that demands torchvision, which has no plain CPU build
            height, width = self.image.height, self.image.width
            pad_h, pad_w = int((height / 2) ** 0.5 * 3), int((width / 2) ** 0.5 * 3)
            size = (height + 2 * pad_h, width + 2 * pad_w)
            depth = torch.nn.functional.interpolate(depth[:, None], size, mode="bicubic", align_corners=False)
            depth = depth[0, 0, pad_h : pad_h + height, pad_w : pad_w + width]
        depth.float().cpu().numpy()
        return {"seconds": time.perf_counter() - started}


def main():
    """Serves requests, or with --once predicts one depth and ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("image")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()

    def make_side():
        return TransformersZoeDepth(options.checkpoint, options.dtype, options.image)

    if options.once:
        make_side().predict()
    else:
        serve(make_side)


if __name__ == "__main__":
    main()
