"""Complete comparisons: of two runs, of an axis in one run, of an axis over many machines."""

from collections.abc import Mapping, Sequence

import msgspec

from sdbench.analysis.beside import beside_words
from sdbench.analysis.comparability import work_and_place_differ
from sdbench.analysis.estimates import PairEstimate, estimate_pair
from sdbench.analysis.iterations import work_words
from sdbench.analysis.pairs import pairs_of_axis, pairs_of_runs, without_partner
from sdbench.analysis.reasons import NOT_INTERLEAVED
from sdbench.analysis.run_summary import machine_warnings
from sdbench.comparison.differences import differences_of, is_system_comparison, macos_alone
from sdbench.comparison.expectations import Expectations, settle
from sdbench.comparison.history import Past
from sdbench.comparison.machines import MachineCases, judge_machines, machine_info
from sdbench.comparison.result import CaseComparison, Comparison, MachineInfo, SideInfo
from sdbench.comparison.run_drift import drift_of, earlier_times
from sdbench.comparison.sentence import summarise_cases
from sdbench.comparison.verdicts import judge_pairs
from sdbench.errors import UsageError
from sdbench.machine import machine_id
from sdbench.runs import LoadedRun
from sdbench.stats import CONFIDENCE, DEFAULT_THRESHOLD, LOOK_CONFIDENCE
from sdbench.words import shell

# What --by machine allows to differ.
_MACHINE_REASONS = {"machines-differ", "os-differs"}
_VIRTUAL_LEFT_OUT = "a virtual Mac: its times are not compared with those of real machines"
# Settings of a run that decide its work, each one number or word.
_WORK_KEYS = ("steps", "seed", "scheduler", "guidance_scale", "images")


def compare_runs(
    base: LoadedRun,
    new: LoadedRun,
    *,
    threshold: float = DEFAULT_THRESHOLD,
    by_machine: bool = False,
    expectations: Expectations | None = None,
    pasts: Sequence[Past] = (),
) -> Comparison:
    """Compare every case of a run with the same case of another run.

    Args:
        pasts: other runs (``history_index.pasts_beside``): those made before the newer of the two
            show how much unchanged runs differ. by_machine: machines are compared, so machines and
            systems may differ.

    Raises:
        UsageError: one run is simulated and the other is not, or no case is in both.
    """
    simulated = _all_simulated([base, new])
    if by_machine and base.run.machine_id == new.run.machine_id:
        raise UsageError("--by machine: both runs were made on the same machine")
    earlier = earlier_times(pasts, max(base.run.created_utc, new.run.created_utc))
    examined = [
        estimate_pair(
            pair, by_machine=by_machine, drift=drift_of(pair, earlier, by_machine=by_machine)
        )
        for pair in pairs_of_runs(base, new)
    ]
    confidence = _confidence([base, new])
    notes = []
    if base.run.run_id == new.run.run_id:
        notes.append("both sides are the same run")
    void = {code for entry in examined for code in entry.objections.void}
    if base.run.machine_id != new.run.machine_id and void <= _MACHINE_REASONS and not by_machine:
        notes.append("the runs are from two machines; to compare the machines, add --by machine")
    systems = macos_alone(differences_of([entry.pair for entry in examined]), base.run, new.run)
    if by_machine and systems is not None:
        notes.append(
            f"the machines differ in macOS alone: {systems}; whatever differs between two Macs of "
            "the same kind is in the result, too"
        )
    changes = _to_make_alike(base, new)
    if changes:
        notes.append(f"to compare with {base.run.run_id}, measure again with {changes}")
    cases = judge_pairs(examined, threshold, confidence)
    command = _rerun_command(base, new)
    if command is not None and any(case.reason == "not-interleaved" for case in cases):
        cases = [
            msgspec.structs.replace(case, command=command)
            if case.reason == "not-interleaved"
            else case
            for case in cases
        ]
        notes.append(f"to decide, measure both again, interleaved: {command}")
    return _comparison(
        examined,
        cases,
        notes=notes,
        runs=[base, new],
        sides=[_side("base", base), _side("new", new)],
        by="machine" if by_machine else None,
        simulated=simulated,
        threshold=threshold,
        confidence=confidence,
        expectations=expectations,
    )


