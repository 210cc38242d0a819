"""Loading a frozen backbone with a fresh task head. No remote code is run; weights come from safetensors."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
)

from autopeft.backbones.layout import Layout, find_layout
from autopeft.errors import BackboneError

STARTER = "starter"  # `--model starter`: the vision transformer that ships with autopeft
_STARTER_FOLDER = Path(__file__).parent / "starter"

Modality: TypeAlias = Literal["text", "image"]

# More of the backbone missing from the checkpoint than this, and it is not the backbone's checkpoint.
_MOST_MISSING_FRACTION = 0.2


@dataclass(frozen=True)
class Backbone:
    """A frozen pre-trained model with a task head that is new.

    Attributes:
        model: The model; every parameter is frozen.
        layout: Where its sites are; `layout.shape` is what a space binds to.
        head: Paths of the modules that hold new parameters: the classifier, and what the checkpoint lacks.
        text: Whether it takes text (else images).
    """

    model: transformers.PreTrainedModel
    layout: Layout
    head: tuple[str, ...]
    text: bool

    @property
    def max_positions(self) -> int | None:
        """Most tokens that the model has positions for; None where it sets no bound."""
        for name, module in self.model.named_modules():
            # RoBERTa and its kin count positions from the padding index on: 514 rows serve 512 tokens.
            if (
                name.endswith("position_embeddings")
                and isinstance(module, nn.Embedding)
                and module.padding_idx is not None
            ):
                return module.num_embeddings - module.padding_idx - 1
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return limit if isinstance(limit, int) and limit > 0 else None


def model_path(model: str) -> str:
    """The folder or hub id behind a `--model`: the bundled starter, an existing folder (absolute), or a hub id.

    Raises:
        BackboneError: It looks like a folder that is not there.
    """
    if model == STARTER:
        return str(_STARTER_FOLDER)
    path = Path(model).expanduser()
    if path.is_dir():
        return str(path.resolve())
    if path.exists():
        raise BackboneError(f"the model '{model}' is a file; give the folder that holds config.json.")
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise BackboneError(f"there is no model folder '{model}'.")
    return model


def read_config(path: str) -> Any:
    """The model's transformers configuration.

    Raises:
        BackboneError: There is none, or it is not one that transformers knows.
    """
    try:
        with _quiet():
            return AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise BackboneError(_unreadable(path, error)) from None


def load_backbone(
    path: str,
    *,
    modality: Modality,
    num_labels: int,
    regression: bool,
    config_overrides: Mapping[str, Any] | None = None,
    sites: Mapping[str, str] | None = None,
) -> Backbone:
    """Load a model with a new head and freeze all of it.

    Args:
        path: A folder or hub id, from `model_path`.
        modality: Text goes to `AutoModelForSequenceClassification`, images to `AutoModelForImageClassification`.
        num_labels: Width of the head.
        regression: Whether the head predicts a number.
        config_overrides: Fields of the model's configuration to change, such as `num_hidden_layers`.
        sites: Sites that are named by hand, as `find_layout` takes them.

    Raises:
        BackboneError: The model cannot be read, is not of this modality, its checkpoint lacks its weights, or no
            layers or sites were found in it.
    """
    config = read_config(path)
    auto, known = _classifiers(modality)
    if type(config) not in known:
        raise BackboneError(
            f"transformers has no {modality} classifier on a {config.model_type} model ('{path}')."
        )
    overrides = dict(config_overrides or {})
    unknown = [name for name in overrides if not hasattr(config, name)]
    if unknown:
        raise BackboneError(f"the configuration of '{path}' has no field '{unknown[0]}'.")
    try:
        with _quiet():
            model, info = auto.from_pretrained(
                path,
                num_labels=num_labels,
                problem_type="regression" if regression else "single_label_classification",
                ignore_mismatched_sizes=True,
                trust_remote_code=False,
                output_loading_info=True,
                dtype=torch.float32,
                use_safetensors=True,
                **overrides,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BackboneError(_unreadable(path, error)) from None
    model.requires_grad_(False)
    model.eval()
    body = model.base_model
    if body is model:
        raise BackboneError(f"'{path}' has no backbone apart from its head ({type(model).__name__}).")
    new = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    inside = {f"{model.base_model_prefix}.{name}" for name, _ in body.named_parameters()}
    head = sorted(
        {name.rpartition(".")[0] for name, _ in model.named_parameters() if name in new or name not in inside}
    )
    head_modules = {id(p) for path_ in head for p in model.get_submodule(path_).parameters(recurse=False)}
    kept = sum(p.numel() for p in body.parameters() if id(p) not in head_modules)
    total = sum(p.numel() for p in body.parameters())
    if kept < (1 - _MOST_MISSING_FRACTION) * total:
        raise BackboneError(
            f"the checkpoint in '{path}' lacks {100 * (1 - kept / total):.0f} % of the weights of a {type(body).__name__}."
        )
    if not head:
        raise BackboneError(f"no task head was found in a {type(model).__name__}.")
    return Backbone(model, find_layout(model, kept, sites), tuple(head), modality == "text")


def read_backbone(path: str, sites: Mapping[str, str] | None = None) -> tuple[str, Layout]:
    """What a model offers, from its configuration alone: no weights are read, and none take memory.

    Args:
        path: A folder or hub id, from `model_path`.
        sites: Sites that are named by hand, as `find_layout` takes them.

    Returns:
        The model's class and its layout. The class is the one that a search loads, for texts or for images, or the
        bare model where transformers has neither classifier. All of its body counts as the backbone's parameters;
        for a search, parts that the checkpoint has no weights of belong to the head.

    Raises:
        BackboneError: The configuration cannot be read, or no layers or sites were found.
    """
    config = read_config(path)
    classifiers = [_classifiers(modality) for modality in get_args(Modality)]
    auto = next((auto for auto, known in classifiers if type(config) in known), AutoModel)
    try:
        with _quiet(), torch.device("meta"):
            model = auto.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, NotImplementedError) as error:
        raise BackboneError(_unreadable(path, error)) from None
    parameters = sum(p.numel() for p in model.base_model.parameters())
    return type(model).__name__, find_layout(model, parameters, sites)


def _classifiers(modality: Modality) -> tuple[Any, Any]:
    """The class that loads classifiers of texts or images, and the configurations that it knows."""
    if modality == "text":
        return AutoModelForSequenceClassification, transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    return AutoModelForImageClassification, transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING


def reset_head(model: nn.Module, head: tuple[str, ...], std: float = 0.02) -> None:
    """Give the head's modules fresh weights from torch's global generator: normal for linear maps, else their own.

    Args:
        model: The model.
        head: Paths of the modules, as in `Backbone.head`.
        std: Standard deviation of a linear map's weights; biases become 0.
    """
    for path in head:
        module = model.get_submodule(path)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif callable(reset := getattr(module, "reset_parameters", None)):
            reset()
        else:
            for parameter in module.parameters(recurse=False):
                nn.init.normal_(parameter, std=std)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No loading report and no progress bar: that the head is new is what we asked for."""
    logger = logging.getLogger("transformers")
    level = logger.level
    bars = transformers.utils.logging.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            transformers.utils.logging.enable_progress_bar()


def _unreadable(path: str, error: Exception) -> str:
    said = str(error).strip().partition("\n")[0].rstrip(":")
    reason = said or type(error).__name__
    kind = "folder" if Path(path).is_dir() else "hub id (there is no such folder)"
    return f"cannot load a model from the {kind} '{path}': {reason}"
