"""Tiny CLIP and BLIP folders with fresh weights, and what transformers computes with them.

    python judges.py ../golden/judges

Needs transformers, PyTorch, Pillow and tokenizers. `expected.json` holds the vectors and answers that
`troupe-model/tests/judges.rs` has to find.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BlipConfig,
    BlipForQuestionAnswering,
    CLIPConfig,
    CLIPModel,
)

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float64)
STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float64)
WORDS = "a red blue cat dog in the snow is there yes no hat what colour".split()
TEXTS = ["a red cat in the snow", "a blue dog", "is there a hat is there a hat is there a hat"]
QUESTIONS = ["is there a cat", "what colour is the hat"]


def picture(index, side):
    """A picture that Rust draws as well: channel c of (x, y) is (7x + 11y + 40c + 60 index) mod 256."""
    y, x, c = np.mgrid[0:side, 0:side, 0:3]
    return Image.fromarray(((7 * x + 11 * y + 40 * c + 60 * index) % 256).astype(np.uint8))


def pixels(image):
    values = (np.asarray(image, dtype=np.float64) / 255 - MEAN) / STD
    return torch.tensor(values.transpose(2, 0, 1)[None], dtype=torch.float32)


def word_tokenizer(first, last, start, end):
    vocabulary = {word: i for i, word in enumerate([*first, *WORDS, *last])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=first[0]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([*first, *last])
    ids = [(start, vocabulary[start]), (end, vocabulary[end])]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=ids)
    return tokenizer, vocabulary


def shake(model):
    """Every weight away from its initial value, biases and norms too."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.15)
    return model.eval()


def save(model, config, tokenizer, folder, leave_out=()):
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: value.contiguous().clone()
        for name, value in model.state_dict().items()
        if name not in leave_out and not name.endswith("position_ids")
    }
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=1, default=str))
    tokenizer.save(str(folder / "tokenizer.json"))


def clip(folder):
    tokenizer, vocabulary = word_tokenizer(
        ["<unk>"], ["<|startoftext|>", "<|endoftext|>"], "<|startoftext|>", "<|endoftext|>"
    )
    end = vocabulary["<|endoftext|>"]
    text = {
        "vocab_size": len(vocabulary), "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 10, "hidden_act": "quick_gelu",
        "eos_token_id": end, "bos_token_id": end - 1, "pad_token_id": end,
    }
    vision = {
        "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 3,
        "image_size": 32, "patch_size": 8, "hidden_act": "quick_gelu",
    }
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    torch.manual_seed(1)
    model = shake(CLIPModel(config))
    save(model, config, tokenizer, folder)
    with torch.no_grad():
        pictures = [model.get_image_features(pixel_values=pixels(picture(i, 32))) for i in range(2)]
        found = []
        for line in TEXTS:
            ids = tokenizer.encode(line).ids
            ids = ids if len(ids) <= 10 else [*ids[:9], end]
            found.append(model.get_text_features(input_ids=torch.tensor([ids])))
    def unit(vector):
        vector = getattr(vector, "pooler_output", vector)
        return (vector / vector.norm(dim=-1, keepdim=True))[0].tolist()
    return {"texts": TEXTS, "pictureVectors": [unit(v) for v in pictures], "textVectors": [unit(v) for v in found]}


def blip(folder):
    tokenizer, vocabulary = word_tokenizer(["[PAD]"], ["[CLS]", "[SEP]", "[DEC]"], "[CLS]", "[SEP]")
    text = {
        "vocab_size": len(vocabulary), "hidden_size": 16, "encoder_hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": 64, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "is_decoder": True,
        "bos_token_id": vocabulary["[DEC]"], "sep_token_id": vocabulary["[SEP]"],
        "eos_token_id": vocabulary["[SEP]"], "pad_token_id": 0,
        "attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.0,
    }
    vision = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "image_size": 32, "patch_size": 8, "hidden_act": "gelu", "layer_norm_eps": 1e-5,
    }
    config = BlipConfig(text_config=text, vision_config=vision)
    torch.manual_seed(2)
    model = shake(BlipForQuestionAnswering(config))
    tied = ("text_decoder.cls.predictions.decoder.weight", "text_decoder.cls.predictions.decoder.bias")
    save(model, config, tokenizer, folder, tied)
    yes, no = vocabulary["yes"], vocabulary["no"]
    likely, answers = [], []
    with torch.no_grad():
        seen = model.vision_model(pixel_values=pixels(picture(0, 32)))[0]
        for question in QUESTIONS:
            ids = torch.tensor([tokenizer.encode(question).ids])
            states = model.text_encoder(
                input_ids=ids, attention_mask=torch.ones_like(ids), encoder_hidden_states=seen,
                return_dict=False,
            )[0]
            given = [vocabulary["[DEC]"]]
            for step in range(50):
                logits = model.text_decoder(
                    input_ids=torch.tensor([given]), encoder_hidden_states=states,
                ).logits[0, -1]
                if step == 0:
                    shares = torch.softmax(logits.double(), -1)
                    likely.append([shares[yes].item(), shares[no].item()])
                best = logits.argmax().item()
                if best == vocabulary["[SEP]"]:
                    break
                given.append(best)
            answers.append(tokenizer.decode(given[1:], skip_special_tokens=True))
    return {"questions": QUESTIONS, "yesNo": likely, "answers": answers}


def main():
    folder = Path(sys.argv[1])
    expected = {"clip": clip(folder / "clip"), "blip": blip(folder / "blip-vqa")}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1))


main()
