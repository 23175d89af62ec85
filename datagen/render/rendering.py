"""The pixels of one rendered scene, as the render worker writes them."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from datagen.render.exposure import expose, expose_view


@dataclass(frozen=True, eq=False)
class Rendering:
    """The pixels of one rendered scene, exposed for its subjects.

    ``image`` (H, W, 3) uint8 sRGB; ``depth`` (H, W) float32 metres of z-depth, 0 where nothing
    was hit; ``instances`` (H, W) uint8, 0 = background; ``views`` (N, V, S, S, 4) uint8 with
    straight alpha, the identity views of the N subjects.
    """

    image: np.ndarray
    depth: np.ndarray
    instances: np.ndarray
    views: np.ndarray

    @classmethod
    def from_npz(cls, data: bytes) -> Rendering:
        """Decodes the worker's ``.npz`` file, whose image (H, W, 3) and views (N, V, S, S, 4) are
        linear float16, and exposes them. Nothing in it is unpickled."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            instances, views = arrays["instances"], arrays["views"]
            exposed = [[expose_view(view) for view in row] for row in views]
            return cls(
                image=expose(arrays["image"], instances > 0),
                depth=arrays["depth"],
                instances=instances,
                views=np.array(exposed, np.uint8).reshape(views.shape),
            )
