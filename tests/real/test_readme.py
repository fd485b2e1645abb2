"""What the READMEs show runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import interpret
from interpret.facade import AttachedModel
from tests.conftest import ROOT


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_capture_around_an_own_forward_runs_as_written(
    minilm: AttachedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.S)
    (block,) = [block for block in blocks if "model(**batch)" in block]
    monkeypatch.chdir(tmp_path)
    held: dict[str, Any] = {"interpret": interpret, "lm": minilm}
    exec(block, held)
    pattern = held["capture"]["attn_pattern", 3]
    kept = torch.as_tensor(pattern)[held["batch"]["attention_mask"].bool()[:, None, :].expand(pattern.shape[:3])]
    assert torch.allclose(kept.nansum(-1), torch.ones(kept.shape[:-1]), atol=1e-5)
    assert (tmp_path / "view.html").is_file()
