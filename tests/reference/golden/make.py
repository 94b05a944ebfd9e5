"""Golden folders with other dimensions and switches than tiny-a, in plain PyTorch.

    python tests/reference/golden/make.py tests/golden

Writes tiny-b, tiny-c and tiny-d: weights, inputs and expected outputs, which `troupe golden` then holds
this project against. Shares no code with the project: the network is written down from the papers and
BAGEL's published sources, in float64, with dense masks and no cache other than concatenation; gradients
are PyTorch's. Needs torch and numpy; versions are noted in ../README.md. Not run in CI.
"""

import json
import os
import sys

import numpy as np
import torch

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

from codec import Codec, patchify, to_u8, unpatchify
from files import Draw, save_tensors, single
from losses import grpo_loss, log_prob, packed_loss, sample, scales, times, transition, window
from network import Net, Tie
from weights import LAYERS, TOWER, codec_weights, configuration, network_weights

TOLERANCE = 1e-4

# name, then what differs. `bias`: whether q, k and v of the language model have biases.
FOLDERS = [
    dict(
        name="tiny-b", seed=11, hidden=36, heads=6, kv=2, mlp=28, layers=2, vocab=64, theta=1e4, eps=1e-5,
        qk_norm=False, tied=True, bias=True, vit=24, vit_heads=3, vit_mlp=20, vit_layers=1, patch=8,
        vit_side=6, z=4, latent_side=6, scale=0.7, shift=-0.2, codec=True,
    ),
    dict(
        name="tiny-c", seed=12, hidden=40, heads=4, kv=1, mlp=48, layers=2, vocab=96, theta=5e5, eps=1e-6,
        qk_norm=True, tied=True, bias=True, vit=16, vit_heads=1, vit_mlp=24, vit_layers=2, patch=14,
        vit_side=4, z=8, latent_side=7, scale=0.3611, shift=0.1159, codec=False,
    ),
    dict(
        name="tiny-d", seed=13, hidden=32, heads=2, kv=2, mlp=36, layers=3, vocab=50, theta=1e6, eps=1e-6,
        qk_norm=False, tied=False, bias=False, vit=20, vit_heads=5, vit_mlp=12, vit_layers=1, patch=10,
        vit_side=5, z=6, latent_side=5, scale=0.3611, shift=0.1159, codec=False,
    ),
]  # fmt: skip

