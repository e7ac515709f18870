"""The report of a preprocessing run: counts, repairs, checksums and failures."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

REPORT = "report.json"


@dataclass(frozen=True)
class RoomResult:
    """Outcome of a room.

    Args:
        name: name of the room.
        status: "written", "up to date" or "failed".
        manifest: manifest of the processed room; empty if it failed.
        error: reason for the failure; empty if there is none.
        seconds: wall time.
    """

    name: str
    status: str = "failed"
    manifest: dict = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0


def make_report(results: Sequence[RoomResult], group_of: Callable[[str], str] | None = None) -> dict:
    """Counts and checksums over all rooms, over each group of rooms, and for each room; JSON types only.

    Args:
        results: one per room.
        group_of: gives the group of a room name; None makes no groups.
    """
    done = [result for result in results if result.manifest]
    per_class: dict[str, dict[str, int]] = {}
    groups: dict[str, list[RoomResult]] = {}
    for result in done:
        for kind in ("points", "instances"):
            for name, count in result.manifest.get(f"{kind}_per_class", {}).items():
                per_class.setdefault(name, {"points": 0, "instances": 0})[kind] += count
        if group_of is not None:
            groups.setdefault(group_of(result.name), []).append(result)
    return {
        **_totals(done),
        "written": sum(result.status == "written" for result in results),
        "up_to_date": sum(result.status == "up to date" for result in results),
        "classes": per_class,
        "groups": {group: _totals(members) for group, members in groups.items()},
        "repairs": {result.name: result.manifest["notes"] for result in done if result.manifest["notes"]},
        "failed": {result.name: result.error for result in results if result.status == "failed"},
        "per_room": {
            result.name: {
                "status": result.status,
                "points": result.manifest["num_points"],
                "superpoints": result.manifest["num_superpoints"],
                "instances": result.manifest.get("num_instances"),
                "repairs": len(result.manifest["notes"]),
                "sha256": result.manifest["sha256"],
                "seconds": round(result.seconds, 3),
            }
            for result in done
        },
    }


def _totals(done: Sequence[RoomResult]) -> dict:
    """Counts, and a checksum over names and arrays that does not depend on the order."""
    manifests = {result.name: result.manifest for result in done}
    lines = "".join(f"{name} {manifests[name]['sha256']}\n" for name in sorted(manifests))
    return {
        "rooms": len(done),
        "points": sum(manifest["num_points"] for manifest in manifests.values()),
        "superpoints": sum(manifest["num_superpoints"] for manifest in manifests.values()),
        "instances": sum(manifest.get("num_instances", 0) for manifest in manifests.values()),
        "num_repairs": sum(len(manifest["notes"]) for manifest in manifests.values()),
        "sha256": hashlib.sha256(lines.encode()).hexdigest(),
    }


def report_text(report: dict) -> str:
    """The report as JSON."""
    return json.dumps(report, indent=1) + "\n"


def format_report(report: dict) -> str:
    """The report as short tables."""
    lines = [
        f"{report['rooms']} rooms ({report['written']} written, {report['up_to_date']} up to date, "
        f"{len(report['failed'])} failed), {report['points']:,} points, "
        f"{report['superpoints']:,} superpoints, {report['instances']:,} instances"
    ]
    if report["classes"]:
        lines.append(f"{'class':<16}{'instances':>10}{'points':>14}")
        for name, counts in report["classes"].items():
            if counts["instances"] or counts["points"] or len(report["classes"]) <= 20:
                lines.append(f"{name:<16}{counts['instances']:>10,}{counts['points']:>14,}")
    keys = ("rooms", "points", "superpoints", "instances", "num_repairs")
    lines.append(f"{'':<16}" + "".join(f"{key.removeprefix('num_'):>14}" for key in keys) + "  sha256")
    for group, totals in {**report["groups"], "all": report}.items():
        lines.append(f"{group:<16}" + "".join(f"{totals[key]:>14,}" for key in keys) + f"  {totals['sha256'][:16]}")
    lines.append(f"{report['num_repairs']} repairs and notes{':' if report['num_repairs'] else ''}")
    lines += [f"  {note}" for notes in report["repairs"].values() for note in notes][:20]
    if report["num_repairs"] > 20:
        lines.append(f"  ... the others are in {REPORT}")
    return "\n".join(lines)


def raise_failures(report: dict) -> None:
    """Raises if rooms failed.

    Raises:
        ValueError: names all rooms that failed, with the reasons.
    """
    failed = report["failed"]
    if failed:
        total = report["rooms"] + len(failed)
        listed = "".join(f"\n  {name}: {error}" for name, error in failed.items())
        raise ValueError(f"{len(failed)} of {total} rooms failed:{listed}")
