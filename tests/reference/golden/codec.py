"""The picture codec: FLUX.1's autoencoder with one residual block a level."""

import math

import torch
import torch.nn.functional as F


class Codec:
    def __init__(self, cfg, w):
        self.cfg, self.w = cfg["vae_config"], w

    def conv(self, xs, name, **how):
        return F.conv2d(xs, self.w[f"{name}.weight"], self.w[f"{name}.bias"], **how)

    def norm(self, xs, name):
        return F.group_norm(xs, 32, self.w[f"{name}.weight"], self.w[f"{name}.bias"], 1e-6)

    def res(self, xs, name):
        ys = self.conv(F.silu(self.norm(xs, f"{name}.norm1")), f"{name}.conv1", padding=1)
        return xs + self.conv(F.silu(self.norm(ys, f"{name}.norm2")), f"{name}.conv2", padding=1)

    def middle(self, xs, part):
        xs = self.res(xs, f"{part}.mid.block_1")
        at = f"{part}.mid.attn_1"
        normed = self.norm(xs, f"{at}.norm")
        q, k, v = (self.conv(normed, f"{at}.{what}").flatten(2)[0] for what in "qkv")  # (c, n)
        weights = (q.T @ k / math.sqrt(len(q))).softmax(-1)
        xs = xs + self.conv((weights @ v.T).T.reshape(xs.shape), f"{at}.proj_out")
        return self.res(xs, f"{part}.mid.block_2")

    def moments(self, image):
        xs = self.conv(image[None], "encoder.conv_in", padding=1)
        for level in range(4):
            xs = self.res(xs, f"encoder.down.{level}.block.0")
            if level < 3:
                xs = self.conv(F.pad(xs, (0, 1, 0, 1)), f"encoder.down.{level}.downsample.conv", stride=2)
        xs = F.silu(self.norm(self.middle(xs, "encoder"), "encoder.norm_out"))
        return self.conv(xs, "encoder.conv_out", padding=1)[0]

    def encode(self, image, eps):
        mean, logvar = self.moments(image).chunk(2)
        return self.cfg["scale_factor"] * (mean + (logvar / 2).exp() * eps - self.cfg["shift_factor"])

    def decode(self, latent):
        xs = (latent / self.cfg["scale_factor"] + self.cfg["shift_factor"])[None]
        xs = self.middle(self.conv(xs, "decoder.conv_in", padding=1), "decoder")
        for level in [3, 2, 1, 0]:
            for block in range(2):
                xs = self.res(xs, f"decoder.up.{level}.block.{block}")
            if level > 0:
                xs = F.interpolate(xs, scale_factor=2, mode="nearest")
                xs = self.conv(xs, f"decoder.up.{level}.upsample.conv", padding=1)
        return self.conv(F.silu(self.norm(xs, "decoder.norm_out")), "decoder.conv_out", padding=1)[0]


def to_u8(image):
    return ((image * 0.5 + 0.5).clamp(0, 1) * 255).to(torch.uint8).permute(1, 2, 0)


def patchify(latent):
    """(z, 2h, 2w) to (h·w, 4z): row in the patch, column in the patch, channel."""
    z, height, width = latent.shape
    return latent.reshape(z, height // 2, 2, width // 2, 2).permute(1, 3, 2, 4, 0).reshape(-1, 4 * z)


def unpatchify(tokens, h, w):
    return tokens.reshape(h, w, 2, 2, -1).permute(4, 0, 2, 1, 3).reshape(-1, 2 * h, 2 * w)
