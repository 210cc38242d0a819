"""Looking for what would keep a search from working: versions, devices, database, disks, Ray, the bundled starter."""

from collections.abc import Callable, Iterator

from autopeft.doctor.database import check_database
from autopeft.doctor.executor import check_shared_memory, check_start, check_variables
from autopeft.doctor.finding import Finding, State, problem
from autopeft.doctor.machine import check_disks, check_gpus, check_processor
from autopeft.doctor.starter import check_starter
from autopeft.doctor.versions import check_optional, check_packages, check_python

__all__ = ["Finding", "State", "examine"]


def examine(url: str, *, start_ray: bool) -> Iterator[Finding]:
    """Every finding, as soon as it is there.

    Args:
        url: Of the database, from `parse_url`.
        start_ray: Whether to start and stop Ray, which takes 10 to 20 seconds.
    """
    checks: list[tuple[str, Callable[[], list[Finding]]]] = [
        ("python", check_python),
        ("packages", check_packages),
        ("optional", check_optional),
        ("processor", check_processor),
        ("gpu", check_gpus),
        ("database", lambda: check_database(url)),
        ("disk", lambda: check_disks(url)),
        ("starter", check_starter),
        ("ray", check_variables),
        ("ray", check_shared_memory),
        *([("ray", check_start)] if start_ray else []),
    ]
    for about, check in checks:
        try:
            yield from check()
        except (
            Exception
        ) as error:  # a broken installation breaks in its own ways, and the other checks still tell something
            said = f"cannot be looked at: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
            yield problem(about, said, "Install autopeft anew, in a fresh virtual environment.")
