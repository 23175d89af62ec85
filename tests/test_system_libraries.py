"""The Makefile names every library of the system that the installed packages are linked to.

A machine that someone has worked on has most of them by chance; a bare one has none.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile

from datagen.render.renderer import blender_python

MAKEFILE = Path(__file__).parents[1] / "Makefile"

MINIMAL_DEBIAN = re.compile(
    r"ld-linux-.*|lib(c|dl|m|pthread|rt|util|gcc_s|stdc\+\+|z|udev)\.so\.\d+"
)
"""From the packages that every Debian has: libc6, libgcc-s1, libstdc++6, zlib1g, libudev1."""

NEVER_LOADED = {
    "libOpenImageDenoise_device_cuda.so": "denoises on an NVIDIA GPU; its driver has libcuda",
    "libOpenImageDenoise_device_hip.so": "denoises on an AMD GPU",
    "libOpenImageDenoise_device_sycl.so": "denoises on an Intel GPU",
    "libMaterialXRenderHw.so": "opens a window of MaterialX",
    "libcaffe2_nvrtc.so": "compiles for an NVIDIA GPU; its driver has libcuda",
    "open3d_torch_ops.so": "Open3D's operators for torch, which nothing here imports",
}
"""Files that no process of ours loads on a machine without a GPU, and what they are for."""

CUDA = "nvidia"
"""The folder of CUDA's own packages: its transports are for networks between GPUs."""


def linked_libraries(file: Path) -> Iterator[str]:
    """The libraries that the loader looks for when it loads ``file``; none if it is no ELF file."""
    with file.open("rb") as stream:
        if stream.read(4) != b"\x7fELF":
            return
        for segment in ELFFile(stream).iter_segments():
            if isinstance(segment, DynamicSegment):
                tags = segment.iter_tags("DT_NEEDED")
                yield from (tag.needed for tag in tags)


def libraries_of_the_system(environment: Path) -> dict[str, str]:
    """Libraries that files of ``environment`` are linked to and that it does not bring: by name,
    one of these files."""
    files = [path for path in environment.rglob("*") if path.is_file() and not path.is_symlink()]
    brought = {path.name for path in environment.rglob("*")}
    found = {}
    for file in files:
        if CUDA in file.parts or re.sub(r"(?<=\.so)[.0-9]+$", "", file.name) in NEVER_LOADED:
            continue
        try:
            found |= {name: str(file) for name in linked_libraries(file) if name not in brought}
        except ELFError:  # a file that only begins as one, among a package's own tests
            continue
    return {name: file for name, file in found.items() if not MINIMAL_DEBIAN.fullmatch(name)}


def named_in_the_makefile() -> set[str]:
    """The libraries of the pairs PACKAGE=LIBRARY."""
    return set(re.findall(r"[a-z0-9.+-]+=(lib\S+\.so\.\d+)", MAKEFILE.read_text()))


@pytest.mark.slow
def test_libraries_of_our_own_environment() -> None:
    needed = libraries_of_the_system(Path(sys.prefix))
    assert {"libGL.so.1", "libatomic.so.1"} <= needed.keys()
    unnamed = {name: file for name, file in needed.items() if name not in named_in_the_makefile()}
    assert not unnamed


@pytest.mark.external
def test_libraries_of_blenders_environment() -> None:
    needed = libraries_of_the_system(Path(blender_python()).parents[1])
    assert {"libX11.so.6", "libxkbcommon.so.0"} <= needed.keys()
    unnamed = {name: file for name, file in needed.items() if name not in named_in_the_makefile()}
    assert not unnamed
