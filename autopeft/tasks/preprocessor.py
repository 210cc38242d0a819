"""What turns a text or an image into a backbone's numbers: its tokenizer or its image processor."""

from pathlib import Path
from typing import Any

from autopeft.errors import BackboneError
from autopeft.tasks.task import Modality


def load_preprocessor(model_path: str | Path, modality: Modality) -> Any:
    """The tokenizer (text) or image processor (image) of a backbone. No code of the model's own is run.

    A tokenizer without a padding token gets its end-of-text token for one: padding is masked, so any will do.

    Args:
        model_path: Folder, or hub id.
        modality: What the task is made of.

    Raises:
        BackboneError: The backbone has none, or it cannot be loaded.
    """
    from transformers import AutoImageProcessor, AutoTokenizer

    name = "tokenizer" if modality == "text" else "image processor"
    auto = AutoTokenizer if modality == "text" else AutoImageProcessor
    try:
        preprocessor = auto.from_pretrained(str(model_path), trust_remote_code=False)  # unsaid, it would ask
    except (
        Exception
    ) as error:  # the library raises OSError, ValueError, KeyError, ImportError … for one cause
        raise _absent(model_path, name, modality, str(error)) from None
    if modality == "image":
        return preprocessor
    if len(preprocessor) <= len(preprocessor.all_special_tokens):
        # Given a configuration and no vocabulary the library makes a tokenizer that knows no word.
        raise _absent(model_path, name, modality, "it has no vocabulary")
    if preprocessor.pad_token is None:
        if preprocessor.eos_token is None:
            raise BackboneError(
                f"the tokenizer of '{model_path}' has neither a padding nor an end-of-text token."
            )
        preprocessor.pad_token = preprocessor.eos_token
    return preprocessor


def _absent(model_path: str | Path, name: str, modality: Modality, reason: str) -> BackboneError:
    folder = Path(model_path)
    hint = f"A task made of {modality} needs a backbone for {modality}."
    if not folder.is_dir():
        first = (reason.strip() or "unknown reason").splitlines()[0].rstrip(".")
        return BackboneError(f"cannot load the {name} of '{model_path}': {first}.", hint)
    files = ", ".join(sorted(p.name for p in folder.iterdir() if p.is_file())) or "no files"
    return BackboneError(f"the folder '{model_path}' has no usable {name}: it holds {files}.", hint)