def compare_axis(
    runs: Sequence[LoadedRun],
    axis: str,
    *,
    threshold: float = DEFAULT_THRESHOLD,
    expectations: Expectations | None = None,
) -> Comparison:
    """Compare the values of an axis with its first value, inside each run.

    Runs of several machines are paired within each machine; the verdict is then over machines,
    each of them one observation. Of several runs of one machine the newest counts.

    Raises:
        UsageError: simulated and real runs are mixed, or no run has the axis.
    """
    simulated = _all_simulated(runs)
    newest = _newest_by_machine(runs)
    infos = [
        machine_info(run, "an older run of the same machine") for run in runs if run not in newest
    ]
    virtual = [run for run in newest if run.run.on_virtual_mac]
    if len(virtual) < len(newest):
        newest = [run for run in newest if run not in virtual]
        infos += [machine_info(run, _VIRTUAL_LEFT_OUT) for run in virtual]
    confidence = _confidence(newest)
    machines: list[MachineCases] = []
    notes = []
    refusal: UsageError | None = None
    for run in newest:
        try:
            pairs = pairs_of_axis(run, axis)
        except UsageError as error:
            refusal = error
            infos.append(machine_info(run, f"it has nothing to compare by {axis}"))
            continue
        if not pairs:
            refusal = UsageError(
                f"--by {axis}: no two cases of {run.run.run_id} differ only in this setting"
            )
            infos.append(machine_info(run, f"it has no two cases that differ only in {axis}"))
            continue
        alone = without_partner(run, axis, pairs)
        if alone:
            notes.append(
                f"{run.run.run_id}: no case differs only in {axis} from {', '.join(alone)}"
            )
        examined = [estimate_pair(pair) for pair in pairs]
        machines.append(MachineCases(run, examined, judge_pairs(examined, threshold, confidence)))
        infos.append(machine_info(run))
    if not machines:
        assert refusal is not None
        raise refusal
    everything = [entry for machine in machines for entry in machine.examined]
    if len(machines) == 1:
        cases = machines[0].cases
    else:
        cases = judge_machines(machines, threshold, confidence)
    values = dict.fromkeys(entry.pair.labels[1] for entry in everything)
    only = machines[0].loaded if len(machines) == 1 else None
    return _comparison(
        everything,
        cases,
        runs=newest,
        sides=[
            _side(everything[0].pair.labels[0], only),
            *(_side(value, only) for value in values),
        ],
        by=axis,
        simulated=simulated,
        threshold=threshold,
        confidence=confidence,
        expectations=expectations,
        machines=infos if len(infos) > 1 else [],
        notes=notes,
    )


def _rerun_command(base: LoadedRun, new: LoadedRun) -> str | None:
    """The command that measures both sides again in one run; None if this installation cannot do
    it."""
    here = machine_id()
    if base.run.run_id == new.run.run_id:
        return None
    for loaded in (base, new):
        if not loaded.own or loaded.run.machine_id != here or len(loaded.run.plan.arms) > 1:
            return None
    return f"sdbench compare {shell(base.path, new.path)} --rerun"


def _to_make_alike(base: LoadedRun, new: LoadedRun) -> str:
    """The options of ``run`` with which a new run does the same work as the base."""
    configs = base.run.config, new.run.config
    differing = [key for key in _WORK_KEYS if configs[0].get(key) != configs[1].get(key)]
    words = " ".join(f"--set {key}={configs[0].get(key)}" for key in differing)
    if "mode-differs" in work_and_place_differ(base.run, new.run):
        mode, strength = base.run.config.get("mode"), base.run.config.get("strength")
        options = [f"--set mode={mode or 'text-to-image'}"]
        options += [] if base.run.image_to_image is None else [f"--set strength={strength}"]
        words = " ".join(filter(None, [words, *options]))
    if configs[0].get("prompts") != configs[1].get("prompts"):
        words += f"{' and ' if words else ''}the same prompts"
    return words


