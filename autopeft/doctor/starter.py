"""The bundled starter: is what was installed whole?"""

from pathlib import Path

from autopeft.doctor.finding import Finding, ok, problem


def check_starter(folder: Path | None = None) -> list[Finding]:
    """Read the starter's configuration and weights.

    Args:
        folder: By default that which ships.
    """
    from safetensors import SafetensorError, safe_open

    from autopeft.backbones import STARTER, model_path, read_config
    from autopeft.errors import AutopeftError

    place = folder or Path(model_path(STARTER))
    remedy = "Install autopeft anew: pip install --force-reinstall --no-deps autopeft."
    try:
        read_config(str(place))
        with safe_open(place / "model.safetensors", framework="pt") as weights:
            names = list(weights.keys())
            count = sum(weights.get_tensor(name).numel() for name in names)
    except (OSError, SafetensorError, AutopeftError) as error:
        return [
            problem("starter", f"the bundled model is not whole: {str(error).partition(chr(10))[0]}", remedy)
        ]
    return [ok("starter", f"whole: {count:,} parameters")]
