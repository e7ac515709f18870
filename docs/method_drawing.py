"""Draws docs/method_drawing.svg. All numbers follow from the masks below; costs and claims come from pcseg."""

from pathlib import Path

import torch
from scipy.optimize import linear_sum_assignment

from pcseg.losses.competitive import dual_softmax
from pcseg.losses.mask_sums import mask_sums

T = 0.05
SEGMENT = torch.tensor([0] * 4 + [1] * 3 + [2] * 3 + [3] * 2)  # instances A, B, C, then background
MASKS = torch.tensor(
    [
        [0.9, 0.9, 0.8, 0.9, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],  # on A
        [0.9, 0.8, 0.8, 0.8, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],  # a duplicate on A
        [0.1, 0.1, 0.1, 0.1, 0.7, 0.8, 0.8, 0.9, 0.9, 0.9, 0.1, 0.1],  # B and C merged
        [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1, 0.1],  # on nothing yet
    ]
)
COLORS = ["#4878cf", "#ee854a", "#6acc65", "#8c8c8c"]


def draw() -> str:
    """The drawing as SVG."""
    sums = mask_sums([torch.logit(MASKS).T.contiguous()], SEGMENT, 3, None, "sigmoid")
    cost = (sums.bce() + sums.dice() + 0.1 * sums.repulsion(3.0))[0]
    geomean = torch.stack([MASKS.log()[:, k == SEGMENT].mean(1) for k in range(3)])
    matched = torch.zeros_like(cost)
    matched[linear_sum_assignment(cost)] = 1
    tables = [
        ("cost of each pair", "low is good", cost),
        ("first form", "soft minimum, T = 1", geomean.softmax(1)),
        ("soft minimum", f"of the cost, T = {T}", (-cost / T).softmax(1)),
        ("Hungarian matching", "one query each", matched),
        ("claims", f"competition, T = {T}", dual_softmax(-cost[None], T)[0]),
    ]
    out: list[str] = []

    def text(x: float, y: float, content: str, size: int = 13, color: str = "#222", anchor: str = "middle") -> None:
        out.append(f'<text x="{x}" y="{y}" font-size="{size}" fill="{color}" text-anchor="{anchor}">{content}</text>')

    def cell(x: float, y: float, width: float, color: str, opacity: float, label: str) -> None:
        box = f'x="{x}" y="{y}" width="{width}" height="24"'
        out.append(f'<rect {box} fill="{color}" fill-opacity="{opacity:.2f}" stroke="#bbb"/>')
        text(x + width / 2, y + 17, label, 12)

    text(20, 28, "1. Masks: how sure each query is of each superpoint", 15, anchor="start")
    for i, segment in enumerate(SEGMENT.tolist()):
        cell(100 + 46 * i, 42, 46, COLORS[segment], 0.75, ["A", "B", "C", "none"][segment])
    for m, mask in enumerate(MASKS.tolist()):
        text(90, 91 + 28 * m, f"query {m + 1}", anchor="end")
        for i, p in enumerate(mask):
            cell(100 + 46 * i, 74 + 28 * m, 46, "#444", 0.6 * p, f"{p:g}")
    text(90, 211, "pair (C, 3)", anchor="end")
    for i, segment in enumerate(SEGMENT.tolist()):
        text(123 + 46 * i, 213, ["↓↓", "↓↓", "↑", "↓"][segment], 16, "#2e8b57" if segment == 2 else "#c0392b")
    pull, push, repel = "↑ pulled up (BCE and dice)", "↓ pushed down (BCE and dice)", "↓↓ also repelled from A and B"
    for y, line in enumerate(["If C claims query 3:", pull, push, repel]):
        text(672, 152 + 20 * y, line, 12, "#555", "start")
    text(20, 256, "2. Who trains on what: a row is an instance, a column is a query", 15, anchor="start")
    for t, (title, note, table) in enumerate(tables):
        left = 40 + 178 * t
        text(left + 70, 284, title, 14)
        text(left + 70, 301, note, 11, "#555")
        for m in range(4):
            text(left + 17.5 + 35 * m, 320, str(m + 1), 11, "#555")
        for k, row in enumerate(table.tolist()):
            text(left - 10, 343 + 24 * k, "ABC"[k], 13, COLORS[k])
            for m, value in enumerate(row):
                shade = value if t else max(0.0, 1 - value / 1.5)
                cell(left + 35 * m, 326 + 24 * k, 35, "#444" if t == 0 else COLORS[k], 0.75 * shade, f"{value:.1f}")
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="910" height="420" font-family="sans-serif">'
    return "\n".join([head, '<rect width="910" height="420" fill="white"/>', *out, "</svg>"]) + "\n"


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(draw(), encoding="utf-8")
