"""``README.md``: the dataset card, in the form that Hugging Face reads.

It follows from the manifest, ``metadata.parquet`` and the job's failures alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from datagen.scene import OCCLUDED, SPLITS
from datagen.shards import charts
from datagen.shards.files import Folder
from datagen.shards.manifest import BUCKETS, Manifest, bucket_of

CARD = "README.md"
CATEGORIES_SHOWN = 30


def write_card(
    folder: Folder, manifest: Manifest, scenes: pa.Table, failures: Mapping[str, int]
) -> None:
    """Write the card and its charts into ``folder``.

    Args:
        folder: the folder of shards.
        manifest: of the set.
        scenes: ``metadata.parquet``.
        failures: number of refused and failed scenes by reason.
    """
    subjects = subject_table(scenes)
    folder.write(charts.CHARTS, charts.draw(scenes, subjects))
    folder.write(CARD, _readme(manifest, scenes, subjects, failures).encode())


def subject_table(scenes: pa.Table) -> pa.Table:
    """One row per subject: the fields of ``subjects`` in ``metadata.parquet``, and ``scene``, the
    row of its scene there."""
    lists = scenes["subjects"].combine_chunks()
    subjects = pa.Table.from_struct_array(pc.list_flatten(lists))
    return subjects.append_column("scene", pc.list_parent_indices(lists))


def occluded_share(scenes: pa.Table, subjects: pa.Table) -> float:
    """Share of the scenes with two or more subjects in which a subject is occluded.

    Args:
        scenes: ``metadata.parquet``.
        subjects: as ``subject_table`` makes it.
    """
    multi = pc.sum(pc.greater_equal(scenes["n_subjects"], 2)).as_py()
    least = subjects.group_by("scene").aggregate([("visibility", "min"), ("visibility", "count")])
    hidden = pc.and_(
        pc.less(least["visibility_min"], OCCLUDED), pc.greater_equal(least["visibility_count"], 2)
    )
    return pc.sum(hidden).as_py() / multi if multi else 0.0


def _readme(
    manifest: Manifest, scenes: pa.Table, subjects: pa.Table, failures: Mapping[str, int]
) -> str:
    front = yaml.safe_dump(_front_matter(manifest), sort_keys=False, allow_unicode=True)
    assets = pc.count_distinct(pc.struct_field(subjects["asset"], "id")).as_py()
    identities = pc.count_distinct(subjects["identity"]).as_py()
    return f"""---
{front}---

# {manifest.name}

{manifest.samples} pictures that show {subjects.num_rows} subjects: {identities} identities, made \
of {assets} assets. Each comes with a prompt, depth, the camera, and of each subject a caption, \
its mask, its 2D and 3D boxes and identity pictures of it. In \
{occluded_share(scenes, subjects):.0%} of the pictures with two subjects or more, some subject is \
occluded (shows less than {OCCLUDED:.0%} of itself).

Format version {manifest.format_version}, configuration `{manifest.config_digest}`.

```python
from datasets import load_dataset

scenes = load_dataset("FOLDER", split="{next(iter(manifest.splits))}")
```

`manifest.json` lists every file with its SHA-256, `metadata.parquet` has one row a picture, and
`index.parquet` says where in the shards each one lies.

## Scenes

{_counts(manifest)}

![Statistics]({charts.CHARTS})

## Categories

{_categories(subjects)}

{_guesses(subjects)}## Left out

{_left_out(manifest, failures)}

## Assets and licences

The pictures are made of the work of these authors. Each sample's JSON, and `metadata.parquet`,
name the asset, source, title, author and licence of every subject.

{_credits(subjects)}
"""


def _front_matter(manifest: Manifest) -> dict[str, object]:
    files = [{"split": split, "path": f"{split}-*.tar"} for split in manifest.splits]
    sizes = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
    return {
        "pretty_name": manifest.name,
        "license": "other",
        "license_name": "per-asset",
        "language": ["en"],
        "task_categories": ["text-to-image"],
        "size_categories": [next((s for n, s in sizes if manifest.samples < n), "n>1M")],
        "tags": ["webdataset", "synthetic", "multi-subject", "segmentation", "depth", "3d"],
        "configs": [{"config_name": _content_name(manifest), "data_files": files}],
    }


def _content_name(manifest: Manifest) -> str:
    """A name that follows from the content of the shards.

    ``datasets`` caches a local set by the last part of its path, its ``configs``, and the *names*
    of its files, which are alike in all our sets. Under one name for all, it would return the rows
    of another set, or those from before a set was packed again.
    """
    content = "".join(f"{shard.file} {shard.sha256}\n" for shard in manifest.shards)
    return f"shards-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _counts(manifest: Manifest) -> str:
    buckets = [bucket_of(low) for low, _ in BUCKETS]
    names = [str(low) if low == high else f"{low} to {high}" for low, high in BUCKETS]
    rows = []
    for split in (split for split in SPLITS if split in manifest.splits):
        shards = [shard for shard in manifest.shards if shard.split == split]
        counts = [sum(s.samples for s in shards if s.bucket == bucket) for bucket in buckets]
        rows.append((split, *counts, sum(counts), len(shards)))
    subjects = (f"{name} subjects" if name != "1" else "1 subject" for name in names)
    return _table(("split", *subjects, "scenes", "shards"), rows)


def _categories(subjects: pa.Table) -> str:
    counts = charts.most_common(subjects["category"])
    table = _table(("category", "subjects"), counts[:CATEGORIES_SHOWN])
    rest = counts[CATEGORIES_SHOWN:]
    if not rest:
        return table
    return f"{table}\n\nand {len(rest)} more, with {sum(n for _, n in rest)} subjects."


def _guesses(subjects: pa.Table) -> str:
    """The section on sizes that are guesses; empty where there is none."""
    asset = subjects["asset"].combine_chunks()
    ids = pc.filter(pc.struct_field(asset, "id"), pc.struct_field(asset, "size_guessed"))
    if not len(ids):
        return ""
    guessed = pc.count_distinct(ids).as_py()
    total = pc.count_distinct(pc.struct_field(asset, "id")).as_py()
    return (
        "## Guessed sizes\n\n"
        f"The files of {guessed} of the {total} assets state no unit: their size in metres, and so "
        f"depth and 3D boxes of {len(ids)} subjects among others, is a guess. `size_guessed` in "
        "each sample marks them.\n\n"
    )


def _left_out(manifest: Manifest, failures: Mapping[str, int]) -> str:
    said = [f"{manifest.planned} scenes were planned, {len(manifest.missing)} are not here."]
    if manifest.missing:
        said.append("`manifest.json` names them.")
    text = " ".join(said)
    if failures:
        reasons = sorted(failures.items(), key=lambda item: (-item[1], item[0]))
        text += " Refused or failed on the way:\n\n" + _table(("reason", "times"), reasons)
    return text


def _credits(subjects: pa.Table) -> str:
    asset = subjects["asset"]
    columns = {name: pc.struct_field(asset, name) for name in ("source", "author", "license", "id")}
    groups = (
        pa.table(columns)
        .group_by(["source", "author", "license"])
        .aggregate([("id", "count_distinct"), ("id", "count")])
        .to_pylist()
    )
    rows = [tuple(str(g[name]) for name in ("source", "author", "license")) for g in groups]
    counts = [(g["id_count_distinct"], g["id_count"]) for g in groups]
    ordered = sorted((*row, *count) for row, count in zip(rows, counts, strict=True))
    return _table(("source", "author", "licence", "assets", "subjects"), ordered)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")