def _comparison(
    examined: Sequence[PairEstimate],
    cases: Sequence[CaseComparison],
    *,
    runs: Sequence[LoadedRun],
    sides: list[SideInfo],
    by: str | None,
    simulated: bool,
    threshold: float,
    confidence: float,
    expectations: Mapping[str, str] | None,
    machines: list[MachineInfo] | None = None,
    notes: Sequence[str] = (),
) -> Comparison:
    pairs = [entry.pair for entry in examined]
    expected = expectations or {}
    settled = [settle(case, expected.get(case.case_id)) for case in cases]
    known = {case.case_id for case in cases} | {case.new_case_id for case in cases}
    remarks = [
        *([NOT_INTERLEAVED] if any(not pair.interleaved for pair in pairs) else []),
        *(
            f"expected by the file, but there is no such case: {name}"
            for name in expected
            if name not in known
        ),
        *notes,
        *(words for run in runs if (words := _until_decided(run)) is not None),
        *(words for run in runs if (words := _unfinished(run)) is not None),
        *(
            f"{run.run.run_id}: {words}"
            for run in runs
            for words in [
                *run.warnings,
                *machine_warnings(run.replicates),
                *filter(None, [beside_words(run.run)]),
            ]
        ),
    ]
    return Comparison(
        title="system comparison" if is_system_comparison(pairs) else "comparison",
        by=by,
        simulated=simulated,
        threshold=threshold,
        confidence=confidence,
        base=sides[0],
        new=sides[1:],
        differences=differences_of(pairs),
        machines=machines or [],
        cases=settled,
        summary=summarise_cases(settled, remarks),
    )


def _side(label: str, loaded: LoadedRun | None) -> SideInfo:
    if loaded is None:
        return SideInfo(label=label, run_id=None, path=None)
    run = loaded.run
    return SideInfo(label=label, run_id=run.run_id, path=str(loaded.path), work=work_words(run))


def _until_decided(loaded: LoadedRun) -> str | None:
    """Notes on interim analyses of the runs, which make their intervals wider."""
    if not loaded.looks:
        return None
    blocks = [str(count) for count in sorted({look.blocks for look in loaded.looks})]
    return (
        f"{loaded.run.run_id}: measured until decided, looked at after {', '.join(blocks)} "
        f"processes; {LOOK_CONFIDENCE:.0%} intervals of its first {loaded.looks[-1].blocks} decide"
    )


def _unfinished(loaded: LoadedRun) -> str | None:
    done, planned = len(loaded.replicates), len(loaded.run.plan.slots)
    if done >= planned:
        return None
    return (
        f"{loaded.run.run_id}: {done} of {planned} processes are done; continue with: sdbench "
        f"resume {shell(loaded.path)}"
    )


def _all_simulated(runs: Sequence[LoadedRun]) -> bool:
    """Whether these runs were made on a stand-in device.

    Raises:
        UsageError: simulated and real runs are mixed; they are never compared.
    """
    kinds = {
        run.run.run_id: run.run.simulated or any(entry.simulated for entry in run.replicates)
        for run in runs
    }
    if len(set(kinds.values())) > 1:
        unreal = ", ".join(name for name, simulated in kinds.items() if simulated)
        raise UsageError(f"simulated runs are never compared with real ones; simulated: {unreal}")
    return all(kinds.values())


def _confidence(runs: Sequence[LoadedRun]) -> float:
    """The confidence: 99% if a run could stop as soon as it was decided (PROTOCOL 12), else 95%."""
    early = any(run.run.config.get("until_decided") for run in runs)
    return LOOK_CONFIDENCE if early else CONFIDENCE


def _newest_by_machine(runs: Sequence[LoadedRun]) -> list[LoadedRun]:
    newest: dict[str, LoadedRun] = {}
    for run in runs:
        held = newest.get(run.run.machine_id)
        if held is None or run.run.created_utc > held.run.created_utc:
            newest[run.run.machine_id] = run
    return list(newest.values())
