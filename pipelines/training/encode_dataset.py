"""What a pretrained model's frozen encoders make of a set, made once, before the first step.

27,000 scenes of five subjects at the paper's size: 110 GB of text (T5 turns each prompt into
512 x 4096 numbers of 2 bytes), 10 GB of latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path

import ray
import torch
from ray.exceptions import RayActorError
from ray.util import ActorPool
from rich.console import Console
from rich.progress import track

from datagen.errors import UserError
from datagen.scene import Sample, Split
from datagen.shards.codec import BadSample
from model.controls.regions import identity_sheet
from model.data.batch import identity_views, prompts
from model.data.decode import decode
from model.data.shard_index import ShardIndex, open_shard_index
from model.network.encoder_cache import Encoded, encoders_of
from model.network.image_tokenizer import VaeCodec
from model.network.text_encoder import FluxText
from model.sigma_gen import flux_text, flux_vae
from pipelines.training.config import TrainingConfig

CHUNK = 16


def encode(
    config: TrainingConfig, source: ShardIndex, shards: str, cache: Path, console: Console
) -> Path:
    """Of ``wanted`` all that was not encoded before, by as many actors as the run has processes.
    Ray is up. Returns the folder of ``Encoded``. Raises UserError."""
    folder = (cache / "encoded" / encoders_of(Path(str(config.model.base)))).resolve()
    done = folder / "done" / mark(config, source)
    if done.exists():
        return folder
    keys = wanted(config, source)
    chunks = [keys[i : i + CHUNK] for i in range(0, len(keys), CHUNK)]
    remote = ray.remote(num_gpus=int(config.job.gpu), num_cpus=config.job.threads)(Encoder)
    actors = [
        remote.remote(config, shards, str(folder))
        for _ in range(min(config.job.processes, len(chunks)))
    ]
    pool = ActorPool(actors)
    found = pool.map_unordered(lambda actor, chunk: actor.encode.remote(chunk), chunks)
    damaged = 0
    try:
        for one in track(found, "encoding the set", len(chunks), console=console, transient=True):
            if isinstance(one, UserError):
                raise one
            damaged += one
    except RayActorError as error:
        raise UserError(
            f"an encoder's process died: {str(error).splitlines()[0]}; if memory ran out, set "
            "fewer job.processes; what is encoded is kept"
        ) from None
    told = f", {damaged} damaged ones passed over" if damaged else ""
    console.print(f"{len(keys)} scenes encoded{told}: {folder}")
    if not damaged:  # one that is mended is to be encoded
        done.parent.mkdir(parents=True, exist_ok=True)
        done.touch()
    return folder


def wanted(config: TrainingConfig, source: ShardIndex) -> list[str]:
    """Keys of the scenes to be trained on or to be validated with. Raises UserError."""
    pools = [source.pools(split) for split in _splits(config)]
    return [key for pool in pools for alike in pool.values() for shard in alike for key in shard]


def mark(config: TrainingConfig, source: ShardIndex) -> str:
    """Another one wherever an ``Encoder`` would make other prompts or other pictures."""
    shown, splits = config.model.format, "+".join(_splits(config))
    return f"{source.fingerprint}-{splits}-{shown.size}-{shown.identity_size}-views"


def _splits(config: TrainingConfig) -> list[Split]:
    return sorted({config.data.split, "val"})


class Encoder:
    """Of scenes both prompts, the picture and every identity view."""

    def __init__(self, config: TrainingConfig, shards: str, folder: str) -> None:
        torch.set_num_threads(config.job.threads)
        self._base, self._device = str(config.model.base), "cuda" if config.job.gpu else "cpu"
        self._format, self._shards = config.model.format, shards
        self._encoded = Encoded(Path(folder))

    # Loaded by the first call, whose mistakes come back as they are: one of a constructor would
    # reach the driver as an actor that has died.
    @cached_property
    def _source(self) -> ShardIndex:
        return open_shard_index(self._shards)

    @cached_property
    def _text(self) -> FluxText:
        return flux_text(self._base, self._device)

    @cached_property
    def _codec(self) -> VaeCodec:
        return VaeCodec(flux_vae(self._base, self._device))

    def encode(self, keys: Sequence[str]) -> int | UserError:
        """Returns how many of them are damaged: training will tell which. A UserError is handed
        back and not raised, or Ray would wrap it in a traceback."""
        try:
            return self._encode(keys)
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
            if self._encoded.prompt(prompt) is None:
                text = self._text([prompt])
                self._encoded.keep_prompt(prompt, text.tokens[0], text.pooled[0])

    def _pictures(self, sample: Sample) -> None:
        views = chain.from_iterable(identity_views(sample))
        blocks = [identity_sheet([view], self._format.identity_size) for view in views]
        for pixels in (sample.image, *blocks):
            picture = torch.from_numpy(pixels).permute(2, 0, 1)
            if self._encoded.picture(picture) is None:
                self._encoded.keep_picture(picture, self._codec.encode(picture[None])[0])
