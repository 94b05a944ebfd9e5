"""How long eager PyTorch takes for the steps that teach `mini`, on the shapes of a run of this project.

    troupe train Marzipan --recipe mini --set pictures=10 \\
        --set rehearsal=0                     # two steps of pictures alone, then one with text
    troupe train Marzipan --recipe mini --set pictures=0 \\
        --set rehearsal=0 --set text_every=1 --set kinds='["role_play"]'         # text alone
    python tests/reference/step_time.py assets/models/mini/config.json [--threads 2]

Times of this project's steps are the differences of `atMs` in the run's `events.jsonl`. Needs torch alone.
Weights are random: time does not depend on them. Not run in CI.

A picture step: `PICTURES` pictures of 64 noised tokens through the generation expert, whose layers attend
to the kept keys and values of a caption and to the picture; low-rank updates learn. A text step: prompts
with a common start, read once, then each sample's own tokens; low-rank updates of the understanding expert
learn from the loss on the replies. Both end with clipping and AdamW. Layers are written out in the plainest
way that is not slow on purpose: one product a projection for all pictures, `scaled_dot_product_attention`.
"""

import argparse
import json
import time

import torch
import torch.nn.functional as F

PICTURES, CAPTION_TOKENS = 10, 200
START_TOKENS, SAMPLES, OWN_TOKENS, REPLY_TOKENS = 285, 3, 60, 30
RANK, SCALE = 16, 2.0


class Lora:
    """A frozen matrix (o, i) with a low-rank update that learns."""

    def __init__(self, out, inner, learned):
        self.weight = torch.randn(out, inner) / inner**0.5
        self.a = (torch.randn(RANK, inner) / inner**0.5).requires_grad_()
        self.b = torch.zeros(out, RANK, requires_grad=True)
        learned += [self.a, self.b]

    def __call__(self, xs):
        return F.linear(xs, self.weight) + SCALE * F.linear(F.linear(xs, self.a), self.b)


class Layer:
    def __init__(self, llm, mlp, normed, learned):
        self.h, self.n, self.m = llm["hidden_size"], llm["num_attention_heads"], llm["num_key_value_heads"]
        self.d, self.normed = self.h // self.n, normed
        shapes = {"q": (self.h, self.h), "k": (self.m * self.d, self.h), "v": (self.m * self.d, self.h),
                  "o": (self.h, self.h), "gate": (mlp, self.h), "up": (mlp, self.h), "down": (self.h, mlp)}
        self.lin = {name: Lora(*shape, learned) for name, shape in shapes.items()}

    def norm(self, xs):
        return xs * torch.rsqrt(xs.pow(2).mean(-1, keepdim=True) + 1e-5)

    def rope(self, xs, positions):
        half = self.d // 2
        angles = positions[:, None] * 1e5 ** (-torch.arange(half) / half)
        cos, sin = angles.cos()[:, None], angles.sin()[:, None]
        a, b = xs[..., :half], xs[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def __call__(self, xs, positions, attend):
        """`attend` gets queries (t, n, d), keys and values (t, m, d) and gives (t, n, d)."""
        normed = self.norm(xs)
        heads = lambda name, count: self.lin[name](normed).view(len(xs), count, self.d)
        q, k, v = heads("q", self.n), heads("k", self.m), heads("v", self.m)
        if self.normed:
            q, k = self.norm(q), self.norm(k)
        mixed = attend(self.rope(q, positions), self.rope(k, positions), v)
        xs = xs + self.lin["o"](mixed.reshape(len(xs), self.h))
        normed = self.norm(xs)
        return xs + self.lin["down"](F.silu(self.lin["gate"](normed)) * self.lin["up"](normed))


def attention(q, k, v, mask=None):
    """One sequence: queries (t, n, d), keys and values (s, m, d)."""
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)[0].transpose(0, 1)


def picture_step(layers, llm, heads):
    tokens, m, d = 64, llm["num_key_value_heads"], llm["hidden_size"] // llm["num_attention_heads"]
    past = [[torch.randn(2, CAPTION_TOKENS, m, d) for _ in range(PICTURES)] for _ in layers]
    positions = torch.full((PICTURES * tokens,), float(CAPTION_TOKENS))
    into, out = heads

    def step():
        clean = torch.randn(PICTURES * tokens, into.shape[1])
        noise, time_ = torch.randn_like(clean), torch.rand(PICTURES, 1).repeat_interleave(tokens, 0)
        noised = (1 - time_) * clean + time_ * noise
        xs = F.linear(noised, into)
        for layer, kept in zip(layers, past):
            def attend(q, k, v):
                of = lambda x, i: x[i * tokens:(i + 1) * tokens]
                parts = [attention(of(q, i), torch.cat([kept[i][0], of(k, i)]), torch.cat([kept[i][1], of(v, i)]))
                         for i in range(PICTURES)]
                return torch.cat(parts)
            xs = layer(xs, positions, attend)
        predicted = F.linear(xs, out)
        return ((noised - predicted) / time_.clamp(min=0.05) - (noise - clean)).pow(2).mean()

    return step


def text_step(layers, llm):
    embedding = torch.randn(llm["vocab_size"], llm["hidden_size"]) * 0.05
    total = START_TOKENS + SAMPLES * OWN_TOKENS
    positions = torch.cat([torch.arange(START_TOKENS)] + [START_TOKENS + torch.arange(OWN_TOKENS)] * SAMPLES).float()
    sample = torch.tensor([-1] * START_TOKENS + [i for i in range(SAMPLES) for _ in range(OWN_TOKENS)])
    seen = (sample[None] == -1) | (sample[:, None] == sample[None])
    mask = seen & (torch.arange(total)[:, None] >= torch.arange(total)[None])
    rows = torch.cat([START_TOKENS + (i + 1) * OWN_TOKENS - REPLY_TOKENS + torch.arange(REPLY_TOKENS) for i in range(SAMPLES)])

    def step():
        ids = torch.randint(llm["vocab_size"], (total,))
        xs = embedding[ids]
        for layer in layers:
            xs = layer(xs, positions, lambda q, k, v: attention(q, k, v, mask))
        logits = F.linear(xs[rows], embedding)
        return F.cross_entropy(logits, torch.randint(llm["vocab_size"], (len(rows),)))

    return step


def timed(name, step, learned, repeats):
    optimiser = torch.optim.AdamW(learned, lr=1e-3)
    seconds = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        optimiser.zero_grad()
        step().backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        seconds.append(time.perf_counter() - started)
    seconds = sorted(seconds[2:])
    print(f"{name}: {seconds[len(seconds) // 2]:.2f} s (median of {repeats}, {seconds[0]:.2f} to {seconds[-1]:.2f})")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    with open(arguments.config) as file:
        config = json.load(file)
    llm = config["llm_config"]
    drawing, width = llm["gen_expert"], 3 * config["latent_patch_size"] ** 2

    learned = []
    layers = [Layer(llm, drawing["intermediate_size"], drawing["qk_norm"], learned) for _ in drawing["layers"]]
    heads = [torch.randn(llm["hidden_size"], width) * 0.02, torch.randn(width, llm["hidden_size"]) * 0.02]
    timed(f"picture step, {PICTURES} pictures, {len(layers)} layers", picture_step(layers, llm, heads), learned, arguments.repeats)

    learned = []
    layers = [Layer(llm, llm["intermediate_size"], False, learned) for _ in range(llm["num_hidden_layers"])]
    timed(f"text step, {START_TOKENS} + {SAMPLES} x {OWN_TOKENS} tokens, {len(layers)} layers", text_step(layers, llm), learned, arguments.repeats)


if __name__ == "__main__":
    main()
