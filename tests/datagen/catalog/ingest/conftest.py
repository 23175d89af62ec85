"""Fixtures of the tests that read model files."""

from __future__ import annotations

from pathlib import Path

import pytest

from datagen.catalog.ingest.gltf.document import read_container
from datagen.catalog.ingest.gltf.reader import read_gltf
from datagen.catalog.ingest.meshes import MaterialMesh
from datagen.catalog.ingest.model_files import FolderLibrary
from datagen.catalog.ingest.resolver import Resolver
from tests.datagen.catalog.gltf_files import GltfFile, Read


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def run(file: GltfFile) -> list[MaterialMesh]:
        resolver = Resolver(FolderLibrary(tmp_path), "", 100_000_000)
        return read_gltf(read_container(file.glb()), resolver, 100_000)

    return run
