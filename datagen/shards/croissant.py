"""``croissant.json``: the set's description in MLCommons Croissant 1.0, for dataset search."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from datagen.shards.codec import MEMBERS
from datagen.shards.files import Folder
from datagen.shards.manifest import FileEntry, Manifest
from datagen.shards.metadata import METADATA, SCHEMA

CROISSANT = "croissant.json"

# Croissant's own terms; validators expect all of them to be declared.
_TERMS = (
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty"),
    *("fileSet", "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField"),
    *("path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate"),
    *("separator", "source", "subField", "transform"),
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS},
}
_TYPES = {
    "json": "application/json",
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "tar": "application/x-tar",
    "parquet": "application/x-parquet",
}


def write_croissant(folder: Folder, manifest: Manifest) -> None:
    """Write ``croissant.json`` into ``folder``."""
    text = json.dumps(_dataset(manifest), indent=1, ensure_ascii=False)
    folder.write(CROISSANT, f"{text}\n".encode())


def _dataset(manifest: Manifest) -> dict[str, Any]:
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": manifest.name,
        "description": (
            f"{manifest.samples} pictures of several subjects each, with identity pictures, "
            "masks, depth, 2D and 3D boxes. Licences differ from asset to asset: see README.md."
        ),
        "distribution": [*_files(manifest), *(_members(name, manifest) for name in MEMBERS)],
        "recordSet": [_record_set()],
    }


def _files(manifest: Manifest) -> list[dict[str, Any]]:
    entries: tuple[FileEntry, ...] = (*manifest.tables, *manifest.shards)
    return [
        {
            "@type": "cr:FileObject",
            "@id": entry.file,
            "name": entry.file,
            "contentUrl": entry.file,
            "contentSize": f"{entry.bytes} B",
            "encodingFormat": _TYPES[entry.file.rpartition(".")[2]],
            "sha256": entry.sha256,
        }
        for entry in entries
    ]


def _members(extension: str, manifest: Manifest) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": extension,
        "name": extension,
        "containedIn": [{"@id": entry.file} for entry in manifest.shards],
        "encodingFormat": _TYPES[extension.rpartition(".")[2]],
        "includes": f"*.{extension}",
    }


def _record_set() -> dict[str, Any]:
    """The plain columns of metadata.parquet."""
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"scenes/{column.name}",
            "name": column.name,
            "dataType": "sc:Integer" if column.type == pa.int32() else "sc:Text",
            "source": {"fileObject": {"@id": METADATA}, "extract": {"column": column.name}},
        }
        for column in SCHEMA
        if not pa.types.is_nested(column.type)
    ]
    return {"@type": "cr:RecordSet", "@id": "scenes", "name": "scenes", "field": fields}
