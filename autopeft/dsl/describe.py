"""Configurations in a line, for people."""

from autopeft.nouns import Configuration, Module


def describe(configuration: Configuration, layers: int) -> str:
    """One line for people about a configuration on a backbone with so many layers.

    >>> describe(Configuration.of([Module("prefix", 3, (0, 1))], 0.003), 2)
    'prefix 3 in all layers, lr 0.003'
    """
    by_layers: dict[tuple[int, ...], list[str]] = {}
    for module in configuration.modules:
        by_layers.setdefault(module.layers, []).append(_describe_module(module))
    groups = [
        f"{' + '.join(names)} in {_describe_layers(where, layers)}" for where, names in by_layers.items()
    ]
    return f"{'; '.join(groups) or 'head only'}, lr {configuration.learning_rate:g}"


def _describe_layers(where: tuple[int, ...], layers: int) -> str:
    if len(where) == layers:
        return "all layers"
    return f"layer{'s' if len(where) > 1 else ''} {' '.join(map(str, where))}"


def _describe_module(module: Module) -> str:
    options = dict(module.options)
    name = options.get("position", module.type)
    sites = f" on {','.join(options['sites'])}" if "sites" in options else ""
    return f"{name} {module.size}{sites}"
