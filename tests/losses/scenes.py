"""Three random scenes for the criteria; the last one has no instances."""

import torch

SIZES, COUNTS = (25, 13, 8), (4, 2, 0)


def random_layer(dtype=torch.float64, semantic=False):
    """Predictions of one layer of a query decoder."""
    logits = torch.randn(3, 7, 6, dtype=dtype, requires_grad=True)
    masks = [(3 * torch.randn(n, 7, dtype=dtype)).requires_grad_() for n in SIZES]
    layer = {"pred_logits": logits, "pred_masks": masks}
    if semantic:
        layer["pred_semantic"] = [torch.randn(n, 5, dtype=dtype, requires_grad=True) for n in SIZES]
    return layer


def random_targets(dtype=torch.float64):
    """Ground truth with ignored tokens."""
    return [
        {
            "labels": torch.randint(0, 5, (k,)),
            "instance_labels": torch.cat([torch.arange(1, k + 1), torch.randint(-1, k + 1, (n - k,))]),
            "point_counts": torch.randint(1, 9, (n,)).to(dtype),
            "semantic_labels": torch.randint(-1, 5, (n,)),
            "centers": torch.randn(k, 3),
        }
        for n, k in zip(SIZES, COUNTS, strict=True)
    ]


def masks_of(target):
    """Masks (K, N) of the instances."""
    return target["instance_labels"] == torch.arange(1, len(target["labels"]) + 1)[:, None]


def token_weights(target, weighted):
    """Weight of each token, 0 where it is ignored."""
    return ((target["instance_labels"] >= 0) * (target["point_counts"] if weighted else 1.0)).double()


def assert_same_grads(found, expected, leaves):
    right = torch.autograd.grad(expected, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(torch.autograd.grad(found, leaves, retain_graph=True), right)


def without_ignored(outputs, targets):
    """The same scenes without their ignored tokens, whose classes are set to ignored too."""
    counted = [target["instance_labels"] >= 0 for target in targets]
    for target, rows in zip(targets, counted, strict=True):
        target["semantic_labels"][~rows] = -1
    fewer = {
        key: [room[rows] for room, rows in zip(rooms, counted, strict=True)] if isinstance(rooms, list) else rooms
        for key, rooms in outputs.items()
    }
    of_tokens = ("instance_labels", "semantic_labels", "point_counts")
    less = [
        {key: value[rows] if key in of_tokens else value for key, value in target.items()}
        for target, rows in zip(targets, counted, strict=True)
    ]
    return fewer, less, counted
