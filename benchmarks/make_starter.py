"""Pre-train the starter backbone and save it with its image processor.

A ViT of 677 thousand parameters learns the ten digits, white on black and nearly upright, from the training
sources of `autopeft.tasks.starter` alone. One thread and one seed, so the same versions of torch and of the
processor's instructions give the same file; about three minutes::

    python benchmarks/make_starter.py --out autopeft/backbones/starter
"""

import argparse
import hashlib
import time
from pathlib import Path

import numpy as np
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from autopeft.tasks.starter import SIDE, digit_sources, paint, place


def plain_batch(images: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """White-on-black digits, slightly turned, scaled and moved: float ``(n, 3, SIDE, SIDE)`` in [-1, 1]."""
    n = len(images)
    ink = place(
        images,
        rng.uniform(-15, 15, n),
        rng.uniform(0.85, 1.15, n),
        rng.uniform(-1.5, 1.5, n),
        rng.uniform(-1.5, 1.5, n),
    )
    pixels = paint(ink, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.inference_mode()
def accuracy(model: ViTForImageClassification, pixels: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of images whose class is right, in [0, 1]."""
    model.eval()
    right = (model(pixels).logits.argmax(-1) == labels).float().mean().item()
    model.train()
    return right


def pretrain(steps: int, batch: int, learning_rate: float, seed: int) -> ViTForImageClassification:
    """Train from scratch, with progress lines. The validation sources are only looked at, never chosen by."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    sources = digit_sources()
    images, labels = sources["train"]
    seen = plain_batch(sources["validation"][0], np.random.default_rng(9))
    seen_labels = torch.from_numpy(sources["validation"][1])
    config = ViTConfig(
        hidden_size=96, num_hidden_layers=6, num_attention_heads=4, intermediate_size=384, image_size=SIDE,
        patch_size=4, num_labels=10, layer_norm_eps=1e-6, initializer_range=0.08,
    )  # fmt: skip
    model = ViTForImageClassification(config)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    started = time.monotonic()
    for step in range(1, steps + 1):
        chosen = rng.choice(len(images), batch, replace=False)
        logits = model(plain_batch(images[chosen], rng)).logits
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels[chosen]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 0 or step == steps:
            score = accuracy(model, seen, seen_labels)
            seconds = time.monotonic() - started
            print(
                f"step {step}/{steps}  loss {loss.item():.4f}  validation {score:.4f}  {seconds:.0f} s",
                flush=True,
            )
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = pretrain(args.steps, args.batch, args.learning_rate, args.seed)
    model.save_pretrained(args.out)
    half = [0.5, 0.5, 0.5]
    processor = ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_mean=half, image_std=half)
    processor.save_pretrained(args.out)
    digest = hashlib.sha256((args.out / "model.safetensors").read_bytes()).hexdigest()
    backbone = sum(p.numel() for p in model.vit.parameters())
    print(f"saved to {args.out}: {backbone} backbone parameters, model.safetensors sha256 {digest}")


if __name__ == "__main__":
    main()
