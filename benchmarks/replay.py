"""One search against a table, evaluation by evaluation."""

import random
import time
from dataclasses import dataclass

from peers import Method
from peft_table.table import Entry, Table

from autopeft.pareto import front

_FREE_IN_A_ROW = 20


@dataclass(frozen=True)
class Run:
    """What a search has found after each of its evaluations.

    Attributes:
        found: Hypervolume of the truths of all that was evaluated.
        front: Hypervolume of the truths of what the searcher would hand over: its front, or that of the observed scores.
        seconds: CPU seconds from the last result to the next proposal: telling and asking.
        duplicates: Proposals of what had been evaluated before.
    """

    found: tuple[float, ...]
    front: tuple[float, ...]
    seconds: tuple[float, ...]
    duplicates: int


def replay(method: Method, table: Table, repeat: int, evaluations: int) -> Run:
    """Search.

    What is known costs nothing when it is asked again, except of a method that trains again: the head alone, which is
    trained before every search, and every earlier evaluation. After twenty of these in a row the next one costs.

    Args:
        method: The searcher.
        table: What it searches.
        repeat: Its seed. In one repeat all methods are told the same of the same configuration, so that luck is shared.
        evaluations: How many.
    """
    peer = method.make(table.space, repeat, evaluations)
    head = table.head.configuration
    known = {head.key: [table.draw(head, random.Random(f"{repeat}/{head.key}/0")).validation[-1]]}
    entries: list[Entry] = []
    found, handed, times, duplicates = [0.0] * method.preparation, [0.0] * method.preparation, [], 0
    free, spent = 0, 0.0
    while len(found) < evaluations:
        began = time.process_time()
        (configuration,) = peer.ask(1)
        spent += time.process_time() - began
        key = configuration.key
        scores = known.setdefault(key, [])
        duplicates += bool(scores) and key != head.key
        is_free = bool(scores) and not method.trains_again and free < _FREE_IN_A_ROW
        if not is_free:
            rng = random.Random(f"{repeat}/{key}/{len(scores)}")
            scores.append(table.draw(configuration, rng).validation[-1])
        free = free + 1 if is_free else 0
        if len(scores) == 1 and key != head.key:
            entries.append(table.entry(configuration))
        if not is_free:
            times.append(spent)
            spent = 0.0
        began = time.process_time()
        peer.tell(configuration, {"score": scores[-1]})
        spent += time.process_time() - began
        if not is_free:
            found.append(table.hypervolume(entries))
            means = [sum(known[e.configuration.key]) / len(known[e.configuration.key]) for e in entries]
            members = front([(mean, e.trainable) for mean, e in zip(means, entries, strict=True)])
            handed.append(table.hypervolume(entries[i] for i in members))
    return Run(tuple(found), tuple(handed), tuple(times), duplicates)
