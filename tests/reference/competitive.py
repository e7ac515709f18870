"""The criteria the slow, obvious way: one scene, one layer, plain loops over instances and queries, all by autograd."""

import torch

from tests.reference.mask_sums import log_probabilities


def pairs(logits, masks, weights, activation):
    """BCE and dice (K, M); ignored tokens weigh 0."""
    log_p, log_off = log_probabilities(logits, activation)
    p = log_p.exp()
    num_queries = logits.shape[1]
    bce, dice = (logits.new_zeros(len(masks), num_queries) for _ in range(2))
    for k, mask in enumerate(masks.to(logits.dtype)):
        for m in range(num_queries):
            cross = -(mask * log_p[:, m] + (1 - mask) * log_off[:, m])
            bce[k, m] = (weights * cross).sum() / weights.sum()
            inside, total = (weights * mask * p[:, m]).sum(), (weights * (mask + p[:, m])).sum()
            dice[k, m] = 1 - (2 * inside + 1) / (total + 1)
    return bce, dice


def repulsion(logits, masks, weights, activation, power=3):
    """What each query covers of the instances other than k (K, M)."""
    log_off = log_probabilities(logits, activation)[1]
    sizes = [(weights * mask).sum() for mask in masks]
    result = logits.new_zeros(len(masks), logits.shape[1])
    for k in range(len(masks)):
        for m in range(logits.shape[1]):
            total = 0.0
            for other in range(len(masks)):
                if other != k:
                    covered = -(weights * masks[other] * log_off[:, m]).sum() / sizes[other]
                    total = total + (min(1.0, float(sizes[other] / sizes[k])) * covered) ** power
            if len(masks) > 1:
                result[k, m] = total ** (1 / power)
    return result


def log_mean_of_being_right(logits, masks, weights, activation):
    """Log of the arithmetic mean over tokens of the probability of being right (K, M)."""
    p = log_probabilities(logits, activation)[0].exp()
    right = torch.stack([torch.where(mask[:, None], p, 1 - p) for mask in masks])
    return ((weights[:, None] * right).sum(1) / weights.sum()).log()


def sinkhorn(score, temperature, num_rounds):
    """Rows to 1, columns divided by max(1, their sum), rows to 1 last; in logarithms."""
    log_plan = score / temperature
    for _ in range(num_rounds):
        log_plan = log_plan - log_plan.logsumexp(1, keepdim=True)
        log_plan = log_plan - log_plan.logsumexp(0, keepdim=True).clamp(min=0)
    return (log_plan - log_plan.logsumexp(1, keepdim=True)).exp()


def competitive(logits, masks, weights, probability, activation, temperature, form="dual"):
    """Loss, claims and responsibilities of one layer."""
    bce, dice = pairs(logits, masks, weights, activation)
    suits = -bce - dice - 0.1 * repulsion(logits, masks, weights, activation)
    score = (suits + 0.5 * probability).detach()
    choice = (score / temperature).log_softmax(1) + (score / temperature).log_softmax(0)
    claims = choice.softmax(1) if form == "dual" else (score / temperature).softmax(1)
    power = 3 if form == "softmin" else 1
    loss = sum((claims[k] * -suits[k]).sum() ** power for k in range(len(masks))) / len(masks)
    return loss, claims, sinkhorn(score, 0.01, 10)


def class_loss(class_logits, scenes, responsibilities, no_object=0.1):
    """Class loss of one layer: scenes is a list of labels, one for each scene of the batch."""
    num_classes = class_logits.shape[2] - 1
    total, weight = 0.0, 0.0
    for b, labels in enumerate(scenes):
        log_p = class_logits[b].log_softmax(1)
        for m in range(log_p.shape[0]):
            share = responsibilities[b][:, m]
            for k, label in enumerate(labels.tolist()):
                total, weight = total - share[k] * log_p[m, label], weight + share[k]
            left = no_object * max(0.0, 1 - float(share.sum()))
            total, weight = total - left * log_p[m, num_classes], weight + left
    return total / weight
