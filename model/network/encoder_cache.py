"""A folder that caches what the frozen text encoders and the autoencoder output.

An entry is named by a digest of the encoder's input, never by a training step: an entry cannot be
paired with another prompt or another image, and an image that augmentation has changed simply has
no entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from datagen.atomic import write_file

ENCODERS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "vae")
_ENDS = 1 << 16


@dataclass(frozen=True)
class EncoderCache:
    """Cached encoder outputs, as bfloat16 tensors without a batch axis.

    Attributes:
        folder: belongs to one set of encoders (``encoder_fingerprint``). Several processes may
            read and write it at the same time.
    """

    folder: Path

    def prompt(self, prompt: str) -> dict[str, Tensor] | None:
        """``tokens`` (L, D) and ``pooled`` (D',) of a prompt; None where it is not cached."""
        return _read(self._path("text", prompt.encode()))

    def keep_prompt(self, prompt: str, tokens: Tensor, pooled: Tensor) -> None:
        """Cache ``tokens`` (L, D) and ``pooled`` (D',) of a prompt."""
        _write(self._path("text", prompt.encode()), {"tokens": tokens, "pooled": pooled})

    def picture(self, picture: Tensor) -> Tensor | None:
        """Latent tokens (L, C) of an image (3, H, W) uint8; None where it is not cached."""
        found = _read(self._path("latent", _bytes(picture)))
        return None if found is None else found["tokens"]

    def keep_picture(self, picture: Tensor, tokens: Tensor) -> None:
        """Cache the latent tokens (L, C) of an image (3, H, W) uint8."""
        _write(self._path("latent", _bytes(picture)), {"tokens": tokens})

    def _path(self, kind: str, data: bytes) -> Path:
        name = blake2b(data, digest_size=16).hexdigest()
        return self.folder / kind / name[:2] / f"{name}.safetensors"


def encoder_fingerprint(base: Path) -> str:
    """A digest of the encoders in ``base``, a pipeline in diffusers' layout. It changes where the
    name, the size, the beginning or the end of one of their files does."""
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
    compact = {
        name: t.detach().cpu().to(torch.bfloat16).contiguous() for name, t in tensors.items()
    }
    write_file(path, save(compact))
