"""Tiny models of the kinds that a model hub has, in their true formats and with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from towers import PREPROCESS, VISION, make_folder

WORDS = (  # noqa: SIM905 - shorter than a list
    "a photo of cat dog red blue green yellow stripes waves checks dots noise image picture drawing thing "
    "bird flower house tree car plane many several large small bright dark"
).split()
# As open_clip's configurations of SigLIP have it: a tower of timm with attention pooling, text without a mask that is
# pooled at its last position, and a bias beside the scale of the sigmoid loss.
SIGLIP = {
    "embed_dim": 64,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 160,
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "map",
        "timm_proj": "none",
    },
    "text_cfg": {
        "context_length": 64,
        "vocab_size": 200,
        "hf_tokenizer_name": "org/siglip",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 64,
        "heads": 4,
        "layers": 2,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "norm_kwargs": {"eps": 1e-6},
    },
}
ROBERTA = {
    "embed_dim": 24,
    "vision_cfg": VISION,
    "text_cfg": {
        "hf_model_name": "org/roberta",
        "hf_tokenizer_name": "org/roberta",
        "hf_proj_type": "mlp",
        "hf_pooler_type": "mean_pooler",
    },
}
_ROBERTA_CONFIG = {
    "architectures": ["XLMRobertaForMaskedLM"],
    "model_type": "xlm-roberta",
    "vocab_size": 200,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
    "type_vocab_size": 1,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}


def make_siglip(folder: Path) -> Path:
    """A SigLIP with the tokenizer beside its weights, as timm's repositories have it; for ``local-dir:`` as well."""
    make_folder(
        folder, SIGLIP, preprocess=PREPROCESS | {"size": 160, "std": [0.5] * 3, "resize_mode": "squash"}
    )
    pieces = [("</s>", 0.0), ("<unk>", 0.0)]  # SigLIP pads with the token that ends a text
    _write_tokenizer(
        folder, "T5Tokenizer", pieces, {"pad_token": "</s>", "eos_token": "</s>", "extra_ids": 0}
    )
    return folder


def make_roberta(folder: Path, text_folder: Path) -> tuple[Path, Path]:
    """A CLIP whose text tower is of transformers, and the repository of that tower's configuration and tokenizer."""
    text_folder.mkdir(parents=True)
    (text_folder / "config.json").write_text(json.dumps(_ROBERTA_CONFIG), encoding="utf-8")
    pieces = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    _write_tokenizer(text_folder, "XLMRobertaTokenizer", pieces, special)
    text = ROBERTA["text_cfg"] | {"hf_model_name": str(text_folder)}  # while it is made
    make_folder(folder, ROBERTA | {"text_cfg": text})
    path = folder / "open_clip_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_cfg": ROBERTA}), encoding="utf-8")
    return folder, text_folder


def _write_tokenizer(
    folder: Path, kind: str, first: list[tuple[str, float]], special: dict[str, Any]
) -> None:
    """A unigram tokenizer of a few words and all letters, as sentencepiece's become in transformers."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("0123456789.,'-▁")
    pieces = [*first, *((f"▁{word}", -2.0) for word in WORDS), *((letter, -8.0) for letter in letters)]
    names = [name for name, _ in first]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=names.index("<unk>")))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(names)
    start = "<s> " if "<s>" in names else ""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start}$A </s>", special_tokens=[(name, names.index(name)) for name in names]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": kind, "unk_token": "<unk>", "model_max_length": 64, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
