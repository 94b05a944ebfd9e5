"""The network: two experts, vision tower, drawing heads; in float64, with dense masks."""

import math

import torch
import torch.nn.functional as F

from codec import patchify
from weights import LAYERS, TOWER


class Context:
    def __init__(self, layers):
        self.keys, self.values, self.next = [None] * layers, [None] * layers, 0

    def copy(self):
        other = Context(len(self.keys))
        other.keys, other.values, other.next = list(self.keys), list(self.values), self.next
        return other

    def len(self):
        return 0 if self.keys[0] is None else len(self.keys[0])


class Tie(Exception):
    """Two tokens are so close that rounding could choose either."""


class Net:
    def __init__(self, cfg, w, codec):
        self.cfg, self.w, self.codec = cfg, w, codec
        self.llm, self.special = cfg["llm_config"], cfg["special_tokens"]
        self.n, self.m = self.llm["num_attention_heads"], self.llm["num_key_value_heads"]
        self.d = self.llm["hidden_size"] // self.n

    def context(self):
        return Context(self.llm["num_hidden_layers"])

    def lin(self, xs, name):
        return F.linear(xs, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def rms(self, xs, name):
        return xs / (xs.pow(2).mean(-1, keepdim=True) + self.llm["rms_norm_eps"]).sqrt() * self.w[f"{name}.weight"]

    def rotate(self, xs, positions):
        half = self.d // 2
        angles = positions[:, None] * self.llm["rope_theta"] ** (-2 * torch.arange(half) / self.d)
        cos, sin = (torch.cat([t, t], -1)[:, None] for t in (angles.cos(), angles.sin()))
        return xs * cos + torch.cat([-xs[..., half:], xs[..., :half]], -1) * sin

    def run(self, xs, drawn, positions, mask, past=None, keep=False):
        """Hidden states after the final norms. `drawn`: rows of the generation expert; `mask`: (t, past + t)."""
        positions = positions.to(torch.float64)

        def both(f):
            return torch.where(drawn[:, None], f("_moe_gen"), f(""))

        for i in range(self.llm["num_hidden_layers"]):
            at = f"{LAYERS}.{i}"

            def heads(what, count, normed):
                def one(s):
                    ys = self.lin(self.rms(xs, f"{at}.input_layernorm{s}"), f"{at}.self_attn.{what}_proj{s}")
                    if normed and self.llm["qk_norm"]:
                        ys = self.rms(ys.view(-1, count, self.d), f"{at}.self_attn.{what}_norm{s}").flatten(1)
                    return ys

                return both(one).view(-1, count, self.d)

            q = self.rotate(heads("q", self.n, True), positions)
            k = self.rotate(heads("k", self.m, True), positions)
            v = heads("v", self.m, False)
            if past is not None and past.keys[i] is not None:
                k, v = torch.cat([past.keys[i], k]), torch.cat([past.values[i], v])
            if keep:
                past.keys[i], past.values[i] = k.detach(), v.detach()
            out = torch.empty(len(xs), 0)
            for head in range(self.n):
                of = head // (self.n // self.m)
                scores = (q[:, head] @ k[:, of].T / math.sqrt(self.d)).masked_fill(~mask, -math.inf)
                out = torch.cat([out, scores.softmax(-1) @ v[:, of]], -1)
            xs = xs + both(lambda s: self.lin(out, f"{at}.self_attn.o_proj{s}"))

            def mlp(s):
                normed = self.rms(xs, f"{at}.post_attention_layernorm{s}")
                gate = F.silu(self.lin(normed, f"{at}.mlp{s}.gate_proj"))
                return self.lin(gate * self.lin(normed, f"{at}.mlp{s}.up_proj"), f"{at}.mlp{s}.down_proj")

            xs = xs + both(mlp)
        return both(lambda s: self.rms(xs, f"language_model.model.norm{s}"))

    def logits(self, hidden):
        head = "embed_tokens" if self.llm["tie_word_embeddings"] else None
        weight = self.w["language_model.model.embed_tokens.weight" if head else "language_model.lm_head.weight"]
        return hidden @ weight.T

    def embed(self, ids):
        return self.w["language_model.model.embed_tokens.weight"][torch.tensor(ids)]

    def tower(self, image):
        vit = self.cfg["vit_config"]
        p, n = vit["patch_size"], vit["num_attention_heads"]
        rows, columns = image.shape[1] // p, image.shape[2] // p
        patches = image.reshape(3, rows, p, columns, p).permute(1, 3, 2, 4, 0).reshape(rows * columns, -1)
        side = self.cfg["vit_max_num_patch_per_side"]
        ids = torch.tensor([r * side + c for r in range(rows) for c in range(columns)])
        xs = self.lin(patches, f"{TOWER}.embeddings.patch_embedding")
        xs = xs + self.w[f"{TOWER}.embeddings.position_embedding.weight"][ids]

        def norm(xs, name):
            return F.layer_norm(xs, xs.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"], 1e-6)

        for i in range(vit["num_hidden_layers"]):
            at = f"{TOWER}.encoder.layers.{i}"
            normed = norm(xs, f"{at}.layer_norm1")
            q, k, v = (
                self.lin(normed, f"{at}.self_attn.{what}_proj").view(len(xs), n, -1).transpose(0, 1) for what in "qkv"
            )
            weights = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1)
            xs = xs + self.lin((weights @ v).transpose(0, 1).flatten(1), f"{at}.self_attn.out_proj")
            hidden = F.gelu(self.lin(norm(xs, f"{at}.layer_norm2"), f"{at}.mlp.fc1"), approximate="tanh")
            xs = xs + self.lin(hidden, f"{at}.mlp.fc2")
        features = norm(xs, f"{TOWER}.post_layernorm")
        joined = self.lin(F.gelu(self.lin(features, "connector.fc1"), approximate="tanh"), "connector.fc2")
        return features, joined, joined + self.w["vit_pos_embed.pos_embed"][ids]

    def latents(self, tokens, t, h, w):
        angles = t * torch.exp(-math.log(10000) * torch.arange(128) / 128)
        features = torch.cat([angles.cos(), angles.sin()])[None]
        when = self.lin(F.silu(self.lin(features, "time_embedder.mlp.0")), "time_embedder.mlp.2")
        side = self.cfg["max_latent_size"]
        ids = torch.tensor([r * side + c for r in range(h) for c in range(w)])
        return self.lin(tokens, "vae2llm") + when + self.w["latent_pos_embed.pos_embed"][ids]

    def framed(self, content, is_latent):
        markers = [self.embed([self.special[end]]) for end in ["vision_start", "vision_end"]]
        xs = torch.cat([markers[0], content, markers[1]])
        drawn = torch.zeros(len(xs), dtype=torch.bool)
        if is_latent:
            drawn[1:-1] = True
        return xs, drawn

    def block(self, block, arrays, t=0.0, tokens=None):
        """Embeddings, rows of the generation expert, and whether attention inside is causal."""
        if block["type"] == "text":
            xs = self.embed(block["ids"])
            return xs, torch.zeros(len(xs), dtype=torch.bool), True
        if block["type"] == "vit":
            return *self.framed(self.tower(arrays[block["image"]])[2], False), False
        latent = self.latent(block, arrays)
        h, w = latent.shape[1] // 2, latent.shape[2] // 2
        tokens = patchify(latent) if tokens is None else tokens
        return *self.framed(self.latents(tokens, t, h, w), True), False

    def latent(self, block, arrays):
        if "latent" in block:
            return arrays[block["latent"]]
        return self.codec.encode(arrays[block["image"]], arrays[block["eps"]])

    def read(self, context, block, arrays):
        xs, drawn, causal = self.block(block, arrays)
        t, before = len(xs), context.len()
        inside = torch.ones(t, t).tril().bool() if causal else torch.ones(t, t).bool()
        mask = torch.cat([torch.ones(t, before).bool(), inside], 1)
        positions = context.next + (torch.arange(t) if causal else torch.zeros(t, dtype=torch.int64))
        hidden = self.run(xs, drawn, positions, mask, context, keep=True)
        context.next += t if causal else 1
        return hidden

    def contexts(self, params, arrays):
        made = []
        for name in ["context", "cfg_text_context", "cfg_img_context"]:
            made.append(self.context())
            for block in params.get(name, []):
                with torch.no_grad():
                    self.read(made[-1], block, arrays)
        return made

    def velocity(self, context, x, t, h, w):
        xs, drawn = self.framed(self.latents(x, t, h, w), True)
        mask = torch.ones(len(xs), context.len() + len(xs)).bool()
        hidden = self.run(xs, drawn, torch.full((len(xs),), context.next), mask, context)
        return self.lin(hidden[1:-1], "llm2vae")

    def guided(self, contexts, x, t, h, w, text, image, kind, low):
        v = self.velocity(contexts[0], x, t, h, w)
        if text <= 1:
            return v
        v_text = self.velocity(contexts[1], x, t, h, w)
        u = v_text + text * (v - v_text)

        def toward(u):
            if image <= 1:
                return u
            v_image = self.velocity(contexts[2], x, t, h, w)
            return v_image + image * (u - v_image)

        def limit(u, norm):
            return u * (norm(v) / (norm(u) + 1e-8)).clamp(low, 1)

        def rows(x):
            return x.pow(2).sum(-1, keepdim=True).sqrt()

        if kind == "text_channel":
            return toward(limit(u, rows))
        return limit(toward(u), rows if kind == "channel" else lambda x: x.pow(2).sum().sqrt())

    def decode(self, context, max_length):
        context = context.copy()
        token, tokens, rows, margin = self.special["im_start"], [], [], math.inf
        while len(tokens) < max_length:
            tokens.append(token)
            mask = torch.ones(1, context.len() + 1).bool()
            drawn = torch.zeros(1, dtype=torch.bool)
            hidden = self.run(self.embed([token]), drawn, torch.tensor([context.next]), mask, context, keep=True)
            rows.append(self.logits(hidden)[0])
            context.next += 1
            best = rows[-1].topk(2)
            margin = min(margin, float(best.values[0] - best.values[1]))
            token = int(best.indices[0])
            if token == self.special["im_end"]:
                break
        if margin < 0.02:
            raise Tie
        return tokens, torch.stack(rows)
