"""Writes what an independent implementation makes of SmolLM2's GGUF file.

    pip install torch transformers gguf safetensors
    python make.py ../../../assets/models/mini/SmolLM2-135M-Instruct.Q4_1.gguf

Output: cases.json (prompts as token ids, 50 greedy tokens each) and logits.safetensors (f32 logits
after the last token of every prompt, and after every token of the first prompt for 64 fixed ids).
The weights are the file's, dequantised by the gguf package; the network is transformers' Llama in f32.
"""
import json
import sys
from pathlib import Path

import gguf
import safetensors.torch
import torch
import transformers

PROMPTS = [
    "<|im_start|>user\nWhat is the capital of France, and what is it known for?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nTell me about a lighthouse keeper.<|im_end|><|im_start|>assistant\n",
    "The ginger cat jumped over 1,024 boxes of éclairs and",
]
NEW_TOKENS = 50
COLUMNS = [i * 768 + 5 for i in range(64)]

path = Path(sys.argv[1])
here = Path(__file__).parent
model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
cases, tensors = [], {}
with torch.no_grad():
    for number, prompt in enumerate(PROMPTS):
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        logits = model(torch.tensor([ids])).logits[0]
        tensors[f"last.{number}"] = logits[-1].contiguous()
        if number == 0:
            tensors["columns.0"] = logits[:, COLUMNS].contiguous()
        produced = list(ids)
        for _ in range(NEW_TOKENS):  # no end token: all 50 are compared
            produced.append(int(model(torch.tensor([produced])).logits[0, -1].argmax()))
        cases.append({"prompt": prompt, "ids": ids, "greedy": produced[len(ids):]})
        print(repr(tokenizer.decode(produced[len(ids):])))
versions = {"torch": torch.__version__, "transformers": transformers.__version__, "gguf": getattr(gguf, "__version__", "0.19.0")}
(here / "cases.json").write_text(json.dumps({"versions": versions, "columns": COLUMNS, "cases": cases}, indent=1, ensure_ascii=False) + "\n")
safetensors.torch.save_file(tensors, here / "logits.safetensors")
