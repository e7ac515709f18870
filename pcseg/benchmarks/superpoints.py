"""Speed of the superpoints of a cloud."""

from typing import Any

from pcseg.benchmarks.measure import median_times, print_row
from pcseg.ops.superpoints import over_segment
from pcseg.synthetic import make_room


def superpoints(rounds: int, num_points: int = 1_000_000) -> dict[str, Any]:
    """Times the superpoints of a room, with and without its colors."""
    room = make_room(1, 0, num_points=num_points)
    steps = {
        "superpoints, color": lambda: over_segment(room.xyz, room.rgb),
        "superpoints, no color": lambda: over_segment(room.xyz, None),
    }
    times = median_times(steps, min(rounds, 5))
    print(f"{len(room):,} points")
    for name, row in times.items():
        print_row(name, row)
    return {"points": len(room), **times}
