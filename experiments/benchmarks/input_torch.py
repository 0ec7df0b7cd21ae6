"""The other side of `input.py`: a torch DataLoader with Pillow, as the original's, behind the same requests."""

import argparse
import random
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler
from worker_torch import serve

UNITS_PER_M = 1000.0


class Pairs(Dataset):
    """Pairs of jpeg and 16-bit png, augmented as NYU is: rotation, flip, colour."""

    def __init__(self, folder: str, max_depth_m: float):
        self.files = sorted(Path(folder).glob("*.jpg"))
        self.max_depth_m = max_depth_m

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index: int):
        degrees = (random.random() - 0.5) * 2 * 1.0
        flip = random.random() > 0.5
        colour = None
        if random.random() > 0.5:
            channels = np.random.uniform(0.9, 1.1, size=3)
            colour = random.uniform(0.9, 1.1), random.uniform(0.75, 1.25), channels
        return self.example(index, degrees, flip, colour)

    def example(self, index: int, degrees: float, flip: bool, colour):
        """One example under given numbers: rotated by Pillow, the rest in NumPy, channels first."""
        image = Image.open(self.files[index])
        # mode "I" is what Pillow gave the original for 16 bits, and it rotates that three times as fast as "I;16"
        depth = Image.open(self.files[index].with_suffix(".png")).convert("I")
        image = image.rotate(degrees, resample=Image.Resampling.BILINEAR)
        depth = depth.rotate(degrees, resample=Image.Resampling.NEAREST)
        image = np.asarray(image, dtype=np.float32) / 255.0
        depth = np.expand_dims(np.asarray(depth, dtype=np.float32), axis=2) / UNITS_PER_M
        if flip:
            image = image[:, ::-1].copy()
            depth = depth[:, ::-1].copy()
        if colour is not None:
            gamma, brightness, channels = colour
            image = image**gamma * brightness
            ones = np.ones(image.shape[:2])
            image *= np.stack([ones * channel for channel in channels], axis=2)
            image = np.clip(image, 0, 1)
        mask = np.logical_and(depth > 1e-3, depth < self.max_depth_m)
        return {
            "image": torch.from_numpy(image.transpose(2, 0, 1)),
            "depth": torch.from_numpy(depth.transpose(2, 0, 1)),
            "mask": torch.from_numpy(mask.transpose(2, 0, 1)),
        }


class TorchLoader:
    """Answers the requests of the benchmark."""

    def __init__(self, folder: str, max_depth_m: float, batch_size: int):
        self.pairs, self.batch_size = Pairs(folder, max_depth_m), batch_size
        self.batches = {}

    def facts(self):
        """Versions and threads."""
        versions = {"torch": torch.__version__, "pillow": PIL.__version__, "numpy": np.__version__}
        return {"versions": versions, "threads": torch.get_num_threads()}

    def take(self, workers: int, count: int):
        """Consumes `count` batches; where more are made ahead, that goes on afterwards."""
        if workers not in self.batches:
            sampler = RandomSampler(self.pairs, replacement=True, num_samples=2**30)
            self.batches[workers] = iter(DataLoader(self.pairs, self.batch_size, sampler=sampler, num_workers=workers))
        for _ in range(count):
            next(self.batches[workers])
        return {}

    def example(self, index: int, degrees: float, flip: bool, colour, save: str):
        """One example under given numbers, into the file `save`."""
        if colour is not None:
            colour = colour[0], colour[1], np.array(colour[2])
        example = self.pairs.example(index, degrees, flip, colour)
        np.savez(save, **{name: tensor.numpy().transpose(1, 2, 0) for name, tensor in example.items()})
        return {}


def main():
    """Serves requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--max-depth-m", type=float, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    serve(lambda: TorchLoader(options.folder, options.max_depth_m, options.batch_size))


if __name__ == "__main__":
    main()
