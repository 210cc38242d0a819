import subprocess
import sys

import pytest

import autopeft

HEAVY = ("torch", "ray", "sqlalchemy", "transformers", "peft", "botorch", "optuna", "datasets", "numpy")


def test_importing_autopeft_loads_nothing_heavy() -> None:
    code = f"import sys, autopeft; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_a_space_loads_nothing_heavy() -> None:
    code = (
        "import sys; from autopeft.registry import space_text; from autopeft.dsl import read_space; "
        f"read_space(space_text('lora'), 'lora'); print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", autopeft.__all__)
def test_every_public_name_resolves(name: str) -> None:
    found = getattr(autopeft, name)
    if name != "__version__":
        assert found.__module__.startswith("autopeft.")
        assert found.__name__ == name
        assert found.__doc__


def test_no_module_shadows_a_public_name() -> None:
    """`import autopeft.x` would replace the public name `x` by the module."""
    for name in autopeft.__all__:
        code = f"import importlib.util as u; print(u.find_spec('autopeft.{name}'))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "None", name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'autopeft' has no attribute 'serach'"):
        _ = autopeft.serach  # type: ignore[attr-defined]
