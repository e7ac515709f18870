"""The overlap table the slow, obvious way: sets of points."""


def overlap_table(a, b):
    """{(id a, id b): number of shared points}."""
    groups_a = {i: {p for p, other in enumerate(a) if other == i} for i in a}
    groups_b = {i: {p for p, other in enumerate(b) if other == i} for i in b}
    table = {(i, j): len(points & others) for i, points in groups_a.items() for j, others in groups_b.items()}
    return {pair: points for pair, points in sorted(table.items()) if points}


def majority(a, b, num_a, empty):
    """The id that occurs most often in each group, the smallest of equals."""
    members = [[j for i, j in zip(a, b) if i == group] for group in range(num_a)]
    return [min(values, key=lambda j: (-values.count(j), j)) if values else empty for values in members]


def iou(a, b):
    """{(id a, id b): IoU of the two sets of points}."""
    return {(i, j): n / (a.count(i) + b.count(j) - n) for (i, j), n in overlap_table(a, b).items()}
