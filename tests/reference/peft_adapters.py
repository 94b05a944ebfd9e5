"""Adapters as the PEFT library writes them, with the logits that it computes.

    python tests/reference/peft_adapters.py tests/golden/peft

Writes a tiny Qwen2 (`model.safetensors`, `config.json`), three adapter folders, and `logits.safetensors`
with the logits of the base and of each adapter. Needs torch, transformers and peft; versions are noted in
README.md. Not run in CI: `cargo test -p troupe-model --test peft` reads what it wrote.
"""

import json
import os
import sys

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

IDS = [3, 41, 7, 7, 60, 12, 33, 5, 28, 19]
SHAPE = dict(
    hidden_size=32, intermediate_size=40, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2,
    vocab_size=64, max_position_embeddings=128, rms_norm_eps=1e-6, rope_theta=1e4, tie_word_embeddings=False,
)  # fmt: skip
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def base():
    torch.manual_seed(1)
    model = Qwen2ForCausalLM(Qwen2Config(initializer_range=0.2, attn_implementation="eager", **SHAPE)).eval()
    for name, values in model.named_parameters():
        if name.endswith("bias"):
            values.data.normal_(0, 0.2)
    return model


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.tensor([IDS])).logits[0]


def spread(model, seed):
    """Values as after training, for everything that the adapter holds."""
    torch.manual_seed(seed)
    for name, values in model.named_parameters():
        if values.requires_grad:
            values.data.add_(torch.randn_like(values) * 0.15)


def main():
    into = sys.argv[1]
    os.makedirs(into, exist_ok=True)
    model = base()
    found = {"base": logits(model)}
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, f"{into}/model.safetensors")
    config = {
        "name": "peft",
        "llm_config": dict(SHAPE, qk_norm=False, model_type="qwen2"),
        "vit_config": dict(
            hidden_size=8, image_size=16, intermediate_size=8, num_attention_heads=1, num_hidden_layers=1,
            patch_size=8,
        ),
        "visual_gen": False,
        "visual_und": False,
    }  # fmt: skip
    with open(f"{into}/config.json", "w") as file:
        file.write(json.dumps(config, indent=1) + "\n")

    # Ranks and alphas by name and by regular expression, in the scale of rsLoRA.
    patterns = LoraConfig(
        r=4, lora_alpha=6, target_modules=ALL, use_rslora=True,
        rank_pattern={"layers.1.self_attn.q_proj": 2, "k_proj": 3},
        alpha_pattern={r"layers\.0\..*v_proj": 5, "v_proj": 9, "down_proj": 2},
    )  # fmt: skip
    # Biases and a module trained in full beside the updates.
    saved = LoraConfig(
        r=2, lora_alpha=3, target_modules=["q_proj", "v_proj"], bias="all", modules_to_save=["lm_head"],
        fan_in_fan_out=True,
    )  # fmt: skip
    for seed, (name, options) in enumerate([("patterns", patterns), ("saved", saved)]):
        adapted = get_peft_model(base(), options).eval()
        spread(adapted, seed)
        found[name] = logits(adapted)
        adapted.save_pretrained(f"{into}/{name}")
    # The decoder alone was wrapped: names begin at its layers.
    whole = base()
    decoder = get_peft_model(whole.model, LoraConfig(r=2, lora_alpha=2, target_modules=["o_proj", "up_proj"])).eval()
    spread(decoder, 2)
    found["decoder"] = logits(whole)
    decoder.save_pretrained(f"{into}/decoder")
    for name in ["patterns", "saved", "decoder"]:
        readme = f"{into}/{name}/README.md"
        if os.path.exists(readme):
            os.remove(readme)
    save_file({k: v.contiguous() for k, v in found.items()}, f"{into}/logits.safetensors")


main()
