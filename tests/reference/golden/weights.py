"""Configurations and random weights of the folders."""

import torch

from files import single

LAYERS = "language_model.model.layers"
TOWER = "vit_model.vision_model"


def configuration(f):
    llm = dict(
        hidden_size=f["hidden"], intermediate_size=f["mlp"], num_attention_heads=f["heads"],
        num_key_value_heads=f["kv"], num_hidden_layers=f["layers"], vocab_size=f["vocab"],
        max_position_embeddings=256, rms_norm_eps=f["eps"], rope_theta=f["theta"], hidden_act="silu",
        tie_word_embeddings=f["tied"], qk_norm=f["qk_norm"], bos_token_id=0, eos_token_id=1,
        layer_module="Qwen2MoTDecoderLayer", freeze_und=False, model_type="qwen2",
    )  # fmt: skip
    if not f["bias"]:
        llm["attention_bias"] = False
    vit = dict(
        hidden_size=f["vit"], intermediate_size=f["vit_mlp"], num_attention_heads=f["vit_heads"],
        num_hidden_layers=f["vit_layers"], patch_size=f["patch"], image_size=f["patch"] * f["vit_side"],
        model_type="siglip_vision_model", rope=False,
    )  # fmt: skip
    vae = dict(
        ch=32, ch_mult=[1, 1, 1, 1], num_res_blocks=1, z_channels=f["z"], in_channels=3, out_ch=3,
        downsample=8, resolution=256, scale_factor=f["scale"], shift_factor=f["shift"],
    )  # fmt: skip
    v = f["vocab"]
    return dict(
        name=f["name"], llm_config=llm, vit_config=vit, vae_config=vae, visual_gen=True, visual_und=True,
        latent_patch_size=2, max_latent_size=f["latent_side"], vit_max_num_patch_per_side=f["vit_side"],
        connector_act="gelu_pytorch_tanh", interpolate_pos=False, timestep_shift=1.0,
        special_tokens=dict(im_start=v - 9, im_end=v - 7, vision_start=v - 4, vision_end=v - 3),
    )  # fmt: skip


def sin_cos_table(side, width):
    quarter = width // 4
    omega = 10000.0 ** (-torch.arange(quarter) / quarter)
    rows = []
    for row in range(side):
        for column in range(side):
            rows.append(torch.cat([(column * omega).sin(), (column * omega).cos(), (row * omega).sin(), (row * omega).cos()]))
    return single(torch.stack(rows))


def network_weights(f, draw):
    w, h, m, d = {}, f["hidden"], f["mlp"], f["hidden"] // f["heads"]

    def linear(name, o, i, bias):
        w[f"{name}.weight"] = draw.normal(o, i, std=i**-0.5)
        if bias:
            w[f"{name}.bias"] = draw.normal(o, std=0.3)

    def norm(name, width, bias=False):
        w[f"{name}.weight"] = 1 + draw.normal(width, std=0.2)
        if bias:
            w[f"{name}.bias"] = draw.normal(width, std=0.2)

    w["language_model.model.embed_tokens.weight"] = draw.normal(f["vocab"], h, std=0.6)
    if not f["tied"]:
        linear("language_model.lm_head", f["vocab"], h, False)
    for s in ["", "_moe_gen"]:
        norm(f"language_model.model.norm{s}", h)
        for i in range(f["layers"]):
            at = f"{LAYERS}.{i}"
            norm(f"{at}.input_layernorm{s}", h)
            norm(f"{at}.post_attention_layernorm{s}", h)
            linear(f"{at}.self_attn.q_proj{s}", h, h, f["bias"])
            linear(f"{at}.self_attn.k_proj{s}", f["kv"] * d, h, f["bias"])
            linear(f"{at}.self_attn.v_proj{s}", f["kv"] * d, h, f["bias"])
            linear(f"{at}.self_attn.o_proj{s}", h, h, False)
            if f["qk_norm"]:
                norm(f"{at}.self_attn.q_norm{s}", d)
                norm(f"{at}.self_attn.k_norm{s}", d)
            linear(f"{at}.mlp{s}.gate_proj", m, h, False)
            linear(f"{at}.mlp{s}.up_proj", m, h, False)
            linear(f"{at}.mlp{s}.down_proj", h, m, False)
    v = f["vit"]
    linear(f"{TOWER}.embeddings.patch_embedding", v, 3 * f["patch"] ** 2, True)
    w[f"{TOWER}.embeddings.position_embedding.weight"] = draw.normal(f["vit_side"] ** 2, v, std=0.5)
    for i in range(f["vit_layers"]):
        at = f"{TOWER}.encoder.layers.{i}"
        norm(f"{at}.layer_norm1", v, True)
        norm(f"{at}.layer_norm2", v, True)
        for what in ["q_proj", "k_proj", "v_proj", "out_proj"]:
            linear(f"{at}.self_attn.{what}", v, v, True)
        linear(f"{at}.mlp.fc1", f["vit_mlp"], v, True)
        linear(f"{at}.mlp.fc2", v, f["vit_mlp"], True)
    norm(f"{TOWER}.post_layernorm", v, True)
    linear("connector.fc1", h, v, True)
    linear("connector.fc2", h, h, True)
    linear("time_embedder.mlp.0", h, 256, True)
    linear("time_embedder.mlp.2", h, h, True)
    linear("vae2llm", h, 4 * f["z"], True)
    linear("llm2vae", 4 * f["z"], h, True)
    w["vit_pos_embed.pos_embed"] = sin_cos_table(f["vit_side"], h)
    w["latent_pos_embed.pos_embed"] = sin_cos_table(f["latent_side"], h)
    return w


def codec_weights(f, draw):
    w, c = {}, 32

    def conv(name, o, i, k):
        # One decimal of the deviation is enough here, and packs well.
        w[f"{name}.weight"] = (draw.normal(o, i, k, k, std=4.0) / 4).round() * round((i * k * k) ** -0.5, 2)
        w[f"{name}.bias"] = draw.normal(o, std=0.1)
        w[f"{name}.weight"] = single(w[f"{name}.weight"])

    def norm(name):
        w[f"{name}.weight"] = 1 + draw.normal(c, std=0.2)
        w[f"{name}.bias"] = draw.normal(c, std=0.1)

    def res(name):
        norm(f"{name}.norm1"), conv(f"{name}.conv1", c, c, 3)
        norm(f"{name}.norm2"), conv(f"{name}.conv2", c, c, 3)

    def middle(part):
        res(f"{part}.mid.block_1"), res(f"{part}.mid.block_2")
        norm(f"{part}.mid.attn_1.norm")
        for what in ["q", "k", "v", "proj_out"]:
            conv(f"{part}.mid.attn_1.{what}", c, c, 1)
        norm(f"{part}.norm_out")

    conv("encoder.conv_in", c, 3, 3)
    conv("decoder.conv_in", c, f["z"], 3)
    for level in range(4):
        res(f"encoder.down.{level}.block.0")
        res(f"decoder.up.{level}.block.0"), res(f"decoder.up.{level}.block.1")
        if level < 3:
            conv(f"encoder.down.{level}.downsample.conv", c, c, 3)
        if level > 0:
            conv(f"decoder.up.{level}.upsample.conv", c, c, 3)
    middle("encoder"), middle("decoder")
    conv("encoder.conv_out", 2 * f["z"], c, 3)
    conv("decoder.conv_out", 3, c, 3)
    return w
