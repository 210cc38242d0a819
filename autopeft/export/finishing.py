"""What an adapter folder may go through after it is written: made smaller, merged, described, sent to the hub."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from autopeft.adapters.folder import load_attached
from autopeft.adapters.merging import merge
from autopeft.backbones import load_backbone, model_path
from autopeft.confirmation import Confirmed
from autopeft.errors import InputError
from autopeft.export.card import CARD, complete_card
from autopeft.export.compress import Compressed, How, compress
from autopeft.export.portable import recipe_of
from autopeft.nouns import Study, Trial
from autopeft.recipe import NAME, write_recipe
from autopeft.tasks.preprocessor import load_preprocessor
from autopeft.weights import Storage


@dataclass(frozen=True)
class Wishes:
    """What is to become of an exported adapter.

    Attributes:
        merge: Whether it is merged into the weights of its backbone: the folder holds the whole model.
        compress: How it is made smaller; None: it is left as it was trained.
    """

    merge: bool = False
    compress: How | None = None


def finish(
    study: Study,
    trial: Trial,
    folder: Path,
    wishes: Wishes,
    front: Sequence[Mapping[str, Any]],
    anew: Confirmed | None = None,
) -> Compressed | None:
    """Do to an exported adapter what is wished, and complete its card.

    Args:
        study: The trial's.
        trial: What was exported.
        folder: Of `export_peft`; gone again if something fails.
        wishes: What is to become of it.
        front: Rows of the study's front, as `complete_card` takes them.
        anew: What the configuration scored when it was trained anew.

    Returns:
        What compressing did; None where nothing was compressed.

    Raises:
        InputError: It cannot be done to this adapter.
        DataError, BackboneError: The study's data or backbone are not there any more, or have changed.
    """
    try:
        compressed = None if wishes.compress is None else compress(study, trial, folder, wishes.compress)
        if wishes.merge:
            _merge(study, folder)
        write_recipe(recipe_of(study, trial, anew), folder / NAME)
        complete_card(folder, study, trial, front, compressed=compressed, merged=wishes.merge)
    except BaseException:
        shutil.rmtree(folder)  # a folder is what was asked for, or not there
        raise
    return compressed


def _merge(study: Study, folder: Path) -> None:
    """Put the whole model, merged, in the place of the adapter."""
    settings, task = study.settings["backbone"], study.settings["task"]
    storage = Storage.from_json(settings.get("storage", {}))
    if storage.quantize is not None:
        raise InputError(
            f"the adapter cannot be merged: the backbone's weights are quantised ({storage.quantize}), and what an adapter adds to them "
            "is less than one of their steps.",
            "Export it without --merge.",
        )
    path = model_path(settings["path"])
    backbone = load_backbone(  # in float32: sums in fewer bits would be other sums
        path,
        modality=task["modality"],
        problem=task["problem"],
        num_labels=len(task["labels"]) or 1,
        config_overrides=settings["overrides"],
        sites=settings.get("sites"),
    )
    attached, layout, configuration = load_attached(backbone.model, folder)
    merge(attached, layout, configuration)
    card = (folder / CARD).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="autopeft-", dir=folder.parent) as place:
        whole = Path(place) / "model"
        bar = transformers.utils.logging.is_progress_bar_enabled()
        transformers.utils.logging.disable_progress_bar()
        backbone.model.save_pretrained(whole)
        if bar:
            transformers.utils.logging.enable_progress_bar()
        load_preprocessor(path, task["modality"]).save_pretrained(whole)
        config = whole / "config.json"
        content = json.loads(config.read_text(encoding="utf-8"))
        content.pop("_name_or_path", None)  # a path of this machine
        if task["labels"]:
            content["id2label"] = {str(i): label for i, label in enumerate(task["labels"])}
            content["label2id"] = {label: i for i, label in enumerate(task["labels"])}
        config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
    (folder / CARD).write_text(card, encoding="utf-8")


def push_to_hub(folder: Path, repository: str) -> str:
    """Send a folder to a model repository of the Hugging Face hub, which is made if there is none; its address.

    Raises:
        InputError: The hub is not reached, or refuses it. The folder stays.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    again = f"The folder '{folder}' is written: send it with `hf upload {repository} {folder}`."
    api = HfApi()
    try:
        made = api.create_repo(repository, exist_ok=True)
        api.upload_folder(
            repo_id=made.repo_id, folder_path=str(folder), commit_message="An adapter of autopeft"
        )
    except HFValidationError as error:
        raise InputError(f"'{repository}' is no name of a repository: {_first(error)}", again) from None
    except OfflineModeIsEnabled:
        raise InputError(f"cannot send to '{repository}': HF_HUB_OFFLINE is set.", again) from None
    except HfHubHTTPError as error:
        raise InputError(f"the hub refuses '{repository}': {_first(error)}", again) from None
    except Exception as error:  # without a network each layer of it has errors of its own
        raise InputError(f"cannot reach the hub for '{repository}': {_first(error)}", again) from None
    return str(made)


def _first(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return f"{(said[0] if said else type(error).__name__).rstrip('.')}."
