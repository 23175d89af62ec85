"""New layouts: subjects of several samples, pasted on the ground of one sample.

A small set has few layouts, and few scenes of each number of subjects. What is pasted are cut-outs,
blocks of identity sheets: crops or re-posed views. Each stands on the ground, scaled by its depth.
Masks, 2D boxes and occlusion are exact for the pixels of the picture. 3D boxes are estimated, and
marked as such; the depth of a pasted subject is one plane.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from pycocotools import mask as coco
from scipy import ndimage

from datagen.errors import UserError
from datagen.scene import MAX_SUBJECTS, Rle, Sample, Subject, View
from model.data.augmentation.ground import Ground, cleared, ground_of, shade
from model.data.augmentation.posed_boxes import outline, posed_boxes
from model.data.augmentation.wording import plain_prompt

WHOLE = 0.95
"""Least visible share of a subject that may stay where it is, or whose crop may be used."""

ENLARGED = 1.3
"""Largest scale of a cut-out relative to the sheet: the model must not learn to generate blurred
subjects."""

LEAST_VISIBLE, LEAST_AREA = 0.35, 0.002
"""Least visible share of each subject, and least share of the picture that it covers."""

_ATTEMPTS, _PLACES = 12, 16


@dataclass(frozen=True, eq=False)
class _Cutout:
    """``block``: what is to be painted of ``subject``, premultiplied RGBA. ``blocks``
    (V, S, S, 4) and ``views``: its row of the new sheet, with that block in column 0."""

    subject: Subject
    block: Image.Image
    blocks: np.ndarray
    views: tuple[View, ...]


@dataclass(frozen=True, eq=False)
class _Layer:
    """A placed cut-out: ``patch`` (h, w, 4) premultiplied RGBA, in ``window`` (rows, columns) of
    the picture, at ``depth`` metres."""

    patch: np.ndarray
    window: tuple[slice, slice]
    depth: float

    @property
    def mask(self) -> np.ndarray:
        return self.patch[..., 3] >= 128


def recompose(samples: Sequence[Sample], count: int, rng: np.random.Generator) -> Sample | None:
    """``samples[0]`` with a new layout of ``count`` subjects.

    Some of its own subjects stay where they are, and at least one subject is pasted; its other
    subjects are removed. Key, place and camera stay the same. Column 0 of the sheet of a pasted
    subject is the view that was pasted, without occlusion, and no other column has that view; a
    view that shows too little of the subject is left out, and another one is repeated in its place.
    The prompt names subjects and place only.

    Args:
        samples: The sample to change, and others to take subjects from; no identity is used twice.
        count: Number of subjects of the result.
        rng: All random choices are made with it.

    Returns:
        The new sample, or None where too few subjects can be cut out, or they do not fit.

    Raises:
        UserError: ``count`` is not 1 to 10, or samples differ in the size of identity views.
    """
    base = samples[0]
    if not 1 <= count <= MAX_SUBJECTS:
        raise UserError(f"recompose: {count} subjects asked for, expected 1 to {MAX_SUBJECTS}")
    if len(sizes := {sample.views.shape[2] for sample in samples}) > 1:
        raise UserError(f"recompose: identity views of {sorted(sizes)} pixels, expected one size")
    columns = min(sample.views.shape[1] for sample in samples)
    areas = np.bincount(base.instances.ravel(), minlength=MAX_SUBJECTS + 1) / base.instances.size
    whole = [
        subject
        for subject in base.record.subjects
        if subject.visibility >= WHOLE and areas[subject.index] >= LEAST_AREA
    ]
    ground = ground_of(base)
    for attempt in range(_ATTEMPTS):
        stay = rng.permutation(len(whole))[: rng.integers(min(len(whole) + 1, count))]
        kept = [whole[i] for i in stay]
        cutouts = _cutouts(samples, {s.identity for s in kept}, count - len(kept), columns, rng)
        if len(kept) + len(cutouts) == count:
            layers = _placed(cutouts, kept, ground, base, 0.93**attempt, rng)
            composed = _composed(base, kept, cutouts, layers, rng)
            if composed is not None:
                return composed
    return None


def _cutouts(
    samples: Sequence[Sample],
    taken: Collection[str],
    count: int,
    columns: int,
    rng: np.random.Generator,
) -> list[_Cutout]:
    """Up to ``count`` random cut-outs, of identities that are not ``taken``."""
    pool = {s.identity: (sample, s) for sample in samples for s in sample.record.subjects}
    names = [name for name in pool if name not in taken]
    cutouts: list[_Cutout] = []
    for i in rng.permutation(len(names)):
        if len(cutouts) == count:
            break
        sample, subject = pool[names[i]]
        whole = min(subject.visibility, 1 - subject.truncation) >= WHOLE
        shown = np.arange(0 if whole else 1, columns)
        # One view to paste and, where the set has several, another one as the reference.
        if len(shown) < min(columns, 2):
            continue
        pasted = int(rng.choice(shown))
        others = shown[shown != pasted]
        order = [pasted, *np.resize(others, columns - 1).tolist()]
        blocks = sample.views[subject.index - 1, order]
        if (blocks[0, ..., 3] >= 128).any():
            kind = "repose" if sample.record.source == "generate" else "render"
            views = [replace(subject.views[c], kind=kind) for c in order]
            views[0] = replace(views[0], kind="crop")
            block = Image.fromarray(blocks[0]).convert("RGBa")
            cutouts.append(_Cutout(subject, block, blocks, tuple(views)))
    return cutouts


def _placed(
    cutouts: Sequence[_Cutout],
    kept: Sequence[Subject],
    ground: Ground,
    base: Sample,
    shrink: float,
    rng: np.random.Generator,
) -> list[_Layer]:
    """Places each cut-out on the ground: at the first of ``_PLACES`` random places that overlaps
    the others little enough, or at the one that overlaps least."""
    height, width = base.instances.shape
    taken = [np.array(s.box2d, float) for s in kept]
    share = shrink * np.clip(0.8 / np.sqrt(len(kept) + len(cutouts)), 0.2, 0.6)
    feet = rng.uniform(ground.top, ground.bottom, (len(cutouts), _PLACES))
    across = rng.uniform(0, 1, feet.shape)
    near = ground.depth(np.array(ground.bottom)) / ground.depth(feet)
    sides = share * min(height, width) * near * rng.uniform(0.75, 1.25, (len(cutouts), 1))
    shareable = rng.uniform(0, 0.4, len(cutouts))
    layers = []
    for i, cutout in enumerate(cutouts):
        alpha = np.asarray(cutout.block)[..., 3] >= 128
        columns, rows = np.flatnonzero(alpha.any(axis=0)), np.flatnonzero(alpha.any(axis=1))
        box = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        w, h = box[2] - box[0], box[3] - box[1]
        scale = np.minimum(sides[i] / np.sqrt(w * h), 0.95 * feet[i] / h)
        scale = np.minimum(scale, min(ENLARGED, 0.9 * width / w))
        left, top = across[i] * (width - w * scale), feet[i] - h * scale
        places = np.stack([left, top, left + w * scale, feet[i]], axis=1)
        common = _common(places, taken)
        fits = common < shareable[i]
        place = places[fits.argmax() if fits.any() else common.argmin()]
        taken.append(place)
        x, y, x_max, y_max = place.astype(int).tolist()
        window = slice(y, max(y_max, y + 1)), slice(x, max(x_max, x + 1))
        size = window[1].stop - x, window[0].stop - y
        patch = cutout.block.resize(size, Image.Resampling.BICUBIC, box=box)
        # The middle of the subject is further back than its lowest pixel.
        foot = max(ground.top, y + 0.9 * size[1])
        layers.append(_Layer(np.asarray(patch), window, float(ground.depth(np.array(foot)))))
    return layers


def _common(places: np.ndarray, boxes: Sequence[np.ndarray]) -> np.ndarray:
    """Largest overlap (P,) of each place (P, 4) with a box, as a share of the smaller of the
    two."""
    if not boxes:
        return np.zeros(len(places))
    others = np.array(boxes)
    sides = np.minimum(places[:, None, 2:], others[:, 2:]) - np.maximum(
        places[:, None, :2], others[:, :2]
    )
    one = (places[:, 2] - places[:, 0]) * (places[:, 3] - places[:, 1])
    other = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    shared = np.maximum(sides[..., 0], 0) * np.maximum(sides[..., 1], 0)
    return (shared / np.minimum(one[:, None], other)).max(axis=1)


def _composed(
    base: Sample,
    kept: Sequence[Subject],
    cutouts: Sequence[_Cutout],
    layers: Sequence[_Layer],
    rng: np.random.Generator,
) -> Sample | None:
    """The sample with all layers pasted from back to front; None where a subject is too little
    visible."""
    masks = [base.instances == subject.index for subject in kept]
    image, depth = cleared(
        base, np.logical_or.reduce([np.zeros_like(base.instances, bool), *masks])
    )
    instances = np.zeros_like(base.instances)
    unit = base.record.depth.meters_per_unit
    count = len(kept) + len(cutouts)
    indices = (rng.permutation(count) + 1).tolist()
    depths = [float(np.median(base.depth[mask])) for mask in masks]
    depths += [min(max(round(layer.depth / unit), 1), 65535) for layer in layers]
    for i in np.argsort(depths)[::-1].tolist():
        if i < len(kept):
            mask = masks[i]
            image[mask], depth[mask] = base.image[mask], base.depth[mask]
            instances[mask] = indices[i]
        else:
            layer = layers[i - len(kept)]
            shade(image, layer.window, instances == 0)
            behind = image[layer.window]
            through = behind * (255 - layer.patch[..., 3:].astype(np.uint16)) // 255
            np.minimum(layer.patch[..., :3] + through, 255, out=behind, casting="unsafe")
            depth[layer.window][layer.mask] = depths[i]
            instances[layer.window][layer.mask] = indices[i]
    areas = np.bincount(instances.ravel(), minlength=count + 1)[indices]
    wholes = np.array(
        [np.count_nonzero(mask) / s.visibility for mask, s in zip(masks, kept, strict=True)]
        + [np.count_nonzero(layer.mask) for layer in layers]
    )
    if (areas < np.maximum(LEAST_VISIBLE * wholes, LEAST_AREA * instances.size)).any():
        return None
    columns = len(cutouts[0].views)
    rows = [base.views[s.index - 1, :columns] for s in kept]
    subjects = [replace(s, views=s.views[:columns]) for s in kept]
    rows += [cutout.blocks for cutout in cutouts]
    subjects += _pasted(base, cutouts, layers)
    boxes = ndimage.find_objects(instances)
    ordered = np.argsort(indices).tolist()
    named = tuple(
        replace(
            subjects[i],
            index=indices[i],
            box2d=(boxes[n][1].start, boxes[n][0].start, boxes[n][1].stop, boxes[n][0].stop),
            visibility=min(1.0, float(areas[i] / wholes[i])),
            area=float(areas[i] / instances.size),
        )
        for n, i in enumerate(ordered)
    )
    prompt = plain_prompt([s.caption for s in named], base.record.prompt.background)
    record = replace(base.record, n_subjects=count, subjects=named, prompt=prompt)
    sheet = np.concatenate([np.hstack(rows[i]) for i in ordered])
    return Sample(record, image, depth, instances, sheet)


def _pasted(base: Sample, cutouts: Sequence[_Cutout], layers: Sequence[_Layer]) -> list[Subject]:
    """Records of the pasted subjects, without the values that depend on occlusion."""
    corners = [(layer.window[1].start, layer.window[0].start) for layer in layers]
    outlines = [outline(layer.mask) + at for layer, at in zip(layers, corners, strict=True)]
    boxes = posed_boxes(
        [cutout.subject.box3d for cutout in cutouts],
        [cutout.views[0] for cutout in cutouts],
        outlines,
        [layer.depth for layer in layers],
        base.record.camera.intrinsics,
    )
    whole = np.zeros((*base.instances.shape, len(layers)), np.uint8, order="F")
    for i, layer in enumerate(layers):
        whole[..., i][layer.window] = layer.mask
    return [
        replace(
            cutout.subject,
            box2d_amodal=(*points.min(axis=0).tolist(), *points.max(axis=0).tolist()),
            box3d=box,
            truncation=0.0,
            amodal_rle=Rle(base.instances.shape, rle["counts"].decode("ascii")),
            views=cutout.views,
        )
        for cutout, box, points, rle in zip(
            cutouts, boxes, outlines, coco.encode(whole), strict=True
        )
    ]
