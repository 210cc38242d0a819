from pathlib import Path
from autopeft.nouns import Configuration, Module
from autopeft.export.trainers import export_recipe, FORMATS
import pytest
from .conftest import Lab
LORA = Module("lora", 2, (0, 1), (("sites", ("q","v")),))

@pytest.mark.parametrize("name", FORMATS)
def test_x(lines: Lab, tmp_path: Path, name) -> None:
    trial = lines.train(Configuration.of([LORA], 2e-2))
    export_recipe(name, lines.study, trial, tmp_path / "out", lossy=name=="peft-comparison")
    for f in sorted((tmp_path/"out").iterdir()):
        if f.is_file(): print(f, f.read_text())
