"""Small CLIP models of many kinds with random weights, as ``local-dir:`` folders, and plain open_clip beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.reference import ModelRef

VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 3}
PREPROCESS = {"size": 32, "mode": "RGB", "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic"}
EOT = 49407
KNOWS_EOS = hasattr(open_clip.CLIPTextCfg, "eos_id")


def text_of(*, top: dict[str, Any] | None = None, **text: Any) -> dict[str, Any]:
    """A model's configuration with another text tower; ``top``: entries beside the towers'."""
    return {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT | text, **(top or {})}


CUSTOM = {"custom_text": True}
# Towers on which the shared-prefix form must be exact.
CAUSAL = {
    "CLIP": text_of(),
    "QuickGELU": text_of(top={"quick_gelu": True}),
    "custom text": text_of(top=CUSTOM),
    "pooled at eos": text_of(pool_type="eos", eos_id=EOT),
    "custom text, pooled at eos": text_of(top=CUSTOM, pool_type="eos", eos_id=EOT),
    "layer scale": text_of(ls_init_value=0.3),
    "biased projection": text_of(proj_bias=True),
    "no projection": text_of(top={"embed_dim": 32}, proj_type="none"),
    "one layer": text_of(layers=1),
    "one head, wide mlp": text_of(heads=1, mlp_ratio=6.0),
    "short context": text_of(context_length=40),
    "other norm and activation": text_of(norm_kwargs={"eps": 1e-3}, act_kwargs={"approximate": "tanh"}),
}
# Towers that open_clip computes and the shared-prefix form does not fit.
COCA = {
    "custom_text": True,
    "vision_cfg": VISION | {"attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True},
    "multimodal_cfg": TEXT | {"context_length": 76, "layers": 2},
}
OTHER = {
    "not causal": text_of(top=CUSTOM, no_causal_mask=True),
    "not causal, CLIP": text_of(no_causal_mask=True),
    "pooled at the end": text_of(top=CUSTOM, pool_type="last"),
    "pooled at the start": text_of(top=CUSTOM, pool_type="first"),
    "normalised queries": text_of(top=CUSTOM, qk_norm=True),
    "class token": text_of(top=CUSTOM, embed_cls=True, context_length=76),
    "CoCa": text_of(top=COCA, embed_cls=True, context_length=76, output_tokens=True),
}


def make_folder(
    folder: Path, config: dict[str, Any], seed: int = 0, preprocess: dict[str, Any] = PREPROCESS
) -> ModelRef:
    """Write a model folder; every parameter, bias and scale included, is random."""
    folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(document, encoding="utf-8")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
        for name, parameter in model.named_parameters():
            wide = parameter.ndim > 1 and "embedding" not in name
            parameter.add_(torch.randn_like(parameter) * (0.5 / parameter.shape[-1] ** 0.5 if wide else 0.1))
        model.logit_scale.fill_(4.0)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return ModelRef.parse(f"local-dir:{folder}")


def load(ref: ModelRef) -> FrozenClip:
    """Our model on the CPU."""
    return FrozenClip.load(ref, torch.device("cpu"), offline=True)


def plain(ref: ModelRef) -> torch.nn.Module:
    """open_clip's own model of the same folder."""
    return open_clip.create_model(ref.name).eval().requires_grad_(False)


def coop_features(model: Any, tokenizer: Any, names: list[str], context: torch.Tensor) -> torch.Tensor:
    """As CoOp does it: embed "X X … name.", put the context over the X, run every token of every prompt."""
    text = getattr(model, "text", model)
    tokens = tokenizer([" ".join(["X"] * len(context)) + f" {name}." for name in names])
    embedded = text.token_embedding(tokens)
    shared = context.unsqueeze(0).expand(len(names), -1, -1)
    prompts = torch.cat([embedded[:, :1], shared, embedded[:, 1 + len(context) :]], dim=1)
    states = text.transformer(prompts + text.positional_embedding, attn_mask=text.attn_mask)
    out = text.ln_final(states)[torch.arange(len(names)), (tokens == EOT).int().argmax(dim=1)]
    if isinstance(text.text_projection, torch.nn.Linear):
        out = text.text_projection(out)
    elif text.text_projection is not None:
        out = out @ text.text_projection
    return out / out.norm(dim=-1, keepdim=True)
