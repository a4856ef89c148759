"""Names of models, read and written without importing PyTorch or open_clip."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from deltaoe.errors import ConfigError

LOCAL_DIR = "local-dir:"
HF_HUB = "hf-hub:"
CONFIG_FILE = "open_clip_config.json"  # of a folder or repository of open_clip's format
DEFAULT_MODEL = "ViT-B-16"
DEFAULT_PRETRAINED = "openai"


@dataclass(frozen=True)
class ModelRef:
    """A model's name: open_clip's model name and pretrained tag (or weight file), or ``local-dir:``/``hf-hub:``.

    ``str()`` gives the one-line name that :meth:`parse` reads.

    Attributes:
        name: open_clip's name of the architecture, ``local-dir:PATH`` or ``hf-hub:ORG/REPO``.
        pretrained: open_clip's tag of the weights, or the path of a weight file; None for the latter two.
    """

    name: str
    pretrained: str | None = None

    def __str__(self) -> str:
        return f"{self.name}/{self.pretrained}" if self.pretrained else self.name

    @classmethod
    def parse(cls, text: str, pretrained: str | None = None) -> ModelRef:
        """Read ``ViT-B-16``, ``ViT-B-16/openai``, ``ViT-B/16``, ``local-dir:PATH`` or ``hf-hub:ORG/REPO``.

        A relative local folder or weight file becomes absolute, so that the name holds from any folder.

        Args:
            text: the name; of an architecture alone, the pretrained tag is ``openai``.
            pretrained: a pretrained tag or weight file, in place of the name's own.

        Raises:
            ConfigError: the name is empty, or a pretrained tag is given for a name that has its own weights.

        Example:
            >>> ModelRef.parse("ViT-B/16")
            ModelRef(name='ViT-B-16', pretrained='openai')
            >>> str(ModelRef.parse("ViT-B-16", "laion2b_s34b_b88k"))
            'ViT-B-16/laion2b_s34b_b88k'
        """
        if text.startswith((LOCAL_DIR, HF_HUB)):
            prefix, _, rest = text.partition(":")
            if not rest:
                raise ConfigError(
                    f"the model {text!r} names nothing", hint=f"write {prefix}: followed by a name"
                )
            if pretrained:
                raise ConfigError(f"{text} has its own weights", hint="leave --pretrained out")
            return cls(f"{LOCAL_DIR}{os.path.abspath(rest)}" if prefix == "local-dir" else text)
        if not text:
            raise ConfigError("the model's name is empty", hint=f"for example --model {DEFAULT_MODEL}")
        name, _, tag = text.partition("/")
        if tag[:1].isdigit():  # OpenAI writes ViT-B/16 where open_clip writes ViT-B-16
            name, tag = text.replace("/", "-"), ""
        tag = pretrained or tag or DEFAULT_PRETRAINED
        # No published tag has a dot or a slash; a file that happens to be called "openai" is not meant.
        is_file = ("." in tag or os.sep in tag) and os.path.isfile(tag)
        return cls(name, os.path.abspath(tag) if is_file else tag)

    @property
    def local_folder(self) -> Path | None:
        """The folder of a ``local-dir:`` model; None for others."""
        return Path(self.name.removeprefix(LOCAL_DIR)) if self.name.startswith(LOCAL_DIR) else None

    @property
    def is_remote(self) -> bool:
        """Whether loading it may ask another machine: anything but a folder or a weight file of this one."""
        if self.local_folder is not None:
            return self.name.removeprefix(LOCAL_DIR).startswith(
                ("//", "\\\\")
            )  # a folder of another computer
        return not (self.pretrained and os.path.isabs(self.pretrained) and os.path.isfile(self.pretrained))

    def fingerprint(self) -> str:
        """A text that changes when the weights behind this name may have changed, for reuse of cached features.

        It holds the sizes and modification times of local files; published tags do not change.
        """
        local = self.local_folder
        if local is not None and local.is_dir():
            files = sorted(path for path in local.iterdir() if path.is_file())
        elif self.pretrained and Path(self.pretrained).is_file():
            files = [Path(self.pretrained)]
        else:
            files = []
        stats = [(path.name, info.st_size, info.st_mtime_ns) for path in files for info in [path.stat()]]
        return f"{self} {stats}"
