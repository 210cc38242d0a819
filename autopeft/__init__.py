"""autopeft finds the parameter-efficient fine-tuning configuration for your model, data and budget.

>>> import autopeft
>>> study = autopeft.search(budget="0.5%")          # doctest: +SKIP
>>> study.export("knee", "my-adapter")              # doctest: +SKIP
"""

import importlib
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_here = Path(__file__).resolve().parent.parent
if (_here / "pyproject.toml").exists() and (_here / "objectives").is_dir():
    __path__.append(str(_here))  # a checkout: search_spaces/ and objectives/ answer as autopeft.*

# Public name to the module that holds it; resolved on first use, so that `import autopeft` stays instant.
_PUBLIC = {
    "search": "autopeft.service",
    "resume": "autopeft.service",
    "open_study": "autopeft.service",
    "SearchResult": "autopeft.service",
    "load_adapter": "autopeft.adapters",
    "Optimizer": "autopeft.optimize.optimizer",
    "Objective": "autopeft.registry",
    "Budget": "autopeft.budget",
    "Configuration": "autopeft.nouns",
    "Trial": "autopeft.nouns",
    "AutopeftError": "autopeft.errors",
    "InputError": "autopeft.errors",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'autopeft' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
