"""Batch norm and ReLU in training, from their definitions."""

import torch


def norm_relu(x, weight, bias, running_mean, running_var, momentum, share, eps):
    """The result, and the running mean and variance from then on."""
    running_mean = (1 - momentum) * running_mean + momentum * x.mean(0).detach()
    running_var = (1 - momentum) * running_var + momentum * x.var(0).detach()
    mean = (1 - share) * running_mean + share * x.mean(0)
    variance = (1 - share) * running_var + share * x.var(0, correction=0)
    return torch.relu((x - mean) / (variance + eps).sqrt() * weight + bias), running_mean, running_var


def norm_relu_grad(x, weight, bias, running_mean, running_var, momentum, share, eps, grad):
    """Gradients of x, weight and bias, by autograd."""
    inputs = [each.detach().requires_grad_() for each in (x, weight, bias)]
    out, *_ = norm_relu(*inputs, running_mean, running_var, momentum, share, eps)
    return torch.autograd.grad(out, inputs, grad)
