"""The strategies of ModelForge's page, from the document itself: nothing changed but imports, and its `...` filled.

The document is not part of the project; tests that want it skip where it is absent.
"""

from __future__ import annotations

import re
from pathlib import Path

IMPORTS = {
    "from transformers import TrainingArguments, Trainer": "from regimen.modelforge import TrainingArguments, Trainer",
    "from ..logging_config import logger": "from regimen.modelforge import logger",
    "from ..exceptions import TrainingError": "from regimen.modelforge import TrainingError",
}
HEADER = "from regimen.modelforge import Trainer, TrainingArguments, logger\n\n"
FILLED = (
    'tokenizer=tokenizer,\n                args=TrainingArguments(output_dir=config["output_dir"], learning_rate=1e-2),'
)


def write_published(seeds: Path, folder: Path) -> Path | None:
    """Writes `custom_strategy.py`, `curriculum.py` and `multitask.py` of the page; None without the page."""
    pages = [page for page in seeds.glob("*.txt") if "class CustomStrategy" in page.read_text()]
    if not pages:
        return None
    blocks = re.findall(r"```python\n(.*?)```", pages[0].read_text(), re.DOTALL)
    custom = next(block for block in blocks if "class CustomStrategy" in block)
    for theirs, ours in IMPORTS.items():
        assert theirs in custom
        custom = custom.replace(theirs, ours)
    (folder / "custom_strategy.py").write_text(custom)
    curriculum = next(block for block in blocks if "class CurriculumLearningStrategy" in block)
    (folder / "curriculum.py").write_text(HEADER + curriculum.replace("...", FILLED))
    multitask = next(block for block in blocks if "class MultiTaskStrategy" in block)
    (folder / "multitask.py").write_text(HEADER + multitask)
    return folder
