"""Earlier studies of the same database that a new one starts from: which trials, and what they say here.

Which trials are used is settled when the new study is made and is part of its settings, so that a suggestion stays a
function of (database, seed) whatever becomes of the earlier study.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from autopeft.dsl import BoundSpace, read_space
from autopeft.errors import BackboneError, SpaceError, StudyError
from autopeft.nouns import BackboneShape, Study, TrialKind, TrialStatus
from autopeft.optimize.observation import Observation
from autopeft.optimize.transfer import carried_over
from autopeft.store import Repository

_BACKBONE = ("path", "overrides", "sites", "parameters")  # what says that two backbones are one


def choose(repository: Repository, names: Sequence[str]) -> list[dict[str, Any]]:
    """The search trials of some studies that are complete now, as a new study's settings hold them.

    Args:
        repository: The database.
        names: Of the earlier studies.

    Returns:
        For each study its name (`study`), `id`, and the numbers of its `trials`; JSON.

    Raises:
        StudyError: There is no study of a name, or none of its search trials is complete.
    """
    chosen = []
    for name in names:
        study = repository.get_study(name)
        numbers = [
            trial.number
            for trial in repository.trials(study.id)
            if trial.kind is TrialKind.SEARCH and trial.status is TrialStatus.COMPLETE
        ]
        if not numbers:
            raise StudyError(
                f"the study '{name}' has no complete trial of its search: there is nothing to start from."
            )
        chosen.append({"study": name, "id": study.id, "trials": numbers})
    return chosen


def observed(
    repository: Repository,
    chosen: Sequence[Mapping[str, Any]],
    space: BoundSpace,
    backbone: Mapping[str, Any],
) -> list[list[Observation]]:
    """What chosen trials say of this space, for each study; see `carried_over`.

    Args:
        repository: The database.
        chosen: As `choose` gave it.
        space: The new study's.
        backbone: The new study's settings of its backbone.

    Raises:
        StudyError: A study cannot be carried over to this backbone, or none of its configurations is in this space.
    """
    found = []
    for one in chosen:
        study = repository.get_study(one["study"])
        numbers = set(one["trials"])
        trials = [trial for trial in repository.trials(study.id) if trial.number in numbers]
        written = study.settings["space"]
        try:
            earlier = read_space(written["text"], f"the space '{written['name']}'")
            told = carried_over(space, trials, earlier, _shape(study, space, backbone))
        except (BackboneError, SpaceError) as error:
            raise StudyError(f"cannot start from the study '{study.name}': {error}") from None
        if not told:
            raise StudyError(
                f"cannot start from the study '{study.name}': none of its {len(numbers)} configurations, of the space "
                f"'{written['name']}', is one of the space '{space.name}' within {space.limit:,} parameters.",
                "Start from a study of the same space.",
            )
        found.append(told)
    return found


def _shape(study: Study, space: BoundSpace, backbone: Mapping[str, Any]) -> BackboneShape:
    """The backbone of an earlier study; one that did not record it is taken at the same backbone only."""
    recorded = study.settings["backbone"]
    if "shape" in recorded:
        return BackboneShape.from_json(recorded["shape"])
    if any(recorded.get(key) != backbone.get(key) for key in _BACKBONE):
        raise StudyError(
            f"cannot start from the study '{study.name}': it is of another backbone, and an autopeft that did not yet "
            "record the shape of backbones made it.",
            "Start from a study of the same backbone, or from a newer one.",
        )
    return space.shape
