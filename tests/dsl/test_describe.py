from autopeft.dsl.describe import describe
from autopeft.nouns import Configuration, Module


def test_descriptions() -> None:
    serial = Module("bottleneck", 6, (0, 2), (("position", "serial"),))
    lora = Module("lora", 4, (1,), (("alpha", 8), ("sites", ("q", "v"))))
    assert describe(Configuration.of([serial, Module("prefix", 3, (0, 2))], 3e-3), 3) == (
        "serial 6 + prefix 3 in layers 0 2, lr 0.003"
    )
    assert describe(Configuration.of([lora], 1e-3), 3) == "lora 4 on q,v in layer 1, lr 0.001"
    assert describe(Configuration.of([], 1e-3), 3) == "head only, lr 0.001"
