"""Published tests for plug-ins: the contract that every strategy keeps."""

from __future__ import annotations

from pathlib import Path

from regimen.testing.contract import CHECKS, Failed, Subject, verdicts

__all__ = ["CHECKS", "Failed", "Subject", "test_file", "verdicts"]


def test_file(path: Path) -> int:
    """Runs the contract tests on each strategy in a file, prints a line a check, and returns the exit code."""
    from regimen.errors import Problem, SpecError
    from regimen.kinds import STRATEGIES
    from regimen.registry import describe

    plugins = describe(path, STRATEGIES)
    if not plugins:
        fix = "`regimen new strategy NAME` writes one to start from."
        raise SpecError(Problem(str(path), "holds no strategy.", fix))
    wrong = 0
    for plugin in plugins:
        print(f"{plugin.qualified}  ({plugin.path})")
        for check, error in verdicts(plugin):
            wrong += error is not None
            said = (check.__doc__ or "").partition("\n")[0]
            print(f"  {'FAILED' if error else 'ok':<7} {said}" + (f"\n          {error}" if error else ""))
    print(f"{'every contract holds' if not wrong else f'{wrong} contracts do not hold'}.")
    return 1 if wrong else 0


test_file.__test__ = False  # type: ignore[attr-defined]  # the name is for users; pytest must not collect it