class Folder:
    def __init__(self, f):
        self.draw = Draw(f["seed"])
        self.f, self.cfg = f, configuration(f)
        self.w = network_weights(f, self.draw)
        self.codec_w = codec_weights(f, self.draw) if f["codec"] else None
        self.codec = Codec(self.cfg, self.codec_w) if f["codec"] else None
        self.net = Net(self.cfg, self.w, self.codec)
        self.arrays, self.cases = {}, []

    # Inputs of the case being made.

    def open(self, name):
        self.id, self.roles = name, {}

    def put(self, role, values):
        self.roles[role] = f"{self.id}/{role}"
        self.arrays[self.roles[role]] = values
        return self.roles[role]

    def text(self, length, **more):
        usable = self.cfg["special_tokens"]["im_start"]
        ids = [int(i) for i in self.draw.rng.integers(0, usable, length)]
        special = self.cfg["special_tokens"]
        return dict(type="text", ids=[special["im_start"], *ids, special["im_end"]], **more)

    def vit(self, rows, columns, **more):
        p = self.f["patch"]
        role = f"vit{len(self.roles)}"
        return dict(type="vit", image=self.put(role, self.draw.picture(rows * p, columns * p)), **more)

    def vae(self, h, w, **more):
        return dict(type="vae", latent=self.put(f"lat{len(self.roles)}", self.draw.normal(self.f["z"], 2 * h, 2 * w)), **more)

    def target(self, h, w, t_logit):
        block = self.vae(h, w, loss=1, t_logit=t_logit)
        block["noise"] = self.put(f"noise{len(self.roles)}", self.tokens(h, w))
        return block

    def tokens(self, h, w):
        return self.draw.normal(h * w, 4 * self.f["z"])

    def close(self, kind, params, **expected):
        entries = {}
        for name, want in expected.items():
            want = want.reshape(1) if want.dim() == 0 else want
            full, compare, tol = f"{self.id}/expect.{name}", "max_abs", 0.0
            if want.dtype == torch.uint8:
                compare, tol = "mean_abs", 0.05
            elif want.dtype == torch.float64 and "patchify" not in kind:
                tol = float(f"{TOLERANCE * float(want.detach().abs().max()):.3g}")
            self.arrays[full] = want.detach()
            entries[name] = dict(tensor=full, tol=tol, compare=compare)
        self.cases.append(dict(id=self.id, kind=kind, params=params, inputs=self.roles, expected=entries, tolerance=TOLERANCE))

    def with_gradients(self, names, compute):
        for name in names:
            self.w[name].requires_grad_(True)
        loss, found = compute()
        loss.backward()
        for name in names:
            found[f"grad:{name}"] = self.w[name].grad.clone()
            self.w[name].grad = None
            self.w[name].requires_grad_(False)
        return found

    def make(self):
        self.towers()
        if self.codec:
            self.codecs()
        self.patches()
        self.texts()
        self.decoding()
        self.caches()
        self.velocities()
        self.generation()
        self.interleaved()
        self.losses()
        self.transitions()
        self.policy()

    def towers(self):
        side = self.f["vit_side"]
        for name, rows, columns in [("square", 2, 2), ("wide", 2, side), ("tall", 3, 1)]:
            self.open(f"vit_encode_{name}")
            p = self.f["patch"]
            image = self.draw.picture(rows * p, columns * p)
            self.put("image", image)
            features, connector, tokens = self.net.tower(image)
            self.close("vit_encode", {}, features=features, connector=connector, tokens=tokens)

    def codecs(self):
        for name, height, width in [("square", 32, 32), ("tall", 48, 16)]:
            self.open(f"vae_encode_{name}")
            image, eps = self.draw.picture(height, width), self.draw.normal(self.f["z"], height // 8, width // 8)
            self.put("image", image), self.put("eps", eps)
            self.close("vae_encode", {}, moments=self.codec.moments(image), latent=self.codec.encode(image, eps))
        self.open("vae_decode_wide")
        latent = self.draw.normal(self.f["z"], 2, 4)
        self.put("latent", latent)
        image = self.codec.decode(latent)
        self.close("vae_decode", {}, image=image, image_u8=to_u8(image))

    def patches(self):
        self.open("latent_patchify")
        latent = self.draw.normal(self.f["z"], 4, 6)
        self.put("latent", latent)
        self.close("latent_patchify", {}, tokens=patchify(latent))
        self.open("latent_unpatchify")
        tokens = self.tokens(3, 2)
        self.put("tokens", tokens)
        self.close("latent_unpatchify", dict(h=3, w=2), latent=unpatchify(tokens, 3, 2))

    def texts(self):
        made = {
            "one_block": lambda: [self.text(9)],
            "three_blocks": lambda: [self.text(4), self.text(0), self.text(7)],
            "after_vit": lambda: [self.vit(2, 3), self.text(5)],
            "mixed": lambda: [self.text(3), self.vae(2, 3), self.vit(2, 2), self.text(4), self.text(2)],
        }
        for name, blocks in made.items():
            self.open(f"text_logits_{name}")
            blocks = blocks()
            context, rows = self.net.context(), []
            for block in blocks:
                hidden = self.net.read(context, block, self.arrays)
                if block["type"] == "text":
                    rows.append(self.net.logits(hidden))
            self.close("text_logits", dict(context=blocks), logits=torch.cat(rows))

    def decoding(self):
        for name, blocks, length in [
            ("text", lambda: [self.text(6)], 12),
            ("two_texts", lambda: [self.text(3), self.text(5)], 7),
            ("picture", lambda: [self.vae(2, 2), self.vit(2, 2), self.text(4)], 9),
        ]:
            self.open(f"greedy_{name}")
            blocks = blocks()
            context = self.net.contexts(dict(context=blocks), self.arrays)[0]
            tokens, logits = self.net.decode(context, length)
            params = dict(context=blocks, max_length=length)
            self.close("greedy_decode", params, tokens=torch.tensor(tokens), logits=logits)

    def caches(self):
        self.open("kv_two_pictures")
        blocks = [self.text(3), self.vae(2, 3), self.vit(3, 2), self.text(2), self.vit(1, 1), self.vae(1, 2)]
        context = self.net.contexts(dict(context=blocks), self.arrays)[0]
        found = dict(kv_len=torch.tensor([context.len()]), rope=torch.tensor([context.next]))
        for i, (keys, values) in enumerate(zip(context.keys, context.values)):
            found[f"k.{i}"], found[f"v.{i}"] = keys, values
        self.close("kv_cache", dict(context=blocks), **found)

    def three_contexts(self):
        picture, text = [self.vae(2, 2), self.vit(2, 3)], [self.text(5)]
        return dict(context=picture + text, cfg_text_context=picture, cfg_img_context=text)

    def velocities(self):
        guidance = [
            ("global", 4.0, 2.0, 0.0), ("channel", 3.0, 1.0, 0.4), ("channel", 3.0, 1.5, 0.0),
            ("text_channel", 4.0, 1.0, 0.0), ("text_channel", 2.5, 2.0, 0.2), ("global", 1.0, 2.0, 0.0),
        ]  # fmt: skip
        for number, case in enumerate([None, "text", *guidance]):
            self.open(f"flow_{number}")
            params = dict(t=self.draw.number(0.02, 0.99), h=3, w=2)
            text, image, kind, low = 1.0, 1.0, "global", 0.0
            if case == "text":
                params["context"] = [self.text(6), self.text(2)]
            elif case:
                kind, text, image, low = case
                params["cfg"] = dict(text_scale=text, img_scale=image, renorm_type=kind, renorm_min=low)
                params.update(self.three_contexts())
            x = self.tokens(3, 2)
            self.put("x_t", x)
            contexts = self.net.contexts(params, self.arrays)
            velocity = self.net.guided(contexts, x, params["t"], 3, 2, text, image, kind, low)
            self.close("flow_velocity", params, velocity=velocity)

    def sampling(self, points, shift, text, image, interval, kind, low=0.0):
        return dict(
            num_timesteps=points, timestep_shift=shift, cfg_text_scale=text, cfg_img_scale=image,
            cfg_interval=interval, cfg_renorm_type=kind, cfg_renorm_min=low,
        )  # fmt: skip

    def generation(self):
        for name, h, w, options in [
            ("plain", 2, 3, self.sampling(7, 1.0, 1.0, 1.0, [0.0, 1.0], "global")),
            ("interval", 3, 3, self.sampling(9, 3.0, 4.0, 1.0, [0.4, 1.0], "global")),
            ("edit", 2, 2, self.sampling(6, 2.0, 3.0, 1.5, [0.1, 0.95], "text_channel", 0.1)),
        ]:
            self.open(f"generate_{name}")
            params = dict(h=h, w=w, **options)
            if name == "edit":
                params.update(self.three_contexts())
            else:
                params["context"] = [self.text(6)]
            noise = self.tokens(h, w)
            self.put("noise", noise)
            contexts = self.net.contexts(params, self.arrays)
            last, trajectory, guided = sample(self.net, params, contexts, noise)
            self.close(
                "generate_latent", params, times=torch.tensor(times(params)[:-1]), guided=torch.tensor(guided),
                trajectory=torch.stack(trajectory), latent_tokens=last,
            )  # fmt: skip

    def interleaved(self):
        p = self.f["patch"]
        base = dict(
            max_think_tokens=6, image_shape=[32, 48], options=self.sampling(4, 3.0, 4.0, 1.5, [0.3, 1.0], "global"),
            vae_transform=dict(max_size=64, min_size=16, stride=16, max_pixels=4096),
            vit_transform=dict(max_size=p * self.f["vit_side"], min_size=p, stride=p, max_pixels=4096),
        )  # fmt: skip
        variants = [("answer_think", True, True, False)]
        if self.codec:
            variants += [("edit_think", False, True, True), ("edit", False, False, True), ("see", True, False, True)]
            variants += [("draw", False, False, False)]
        for name, understanding, think, shown in variants:
            self.open(f"interleave_{name}")
            params = dict(base, understanding=understanding, think=think, inputs=[])
            if think:
                params["think_prompt"] = self.text(4)
            if shown:  # 32×48 is legal for both rules
                image = dict(type="image", pixels=self.put("pixels", self.draw.pixels(32, 48)))
                if not understanding:
                    image["eps"] = self.put("eps", self.draw.normal(self.f["z"], 4, 6))
                params["inputs"].append(image)
            params["inputs"].append(self.text(5))
            noise = None
            if not understanding:
                noise = self.tokens(2, 3)
                self.put("noise", noise)
            self.close("interleave", params, **self.request(params, noise))

    def request(self, params, noise):
        net, found = self.net, {}
        main, no_text, no_image = net.context(), net.context(), net.context()

        def both(block):
            net.read(main, block, self.arrays), net.read(no_image, block, self.arrays)

        if params["think"]:
            both(params["think_prompt"])
        for item in params["inputs"]:
            if item["type"] == "text":
                no_text = main.copy()
                both(item)
                continue
            image = (self.arrays[item["pixels"]].to(torch.float64) / 255 - 0.5).permute(2, 0, 1) / 0.5
            held = dict(image=image)
            if not params["understanding"]:
                held["eps"] = self.arrays[item["eps"]]
                net.read(main, dict(type="vae", image="image", eps="eps"), held)
            net.read(main, dict(type="vit", image="image"), held)
            no_text = main.copy()
        start, end = net.special["im_start"], net.special["im_end"]
        if params["understanding"] or params["think"]:
            tokens, _ = net.decode(main, params["max_think_tokens"])
            said = tokens[1:]
            said = said[: said.index(start)] if start in said else said
            found["text_ids"] = torch.tensor(said, dtype=torch.int64)
            if params["understanding"]:
                return found
            net.read(main, dict(type="text", ids=[start, *said, end]), self.arrays)
        options = dict(params["options"], h=2, w=3)
        last, _, _ = sample(net, options, [main, no_text, no_image], noise)
        return dict(found, latent_tokens=last, image_u8=to_u8(self.codec.decode(unpatchify(last, 2, 3))))

    def losses(self):
        last = self.f["layers"] - 1
        bias = "k_proj_moe_gen.bias" if self.f["bias"] else "k_proj_moe_gen.weight"
        names = [
            f"{LAYERS}.0.self_attn.q_proj.weight", f"{LAYERS}.{last}.mlp_moe_gen.down_proj.weight",
            f"{LAYERS}.0.self_attn.{bias}", "language_model.model.embed_tokens.weight", "connector.fc1.bias",
            "language_model.model.norm.weight", "llm2vae.bias", f"{TOWER}.post_layernorm.weight",
        ]  # fmt: skip
        if self.f["qk_norm"]:
            names += [f"{LAYERS}.0.self_attn.k_norm.weight", f"{LAYERS}.{last}.self_attn.q_norm_moe_gen.weight"]
        if not self.f["tied"]:
            names.append("language_model.lm_head.weight")
        self.open("sft_recipe")
        samples = [
            [self.text(5, loss=0), self.target(2, 3, self.draw.number(-1, 1))],
            [self.vit(2, 2, loss=0), self.text(4, loss=0), self.text(6, loss=1)],
            [self.text(3, loss=0), self.target(2, 2, self.draw.number(-1, 1))],
        ]
        params = dict(timestep_shift=1.0, ce_weight=0.25, mse_weight=1.0, ce_loss_reweighting=False)
        self.sft(dict(params, samples=samples, grad_weights=names))
        self.open("sft_interleaved")
        samples = [
            [
                self.text(4, loss=0, dropped=True), self.vae(1, 2, loss=0), self.vit(2, 1, loss=0),
                self.text(3, loss=0), self.target(2, 2, self.draw.number(-1, 1)), self.vae(2, 2, loss=0),
                self.vit(1, 1, loss=0, dropped=True), self.text(4, loss=1), self.target(1, 2, self.draw.number(-1, 1)),
            ],
            [self.text(2, loss=0), self.text(5, loss=1), self.text(1, loss=1)],
        ]  # fmt: skip
        params = dict(timestep_shift=3.0, ce_weight=1.0, mse_weight=0.5, ce_loss_reweighting=True)
        names = [
            f"{LAYERS}.0.mlp.gate_proj.weight", f"{LAYERS}.{last}.self_attn.v_proj_moe_gen.weight",
            "time_embedder.mlp.2.bias", f"{LAYERS}.0.input_layernorm_moe_gen.weight", "vae2llm.weight",
        ]  # fmt: skip
        self.sft(dict(params, samples=samples, grad_weights=names))

    def sft(self, params):
        compute = lambda: packed_loss(self.net, params, self.arrays)
        self.close("sft_loss", params, **self.with_gradients(params["grad_weights"], compute))

    def transitions(self):
        grid = [float(np.float32(t)) for t in times(dict(num_timesteps=11, timestep_shift=3.0))]
        for name, i, level, rule in [
            ("sde_first", 0, 1.3, "sde"), ("sde_middle", 5, 0.7, "sde"), ("sde_still", 3, 0.0, "sde"),
            ("cps_first", 0, 0.8, "cps"), ("cps_late", 7, 0.4, "cps"),
        ]:  # fmt: skip
            self.open(f"step_{name}")
            p = dict(t=grid[i], t_next=grid[i + 1], t_1=grid[1], noise_level=level, rule=rule)
            x, v, noise = self.tokens(2, 2), self.tokens(2, 2), self.tokens(2, 2)
            self.put("x", x), self.put("velocity", v), self.put("noise", noise)
            mean, s = transition(p, x, v)
            found = dict(mean=mean, next=mean + s * noise, std=torch.tensor([s]))
            if level > 0:
                found["log_prob"] = log_prob(mean, s, found["next"])
            self.close("flow_sde_step", p, **found)
        for rule, i in [("sde", 4), ("cps", 2)]:
            self.open(f"log_prob_{rule}")
            p = dict(t=grid[i], t_next=grid[i + 1], t_1=grid[1], noise_level=0.7, rule=rule)
            x, old = self.tokens(2, 2), self.tokens(2, 2)
            new = old + self.tokens(2, 2) * 0.25
            (mean_old, s), (mean_new, _) = transition(p, x, old), transition(p, x, new)
            after = single(mean_old + s * self.tokens(2, 2))
            for role, values in dict(x=x, next=after, velocity_old=old, velocity_new=new).items():
                self.put(role, values)
            before, now = log_prob(mean_old, s, after), log_prob(mean_new, s, after)
            self.close(
                "log_prob", p, log_prob_old=before, log_prob_new=now, log_ratio=now - before, ratio=(now - before).exp()
            )

    def policy(self):
        last = self.f["layers"] - 1
        for name, start, size, level, rule, text, advantage in [
            ("sde", 0, 2, 0.7, "sde", 1.0, 0.8), ("cps", 1, 3, 0.8, "cps", 4.0, -6.5),
        ]:  # fmt: skip
            params = dict(self.sampling(8, 3.0, text, 1.0, [0.2, 1.0], "global"), h=2, w=3)
            del params["cfg_img_scale"]
            params.update(window_start=start, window_size=size, noise_level=level, rule=rule)
            self.open(f"rollout_{name}")
            params["context"] = [self.text(5)]
            contexts = self.net.contexts(params, self.arrays)
            x, noises = self.tokens(2, 3), torch.stack([self.tokens(2, 3) for _ in range(size)])
            self.put("noise", x), self.put("step_noise", noises)
            states, probs, when = [], [], []
            for i, step in enumerate(window(params)):
                scale, _ = scales(params, step["t"])
                v = self.net.guided(contexts, x, step["t"], 2, 3, scale, 1.0, "global", 0.0)
                if not start <= i < start + size:
                    x = x + v * (step["t_next"] - step["t"])
                    continue
                states = states or [x]
                mean, s = transition(step, x, v)
                x = mean + s * noises[i - start]
                states.append(x), probs.append(log_prob(mean, s, x)), when.append(step["t"])
            self.close(
                "grpo_rollout", params, window_latents=torch.stack(states), log_probs=torch.stack(probs),
                times=torch.tensor(when), latent_tokens=x,
            )  # fmt: skip
            self.open(f"grpo_{name}")
            names = [
                f"{LAYERS}.0.self_attn.q_proj_moe_gen.weight", f"{LAYERS}.{last}.mlp_moe_gen.up_proj.weight",
                f"{LAYERS}.{last}.input_layernorm_moe_gen.weight", "language_model.model.norm_moe_gen.weight",
            ]  # fmt: skip
            offsets = torch.tensor([0.05, -0.3, 0.4][:size])
            latents, old = single(torch.stack(states)), single(torch.stack(probs) + offsets)
            self.put("window_latents", latents), self.put("log_probs_old", old)
            params = dict(params, advantage=advantage, clip_low=0.2, clip_high=0.25, grad_weights=names)
            compute = lambda: grpo_loss(self.net, params, self.arrays, contexts, latents, old)
            self.close("grpo_loss", params, **self.with_gradients(names, compute))

    def save(self, into):
        folder = os.path.join(into, self.f["name"])
        os.makedirs(folder, exist_ok=True)
        for name, content in [("config.json", self.cfg), ("cases.json", self.cases)]:
            with open(os.path.join(folder, name), "w") as file:
                if name == "cases.json":
                    file.write("[\n" + ",\n".join(json.dumps(case) for case in content) + "\n]\n")
                else:
                    file.write(json.dumps(content, indent=1) + "\n")
        save_tensors(os.path.join(folder, "model.safetensors"), self.w)
        save_tensors(os.path.join(folder, "tensors.safetensors"), self.arrays)
        if self.codec:
            save_tensors(os.path.join(folder, "ae.safetensors"), self.codec_w)
        print(f"{folder}: {len(self.cases)} cases, seed {self.f['seed']}")


def main():
    print(f"torch {torch.__version__}, numpy {np.__version__}")
    for f in FOLDERS:
        folder = None
        while folder is None:
            try:
                folder = Folder(f)
                folder.make()
            except Tie:
                folder, f["seed"] = None, f["seed"] + 100
        folder.save(sys.argv[1])


main()
