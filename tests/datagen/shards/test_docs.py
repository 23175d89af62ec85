import re
from pathlib import Path

import pytest
from pycocotools import mask

from datagen.shards import codec
from datagen.shards.index import SCHEMA as INDEX_SCHEMA
from datagen.shards.metadata import SCHEMA as METADATA_SCHEMA

PAGE = (Path(__file__).parents[3] / "docs" / "shard-format.md").read_text()


def test_examples_of_the_format_document_run(
    packed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(packed.parent)
    scope: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(example, scope)
    told = capsys.readouterr().out
    # 000002 is one box four metres away; seven scenes are for training.
    assert "000002 1 boxes in a row, in a hall 4.0\n" in told
    assert len(told.splitlines()) == 7 + 1
    assert mask.area(scope["rle"]) > 0


def test_every_member_and_column_is_explained() -> None:
    for extension in codec.MEMBERS:
        assert f"`KEY.{extension}`" in PAGE
    for column in (*INDEX_SCHEMA.names[:5], *METADATA_SCHEMA.names):
        assert f"`{column}`" in PAGE
