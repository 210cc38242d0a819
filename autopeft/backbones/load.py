"""Loading a frozen backbone with a fresh task head. No remote code is run; weights come from safetensors."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel

from autopeft.backbones.heads import Head, Modality, find_head
from autopeft.backbones.layout import Layout, find_layout
from autopeft.backbones.storage import arguments, count
from autopeft.errors import BackboneError
from autopeft.naming import at_home
from autopeft.nouns import OWN_HEAD, Problem
from autopeft.weights import PLAIN, Storage

STARTER = "starter"  # `--model starter`: the vision transformer that ships with autopeft
_STARTER_FOLDER = Path(__file__).parent / "starter"

# More of the backbone missing from the checkpoint than this, and it is not the backbone's checkpoint.
_MOST_MISSING_FRACTION = 0.2
_SHOWN = 200  # characters of a path in an error


@dataclass(frozen=True)
class Backbone:
    """A frozen pre-trained model with the head that a task needs.

    Attributes:
        model: The model; every parameter is frozen.
        layout: Where its sites are; `layout.shape` is what a space binds to.
        head: Paths of the modules that hold new parameters: the classifier, and what the checkpoint lacks. Empty where the
            head is the checkpoint's own.
        task_type: What peft calls the problem, such as `SEQ_CLS`; None for images, for which it has no name.
        storage: How the frozen weights are kept.
    """

    model: transformers.PreTrainedModel
    layout: Layout
    head: tuple[str, ...]
    task_type: str | None
    storage: Storage = PLAIN

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
    path = at_home(model)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as error:  # a name too long, a folder that one may not enter
        raise BackboneError(f"cannot read the model '{model[:_SHOWN]}': {error.strerror}.") from None
    if is_folder:
        return str(path.resolve())
    if exists:
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
    problem: Problem,
    num_labels: int,
    config_overrides: Mapping[str, Any] | None = None,
    sites: Mapping[str, str] | None = None,
    storage: Storage = PLAIN,
) -> Backbone:
    """Load a model with the head for a problem and freeze all of it.

    Args:
        path: A folder or hub id, from `model_path`.
        modality: What the task is made of.
        problem: With the modality it says which class of transformers loads the model (`autopeft.backbones.heads`).
        num_labels: Width of a new head.
        config_overrides: Fields of the model's configuration to change, such as `num_hidden_layers`.
        sites: Sites that are named by hand, as `find_layout` takes them.
        storage: How the frozen weights are kept.

    Raises:
        BackboneError: The model cannot be read, is not of this modality, its checkpoint lacks its weights, or no
            layers or sites were found in it.
    """
    config = read_config(path)
    wanted = find_head(modality, problem)
    if type(config) not in getattr(transformers, wanted.known):
        others = (other for other in OWN_HEAD if problem in OWN_HEAD and modality == "text")
        fitting = [o for o in others if type(config) in getattr(transformers, find_head("text", o).known)]
        raise BackboneError(
            f"transformers has no {wanted.title} on a {config.model_type} model ('{path}').",
            f"It is one for --problem {fitting[0]}." if fitting else "",
        )
    overrides = dict(config_overrides or {})
    unknown = [name for name in overrides if not hasattr(config, name)]
    if unknown:
        raise BackboneError(f"the configuration of '{path}' has no field '{unknown[0]}'.")
    if problem not in OWN_HEAD:
        overrides |= {
            "num_labels": num_labels,
            "problem_type": "regression" if problem == "regression" else "single_label_classification",
        }
    auto = getattr(transformers, wanted.auto)
    try:
        with _quiet():
            model, info = auto.from_pretrained(
                path,
                ignore_mismatched_sizes=problem not in OWN_HEAD,
                trust_remote_code=False,
                output_loading_info=True,
                use_safetensors=True,
                **arguments(storage, auto, config),
                **overrides,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BackboneError(_unreadable(path, error)) from None
    model.requires_grad_(False)
    model.eval()
    new = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    if problem in OWN_HEAD:
        head, kept = _own_head(path, model, new, wanted)
    else:
        head, kept = _new_head(path, model, new)
    for part in head:
        model.get_submodule(part).float()  # it is trained
    return Backbone(model, find_layout(model, kept, sites), head, wanted.task_type, storage)


def _new_head(path: str, model: Any, new: set[str]) -> tuple[tuple[str, ...], int]:
    """Paths of the modules that hold new parameters, and how many parameters the backbone has without them."""
    body = model.base_model
    if body is model:
        raise BackboneError(f"'{path}' has no backbone apart from its head ({type(model).__name__}).")
    inside = {f"{model.base_model_prefix}.{name}" for name, _ in body.named_parameters()}
    head = sorted(
        {name.rpartition(".")[0] for name, _ in model.named_parameters() if name in new or name not in inside}
    )
    head_modules = {id(p) for path_ in head for p in model.get_submodule(path_).parameters(recurse=False)}
    kept = count(p for p in body.parameters() if id(p) not in head_modules)
    total = count(body.parameters())
    if kept < (1 - _MOST_MISSING_FRACTION) * total:
        raise BackboneError(
            f"the checkpoint in '{path}' lacks {100 * (1 - kept / total):.0f} % of the weights of a {type(body).__name__}."
        )
    if not head:
        raise BackboneError(f"no task head was found in a {type(model).__name__}.")
    return tuple(head), kept


def _own_head(path: str, model: Any, new: set[str], wanted: Head) -> tuple[tuple[str, ...], int]:
    """No paths, because nothing is new; and how many parameters the backbone has."""
    if new:
        raise BackboneError(
            f"the checkpoint in '{path}' lacks weights of a {type(model).__name__} ('{min(new)}'): a {wanted.title} is searched "
            "with the head that it was trained with."
        )
    if wanted.task_type == "CAUSAL_LM":
        _check_causal(path, model)
    return (), count(model.base_model.parameters())


def _check_causal(path: str, model: Any) -> None:
    """Refuse a model whose tokens see those after them: it would be scored on what it has been shown."""
    ids = torch.tensor([[0, 0, 0], [0, 0, 1]])
    with torch.inference_mode():
        one, other = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    before, there = (one - other).abs().amax(dim=1)[1:]  # where the token still comes, and where it stands
    if before > 1e-3 * there:
        raise BackboneError(
            f"'{path}' is no causal language model: as a {type(model).__name__} its tokens see those that come after them."
        )


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
    classifiers = (find_head(modality, "classification") for modality in get_args(Modality))
    found = next((head for head in classifiers if type(config) in getattr(transformers, head.known)), None)
    auto = AutoModel if found is None else getattr(transformers, found.auto)
    try:
        with _quiet(), torch.device("meta"):
            model = auto.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, NotImplementedError) as error:
        raise BackboneError(_unreadable(path, error)) from None
    parameters = sum(p.numel() for p in model.base_model.parameters())
    return type(model).__name__, find_layout(model, parameters, sites)


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
    folder = Path(path)
    kind = "folder" if folder.is_dir() else "hub id (there is no such folder)"
    if "contains custom code" in said or "references custom code" in said:
        reason = "it needs code of its own, which is never run: only models that transformers itself knows can be searched."
    elif "safetensors" in said and any(folder.glob("*.bin")):
        reason = (
            "its weights are pickled (.bin), and reading those runs whatever code is in them: load it once where you trust it, and "
            "save it with save_pretrained, which writes safetensors."
        )
    return f"cannot load a model from the {kind} '{path}': {reason}"
