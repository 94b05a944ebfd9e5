"""Flow sampling, stochastic transitions, and the losses of both training stages."""

import math

import torch
import torch.nn.functional as F

from codec import patchify


def times(params):
    n, s = params["num_timesteps"], params["timestep_shift"]
    grid = [1 - i / (n - 1) for i in range(n)]
    return [s * u / (1 + (s - 1) * u) for u in grid]


def scales(params, t):
    low, high = params["cfg_interval"]
    return (params["cfg_text_scale"], params.get("cfg_img_scale", 1.0)) if low < t <= high else (1.0, 1.0)


def transition(p, x, v):
    """Mean and deviation of one stochastic step."""
    t, to, a = p["t"], p["t_next"], p["noise_level"]
    if p["rule"] == "cps":
        s = to * math.sin(a * math.pi / 2)
        return (1 - to) * (x - t * v) + math.sqrt(to**2 - s**2) * (x + (1 - t) * v), s
    dt = to - t
    sigma = a * math.sqrt(t / (1 - (p["t_1"] if t == 1 else t)))
    mean = x * (1 + sigma**2 / (2 * t) * dt) + v * (1 + sigma**2 * (1 - t) / (2 * t)) * dt
    return mean, sigma * math.sqrt(-dt)


def log_prob(mean, s, after):
    return -((after - mean) ** 2).mean() / (2 * s**2)


def sample(net, params, contexts, x):
    grid, h, w = times(params), params["h"], params["w"]
    trajectory, guided = [], []
    for t, to in zip(grid, grid[1:]):
        text, image = scales(params, t)
        v = net.guided(contexts, x, t, h, w, text, image, params["cfg_renorm_type"], params["cfg_renorm_min"])
        x = x + v * (to - t)
        trajectory.append(x)
        guided.append(int(text > 1))
    return x, trajectory, guided


def window(params):
    """Transitions of the case's grid; those outside the window are deterministic."""
    grid = times(params)
    inside = range(params["window_start"], params["window_start"] + params["window_size"])
    return [
        dict(t=t, t_next=to, t_1=grid[1], rule=params["rule"], noise_level=params["noise_level"] if i in inside else 0.0)
        for i, (t, to) in enumerate(zip(grid, grid[1:]))
    ]


def packed_loss(net, params, arrays):
    xs, drawn, positions, masks, noise_of, at = [], [], [], [], [], 0
    ce_at, ce_labels, ce_weights, mse_at, targets = [], [], [], [], []
    for number, blocks in enumerate(params["samples"]):
        r = 0
        for block in blocks:
            is_text = block["type"] == "text"
            if block.get("dropped"):
                r += not is_text
                continue
            is_target = block["type"] == "vae" and block["loss"] == 1
            t, tokens = 0.0, None
            if is_target:
                u = 1 / (1 + math.exp(-block["t_logit"]))
                t = params["timestep_shift"] * u / (1 + (params["timestep_shift"] - 1) * u)
                clean, noise = patchify(net.latent(block, arrays)), arrays[block["noise"]]
                tokens = (1 - t) * clean + t * noise
                targets.append(noise - clean)
            ys, rows, causal = net.block(block, arrays, t, tokens)
            n = len(ys)
            xs.append(ys), drawn.append(rows)
            positions += range(r, r + n) if is_text else [r] * n
            r += n if is_text else not is_target
            masks.append((number, len(masks), at, at + n, causal, is_target))
            if is_target:
                mse_at += range(at + 1, at + n - 1)
            if is_text and block["loss"] == 1:
                ce_at += range(at, at + n - 1)
                ce_labels += block["ids"][1:]
                ce_weights += [(n - 1) ** -0.5] * (n - 1)
            at += n
    mask = torch.zeros(at, at).bool()
    for sample_a, order_a, start_a, end_a, causal, _ in masks:
        for sample_b, order_b, start_b, end_b, _, noised in masks:
            if sample_a == sample_b and order_b < order_a and not noised:
                mask[start_a:end_a, start_b:end_b] = True
            if order_a == order_b:
                inside = torch.ones(end_a - start_a, end_a - start_a).bool()
                mask[start_a:end_a, start_a:end_a] = inside.tril() if causal else inside
    hidden = net.run(torch.cat(xs), torch.cat(drawn), torch.tensor(positions), mask)
    ce = F.cross_entropy(net.logits(hidden[ce_at]), torch.tensor(ce_labels), reduction="none")
    mse = (net.lin(hidden[mse_at], "llm2vae") - torch.cat(targets)).pow(2).mean(-1)
    weights = torch.tensor(ce_weights) if params["ce_loss_reweighting"] else torch.ones(len(ce))
    ce_mean, mse_mean = (weights * ce).sum() / weights.sum(), mse.mean()
    loss = params["ce_weight"] * ce_mean + params["mse_weight"] * mse_mean
    found = dict(
        position_ids=torch.tensor(positions), ce_indexes=torch.tensor(ce_at), ce_labels=torch.tensor(ce_labels),
        mse_indexes=torch.tensor(mse_at), ce=ce, mse=mse, ce_mean=ce_mean, mse_mean=mse_mean, loss=loss,
    )  # fmt: skip
    return loss, found


def grpo_loss(net, params, arrays, contexts, latents, old):
    advantage = min(max(params["advantage"], -5), 5)
    low, high = 1 - params["clip_low"], 1 + params["clip_high"]
    found, losses = [], []
    for j in range(params["window_size"]):
        step = window(params)[params["window_start"] + j]
        text, image = scales(params, step["t"])
        v = net.guided(
            contexts, latents[j], step["t"], params["h"], params["w"], text, image,
            params["cfg_renorm_type"], params["cfg_renorm_min"],
        )  # fmt: skip
        mean, s = transition(step, latents[j], v)
        found.append(log_prob(mean, s, latents[j + 1]))
        ratio = (found[-1] - old[j]).exp()
        losses.append(torch.maximum(-advantage * ratio, -advantage * ratio.clamp(low, high)))
    new, losses = torch.stack(found), torch.stack(losses)
    return losses.mean(), dict(log_probs_new=new, ratio=(new - old).exp(), step_losses=losses, loss=losses.mean())
