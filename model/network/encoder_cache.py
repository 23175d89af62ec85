"""What frozen encoders made of prompts and pictures, kept in a folder so that they make it once.

An entry is named by a digest of what went in, never by a step: nothing can be paired with another
prompt or another picture, and what an augmentation has changed is simply not there.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

ENCODERS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "vae")
_ENDS = 1 << 16


@dataclass(frozen=True)
class Encoded:
    """``folder`` belongs to one set of encoders; processes may share it. Entries are dictionaries
    of tensors without a batch axis."""

    folder: Path

    def prompt(self, prompt: str) -> dict[str, Tensor] | None:
        """``tokens`` (L, D) and ``pooled`` (D',), if they are kept."""
        return _read(self._path("text", prompt.encode()))

    def keep_prompt(self, prompt: str, tokens: Tensor, pooled: Tensor) -> None:
        _write(self._path("text", prompt.encode()), {"tokens": tokens, "pooled": pooled})

    def picture(self, picture: Tensor) -> Tensor | None:
        """Latent tokens (L, C) of a picture (3, H, W) uint8, if they are kept."""
        found = _read(self._path("latent", _bytes(picture)))
        return None if found is None else found["tokens"]

    def keep_picture(self, picture: Tensor, tokens: Tensor) -> None:
        _write(self._path("latent", _bytes(picture)), {"tokens": tokens})

    def _path(self, kind: str, data: bytes) -> Path:
        name = blake2b(data, digest_size=16).hexdigest()
        return self.folder / kind / name[:2] / f"{name}.safetensors"


def encoders_of(base: Path) -> str:
    """Name of the encoders in ``base``, a pipeline in diffusers' layout: another where a file of
    theirs has another name, size, beginning or end."""
    digest = blake2b(digest_size=8)
    for part in ENCODERS:
        for path in sorted(path for path in (base / part).glob("*") if path.is_file()):
            digest.update(f"{part}/{path.name} {path.stat().st_size} ".encode())
            with path.open("rb") as file:
                digest.update(file.read(_ENDS))
                file.seek(max(path.stat().st_size - _ENDS, 0))
                digest.update(file.read(_ENDS))
    return digest.hexdigest()


def _bytes(picture: Tensor) -> bytes:
    pixels = picture.cpu().contiguous().numpy()
    return str(pixels.shape).encode() + pixels.tobytes()


def _read(path: Path) -> dict[str, Tensor] | None:
    return load_file(path) if path.exists() else None


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Under another name first: who reads meanwhile sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    os.close(handle)
    save_file(
        {name: t.detach().cpu().to(torch.bfloat16).contiguous() for name, t in tensors.items()},
        fresh,
    )
    Path(fresh).replace(path)
