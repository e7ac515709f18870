"""Probabilities of masks and their sums over segments, from their definitions."""

import torch


def log_probabilities(logits, activation):
    """log p and log(1 - p), each from a sum of its own."""
    if activation == "sigmoid":
        return torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
    whole = torch.cat([logits, torch.zeros_like(logits[:, :1])], 1)
    total = whole.logsumexp(1)
    on = [whole[:, m] - total for m in range(logits.shape[1])]
    off = [torch.cat([whole[:, :m], whole[:, m + 1 :]], 1).logsumexp(1) - total for m in range(logits.shape[1])]
    return torch.stack(on, 1), torch.stack(off, 1)


def mask_sums(layers, segment, num_instances, weights, activation):
    """The first five of `pcseg.losses.mask_sums.MaskSums`, by one matrix product each."""
    weights = weights * (segment >= 0)
    groups = (segment == torch.arange(num_instances)[:, None]) * weights
    values = [[], [], [], [], []]
    for layer in layers:
        log_p, log_off = log_probabilities(layer, activation)
        p = log_p.exp()
        sums = (groups @ (log_p - log_off), groups @ log_off, groups @ p, weights @ log_off, weights @ p)
        for value, each in zip(values, sums, strict=True):
            value.append(each)
    return [torch.stack(value) for value in values]
