"""Encodes a set with the frozen encoders of a pretrained model, once, before the first step.

27,000 scenes of five subjects at the paper's size take 110 GB for text (T5 turns each prompt into
512 x 4096 numbers of 2 bytes) and 10 GB for latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayActorError
from ray.util import ActorPool
from rich.console import Console

from datagen.errors import UserError
from datagen.scene import Sample, Split
from datagen.shards.codec import BadSample
from model.controls.identity_sheet import identity_sheet
from model.data.batch import identity_views, prompts
from model.data.decode import decode
from model.data.shard_index import ShardIndex, open_shard_index
from model.network.encoder_cache import EncoderCache, encoder_fingerprint
from model.network.image_tokenizer import VaeTokenizer
from model.network.text_encoder import FluxTextEncoder
from model.sigma_gen import load_flux_text_encoder, load_flux_vae
from pipelines.progress import Progress
from pipelines.training.config import TrainingConfig

CHUNK = 16
"""Scenes per call of an actor."""


def encode_dataset(
    config: TrainingConfig, source: ShardIndex, shards: str, cache: Path, console: Console
) -> Path:
    """Encode what training needs of a set and was not encoded before, with the frozen encoders.

    As many actors work as the run has processes. Ray must be running.

    Args:
        config: of the run; its base is pretrained.
        source: the training set.
        shards: its folder or URL, as the actors see it.
        cache: folder of caches; this run's is a folder in it.
        console: where progress is shown.

    Returns:
        The folder of the ``EncoderCache``.

    Raises:
        UserError: the encoders cannot be loaded, or a process died.
    """
    folder = (cache / "encoded" / encoder_fingerprint(Path(str(config.model.base)))).resolve()
    done = folder / "done" / encoding_key(config, source)
    if done.exists():
        return folder
    keys = scene_keys(config, source)
    chunks = [keys[i : i + CHUNK] for i in range(0, len(keys), CHUNK)]
    remote = ray.remote(num_gpus=int(config.job.gpu), num_cpus=config.job.threads)(SceneEncoder)
    actors = [
        remote.remote(config, shards, str(folder))
        for _ in range(min(config.job.processes, len(chunks)))
    ]
    pool = ActorPool(actors)
    results = pool.map_unordered(_encode_chunk, chunks)
    damaged = 0
    console.print(f"encoding {len(keys)} scenes, once for all runs with these encoders")
    try:
        with Progress("scene", len(keys), console) as progress:
            for result in results:
                if isinstance(result, UserError):
                    raise result
                finished, bad = result
                damaged += bad
                progress.advance(finished)
    except RayActorError as error:
        raise UserError(
            f"an encoder's process died: {str(error).splitlines()[0]}; if memory ran out, set "
            "fewer job.processes; what is encoded is kept"
        ) from None
    skipped = f", {damaged} damaged ones skipped" if damaged else ""
    console.print(f"{len(keys)} scenes encoded{skipped}: {folder}")
    if not damaged:  # a damaged scene is to be encoded once it is repaired
        done.parent.mkdir(parents=True, exist_ok=True)
        done.touch()
    return folder


def _encode_chunk(actor: Any, keys: Sequence[str]) -> Any:
    return actor.encode.remote(keys)


def scene_keys(config: TrainingConfig, source: ShardIndex) -> list[str]:
    """Keys of the scenes for training and validation.

    Raises:
        UserError: a split of them is empty.
    """
    pools = [source.pools(split) for split in _splits(config)]
    return [key for pool in pools for alike in pool.values() for shard in alike for key in shard]


def encoding_key(config: TrainingConfig, source: ShardIndex) -> str:
    """A key that differs wherever ``SceneEncoder`` would encode other prompts or other images."""
    shown, splits = config.model.format, "+".join(_splits(config))
    return f"{source.fingerprint}-{splits}-{shown.size}-{shown.identity_size}-views"


def _splits(config: TrainingConfig) -> list[Split]:
    return sorted({config.data.split, "val"})


class SceneEncoder:
    """Encodes of each scene both prompts, the image and every identity view. An actor of Ray.

    Args:
        config: of the run.
        shards: folder or URL of the training set.
        folder: of the ``EncoderCache``.
    """

    def __init__(self, config: TrainingConfig, shards: str, folder: str) -> None:
        torch.set_num_threads(config.job.threads)
        self._base, self._device = str(config.model.base), "cuda" if config.job.gpu else "cpu"
        self._format, self._shards = config.model.format, shards
        self._cache = EncoderCache(Path(folder))

    # Loaded by the first call, whose errors reach the driver unchanged. An error in the constructor
    # would reach it as an actor that has died.
    @cached_property
    def _source(self) -> ShardIndex:
        return open_shard_index(self._shards)

    @cached_property
    def _text_encoder(self) -> FluxTextEncoder:
        return load_flux_text_encoder(self._base, self._device)

    @cached_property
    def _image_tokenizer(self) -> VaeTokenizer:
        return VaeTokenizer(load_flux_vae(self._base, self._device))

    def encode(self, keys: Sequence[str]) -> tuple[int, int] | UserError:
        """Encode scenes.

        Returns:
            The number of scenes and how many of them are damaged; training names those. A UserError
            is returned and not raised, as Ray would wrap it in a traceback.
        """
        try:
            return len(keys), self._encode(keys)
        except UserError as error:
            return error

    def _encode(self, keys: Sequence[str]) -> int:
        damaged = 0
        for key in keys:
            try:
                sample = decode(
                    self._source.verified_members(key), key, self._format.size, depth=False
                )
            except BadSample:
                damaged += 1
            else:
                self._prompts(sample)
                self._pictures(sample)
        return damaged

    def _prompts(self, sample: Sample) -> None:
        for prompt in prompts(sample.record.prompt):
            if self._cache.prompt(prompt) is None:
                text = self._text_encoder([prompt])
                self._cache.keep_prompt(prompt, text.tokens[0], text.pooled[0])

    def _pictures(self, sample: Sample) -> None:
        views = chain.from_iterable(identity_views(sample))
        blocks = [identity_sheet([view], self._format.identity_size) for view in views]
        for pixels in (sample.image, *blocks):
            picture = torch.from_numpy(pixels).permute(2, 0, 1)
            if self._cache.picture(picture) is None:
                self._cache.keep_picture(picture, self._image_tokenizer.encode(picture[None])[0])
