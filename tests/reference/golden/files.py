"""Seeded values, and the safetensors format."""

import json
import struct

import numpy as np
import torch


def save_tensors(path, tensors):
    kinds = {torch.float64: ("F32", np.float32), torch.int64: ("I64", np.int64), torch.uint8: ("U8", np.uint8)}
    header, chunks, offset = {}, [], 0
    for name in sorted(tensors, key=lambda n: (kinds[tensors[n].dtype][0] != "I64", tensors[n].dtype == torch.uint8, n)):
        kind, dtype = kinds[tensors[name].dtype]
        data = tensors[name].detach().contiguous().numpy().astype(dtype).tobytes()
        header[name] = {
            "dtype": kind, "shape": list(tensors[name].shape), "data_offsets": [offset, offset + len(data)],
        }  # fmt: skip
        chunks.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))


def single(values):
    """Values that single precision holds exactly; stored and used alike."""
    return values.to(torch.float32).to(torch.float64)


class Draw:
    """Seeded values on a grid of 1/256, which keeps the stored files small when packed."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def normal(self, *shape, std=1.0):
        values = np.round(self.rng.standard_normal(shape) * std * 256) / 256
        return torch.from_numpy(values)

    def picture(self, height, width):
        return torch.from_numpy(np.round(self.rng.uniform(-1, 1, (3, height, width)) * 256) / 256)

    def pixels(self, height, width):
        return torch.from_numpy(self.rng.integers(0, 256, (height, width, 3), dtype=np.uint8))

    def number(self, low, high):
        return float(np.float32(self.rng.uniform(low, high)))
