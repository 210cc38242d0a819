"""Where the layers of a model are: the members of its lists of blocks that hold an attention or a state space."""

from collections.abc import Mapping

from torch import nn

from autopeft.backbones.names import MIXER_SITES, linear_maps, site_of


def find_layers(model: nn.Module, by_hand: Mapping[str, str]) -> list[tuple[str, nn.Module]]:
    """The path of each layer and the layer, in the model's order; empty if none is found.

    A list of blocks is one of layers if each of its members holds a site of attention or of a state space; of lists
    in lists the innermost counts (Swin's stages are lists of layers). In a model without such a list, as one that a
    person names feed-forward sites of by hand, it is the outermost list whose members hold sites, each once.

    Args:
        model: The model.
        by_hand: Site to the end of a path, as `site_of` takes it.
    """
    lists = _lists(model)
    sites = {path: [_sites(m, by_hand) for m in members.values()] for path, members in lists.items()}
    mixing = [path for path in lists if all(set(MIXER_SITES) & set(found) for found in sites[path])]
    chosen = [path for path in mixing if not any(inner.startswith(f"{path}.") for inner in mixing)]
    if not chosen:
        plain = [
            path for path in lists if all(found and len({*found}) == len(found) for found in sites[path])
        ]
        chosen = [path for path in plain if not any(path.startswith(f"{outer}.") for outer in plain)]
    return [(f"{path}.{name}", member) for path in chosen for name, member in lists[path].items()]


def unread_blocks(model: nn.Module) -> tuple[str, list[tuple[str, nn.Module]]]:
    """The list of blocks with the most parameters in linear maps, and the linear maps of its first block.

    Innermost lists only. Empty, if no list of blocks holds linear maps.
    """
    lists = _lists(model)
    innermost = {
        path: members
        for path, members in lists.items()
        if not any(inner.startswith(f"{path}.") for inner in lists)
        and all(next(linear_maps(member), None) for member in members.values())
    }
    if not innermost:
        return "", []
    path = max(innermost, key=lambda path: sum(_weights(member) for member in innermost[path].values()))
    first = next(iter(innermost[path].values()))
    return path, [(name, linear) for name, linear, _ in linear_maps(first)]


def _lists(model: nn.Module) -> dict[str, dict[str, nn.Module]]:
    return {
        path: dict(module.named_children())
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList | nn.Sequential) and len(module) > 0
    }


def _sites(block: nn.Module, by_hand: Mapping[str, str]) -> list[str]:
    found = (site_of(path, parent, by_hand) for path, _, parent in linear_maps(block))
    return [site for site in found if site is not None]


def _weights(block: nn.Module) -> int:
    return sum(p.numel() for _, linear, _ in linear_maps(block) for p in linear.parameters())
