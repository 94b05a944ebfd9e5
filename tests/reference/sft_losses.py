"""Two hundred Unified-SFT steps in plain PyTorch, compared with this project's.

    cargo run -p troupe-train --example reference_run -- tests/golden/tiny-a > losses.jsonl
    python tests/reference/sft_losses.py tests/golden/tiny-a losses.jsonl

Needs torch and numpy. Shares no code with the project: tensors are read by hand, attention is dense,
gradients are PyTorch's, AdamW is written out. Not run in CI; results are in README.md beside it.
"""

import json
import math
import struct
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

STEPS, RATE, SIDE = 200, 1e-3, 4
START, END, VISION_START, VISION_END = 150, 151, 152, 153


def read_tensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        values = np.frombuffer(data[start:end], dtype=np.float32).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(values.copy())
    return tensors


class Net:
    def __init__(self, folder):
        with open(f"{folder}/config.json") as file:
            self.cfg = json.load(file)
        self.llm = self.cfg["llm_config"]
        self.w = read_tensors(f"{folder}/model.safetensors")
        frozen = ("vit_model", "connector", "pos_embed")
        self.trained = {k: v for k, v in self.w.items() if not any(f in k for f in frozen)}
        for tensor in self.trained.values():
            tensor.requires_grad_(True)

    def lin(self, xs, name):
        return F.linear(xs, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def norm(self, xs, name):
        scale = torch.rsqrt(xs.pow(2).mean(-1, keepdim=True) + self.llm["rms_norm_eps"])
        return xs * scale * self.w[f"{name}.weight"]

    def rope(self, xs, positions):
        half = xs.shape[-1] // 2
        freqs = self.llm["rope_theta"] ** (-2 * torch.arange(half, dtype=torch.float64) / xs.shape[-1])
        angles = positions.double()[:, None] * freqs
        cos, sin = angles.cos().float()[:, None], angles.sin().float()[:, None]
        a, b = xs[..., :half], xs[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def layer(self, index, xs, drawn, positions, mask):
        """`drawn` marks the rows of the generation expert."""
        at = f"language_model.model.layers.{index}"
        n, m = self.llm["num_attention_heads"], self.llm["num_key_value_heads"]
        d = self.llm["hidden_size"] // n

        def both(f):
            return torch.where(drawn[:, None], f("_moe_gen"), f(""))

        def heads(xs, what, count, s, normed):
            ys = self.lin(xs, f"{at}.self_attn.{what}_proj{s}").view(-1, count, d)
            return (self.norm(ys, f"{at}.self_attn.{what}_norm{s}") if normed else ys).reshape(len(xs), -1)

        def attend_input(s):
            return self.norm(xs, f"{at}.input_layernorm{s}")

        q = both(lambda s: heads(attend_input(s), "q", n, s, True)).view(-1, n, d)
        k = both(lambda s: heads(attend_input(s), "k", m, s, True)).view(-1, m, d)
        v = both(lambda s: heads(attend_input(s), "v", m, s, False)).view(-1, m, d)
        q, k = self.rope(q, positions), self.rope(k, positions)
        k, v = k.repeat_interleave(n // m, 1), v.repeat_interleave(n // m, 1)
        scores = torch.einsum("tnd,snd->nts", q, k) / math.sqrt(d)
        weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
        out = torch.einsum("nts,snd->tnd", weights, v).reshape(len(xs), n * d)
        xs = xs + both(lambda s: self.lin(out, f"{at}.self_attn.o_proj{s}"))

        def mlp(s):
            normed = self.norm(xs, f"{at}.post_attention_layernorm{s}")
            gate = F.silu(self.lin(normed, f"{at}.mlp{s}.gate_proj"))
            return self.lin(gate * self.lin(normed, f"{at}.mlp{s}.up_proj"), f"{at}.mlp{s}.down_proj")

        return xs + both(mlp)

    def run(self, xs, drawn, positions, mask):
        for index in range(self.llm["num_hidden_layers"]):
            xs = self.layer(index, xs, drawn, positions, mask)
        at = "language_model.model.norm"
        return torch.where(drawn[:, None], self.norm(xs, f"{at}_moe_gen"), self.norm(xs, at))

    def embed(self, ids):
        return self.w["language_model.model.embed_tokens.weight"][torch.tensor(ids)]

    def time(self, t):
        freqs = torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float32) / 128)
        angles = torch.tensor(t, dtype=torch.float32) * freqs
        xs = torch.cat([angles.cos(), angles.sin()])[None]
        return self.lin(F.silu(self.lin(xs, "time_embedder.mlp.0")), "time_embedder.mlp.2")


def text(content):
    return [START] + [x % 149 for x in content] + [END]


def losses(net, step):
    line, scene = step % 8, step % 6
    # The dialogue, alone: packing has no part in this program.
    prompt = text([line * 7 + i * 3 + 1 for i in range(12)])
    reply = text([line * 5 + i * i for i in range(9)])
    ids = prompt + reply
    t = len(ids)
    hidden = net.run(
        net.embed(ids), torch.zeros(t, dtype=torch.bool), torch.arange(t), torch.ones(t, t).tril().bool()
    )
    at = torch.arange(len(prompt), t - 1)
    ce = F.cross_entropy(net.lin(hidden[at], "language_model.lm_head"), torch.tensor(ids)[at + 1])
    # The picture behind its caption.
    caption = text([scene * 11 + i * 2 for i in range(10)])
    width = net.w["vae2llm.weight"].shape[1]
    k = np.arange(SIDE * SIDE * width, dtype=np.float64)
    table = lambda values: torch.from_numpy(values.astype(np.float32)).view(SIDE * SIDE, width)
    clean = table(np.sin(0.1 * (k + 1) * (scene + 1)))
    noise = table(1.3 * np.cos(1.7 * k + 0.9 * step))
    when = 0.1 + 0.8 * ((step * 37) % 100) / 100
    noised = (1 - when) * clean + when * noise
    side = net.cfg["max_latent_size"]
    grid = torch.tensor([r * side + c for r in range(SIDE) for c in range(SIDE)])
    latents = net.lin(noised, "vae2llm") + net.time(when) + net.w["latent_pos_embed.pos_embed"][grid]
    xs = torch.cat([net.embed(caption), net.embed([VISION_START]), latents, net.embed([VISION_END])])
    c, t = len(caption), len(xs)
    drawn = torch.zeros(t, dtype=torch.bool)
    drawn[c + 1 : t - 1] = True
    positions = torch.cat([torch.arange(c), torch.full((t - c,), c)])
    mask = torch.ones(t, t).tril().bool()
    mask[c:, c:] = True
    hidden = net.run(xs, drawn, positions, mask)
    velocity = net.lin(hidden[drawn], "llm2vae")
    mse = (velocity - (noise - clean)).pow(2).mean()
    return ce, mse


def main():
    torch.set_num_threads(2)
    net = Net(sys.argv[1])
    with open(sys.argv[2]) as file:
        ours = [json.loads(row) for row in file]
    first = {k: torch.zeros_like(v) for k, v in net.trained.items()}
    second = {k: torch.zeros_like(v) for k, v in net.trained.items()}
    worst, started = 0.0, time.time()
    for step in range(STEPS):
        ce, mse = losses(net, step)
        for tensor in net.trained.values():
            tensor.grad = None
        (0.25 * ce + mse).backward()
        with torch.no_grad():
            norm = math.sqrt(sum(float(v.grad.double().pow(2).sum()) for v in net.trained.values() if v.grad is not None))
            clip = min(1.0, 1.0 / (norm + 1e-6))
            for name, tensor in net.trained.items():
                if tensor.grad is None:
                    continue
                g = tensor.grad * clip
                first[name].mul_(0.9).add_(g, alpha=0.1)
                second[name].mul_(0.95).addcmul_(g, g, value=0.05)
                m = first[name] / (1 - 0.9 ** (step + 1))
                v = second[name] / (1 - 0.95 ** (step + 1))
                tensor.sub_(RATE * m / (v.sqrt() + 1e-8))
        row = ours[step]
        difference = max(abs(row["ce"] - ce.item()), abs(row["mse"] - mse.item()))
        worst = max(worst, difference)
        if step % 20 == 0 or step == STEPS - 1:
            print(f"{step:4} ce {ce.item():.6f} ours {row['ce']:.6f}   mse {mse.item():.6f} ours {row['mse']:.6f}")
    print(f"largest difference over {STEPS} steps: {worst:.2e} (must be below 1e-3); {time.time() - started:.1f} s")
    sys.exit(worst >= 1e-3)


main()
