"""Speed of llama.cpp and of eager PyTorch on the shapes of `cargo bench -p troupe-model --bench mini`.

    pip install llama-cpp-python torch        # llama.cpp built for this processor
    python3 tests/reference/speed.py assets/models/mini/SmolLM2-135M-Instruct.Q4_1.gguf [--threads 2]

Not part of the tests: it wants packages and a quiet machine. Printed is the best of several runs.
"""

import argparse
import time


def best(run, times):
    """Seconds of the fastest of `times` runs, after one to warm up."""
    run()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def llama(path, threads):
    from llama_cpp import Llama

    model = Llama(path, n_ctx=1024, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False)
    ids = [1000 + i * 37 % 20_000 for i in range(512)]

    def read():
        model.reset()
        model.eval(ids)

    def decode():
        for token in ids[:64]:
            model.eval([token])

    def behind():
        model.reset()
        model.eval(ids[:128])

    print(f"llama.cpp read    {512 / best(read, 5):7.1f} tokens/s")
    seconds = []
    for _ in range(5):
        behind()
        start = time.perf_counter()
        decode()
        seconds.append(time.perf_counter() - start)
    print(f"llama.cpp decode  {64 / min(seconds):7.1f} tokens/s")


def flow_step(threads):
    """The generation expert of mini as plain PyTorch: 10 layers that attend to 64 cached keys."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    layers, width, heads, kv_heads, head, mlp = 10, 576, 9, 3, 64, 1024
    latents, caption, patch = 64, 64, 768
    rand = lambda *shape: torch.randn(*shape) * 0.02
    norm = lambda xs, w: xs * torch.rsqrt(xs.pow(2).mean(-1, keepdim=True) + 1e-5) * w
    ones = lambda n: torch.ones(n)
    weights = [
        {
            "q": rand(width, width), "k": rand(kv_heads * head, width), "v": rand(kv_heads * head, width),
            "o": rand(width, width), "gate": rand(mlp, width), "up": rand(mlp, width), "down": rand(width, mlp),
            "n1": ones(width), "n2": ones(width), "qn": ones(head), "kn": ones(head),
            "pk": rand(kv_heads, caption, head), "pv": rand(kv_heads, caption, head),
        }
        for _ in range(layers)
    ]
    enter, leave, position = rand(width, patch), rand(patch, width), rand(latents, width)
    time_in, time_out = rand(width, 256), rand(width, width)
    angles = torch.outer(torch.ones(latents) * 64, 1e5 ** (-torch.arange(0, head, 2) / head))
    cos, sin = torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)

    def rope(xs):
        a, b = xs.chunk(2, -1)
        return xs * cos + torch.cat([-b, a], -1) * sin

    def forward(xs, guided):
        xs = xs @ enter.T + position + F.silu(rand(1, 256) @ time_in.T) @ time_out.T
        for w in weights:
            h = norm(xs, w["n1"])
            q = (h @ w["q"].T).view(latents, heads, head).transpose(0, 1)
            k = (h @ w["k"].T).view(latents, kv_heads, head).transpose(0, 1)
            v = (h @ w["v"].T).view(latents, kv_heads, head).transpose(0, 1)
            q, k = rope(norm(q, w["qn"])), rope(norm(k, w["kn"]))
            if guided:
                k, v = torch.cat([w["pk"], k], 1), torch.cat([w["pv"], v], 1)
            k, v = k.repeat_interleave(heads // kv_heads, 0), v.repeat_interleave(heads // kv_heads, 0)
            h = F.scaled_dot_product_attention(q[None], k[None], v[None])[0]
            xs = xs + h.transpose(0, 1).reshape(latents, width) @ w["o"].T
            h = norm(xs, w["n2"])
            xs = xs + (F.silu(h @ w["gate"].T) * (h @ w["up"].T)) @ w["down"].T
        return xs @ leave.T

    noise = torch.randn(latents, patch)

    def step():
        with torch.no_grad():
            with_text, without = forward(noise, True), forward(noise, False)
            return noise - without - 4 * (with_text - without)

    print(f"PyTorch flow step {1e3 * best(step, 20):7.2f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    llama(arguments.gguf, arguments.threads)
    flow_step(arguments.threads)
