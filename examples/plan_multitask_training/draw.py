#!/usr/bin/env python3
"""Draws what `plan_multitask_training --sweep --report FOLDER` wrote: draw.py FOLDER -> timelines.svg, throughput.svg, and their
captions in FOLDER/summary.json. Without matplotlib it says so and leaves the summary without pictures."""
import json
import pathlib
import sys

try:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "researchkit"
    import matplotlib.pyplot as plt
except ImportError:
    print("no matplotlib: no pictures")
    sys.exit(0)

OURS, PACKING, ARTIFACT = "#1f77b4", "#d62728", "#7f7f7f"


def draw_timelines(folder, timelines):
    """Both schedules on one time axis: forwards light, backwards dark, a shade for each micro-batch."""
    end = max(start + length for t in timelines for _, start, length, _, _ in t["operations"])
    figure, axes = plt.subplots(len(timelines), 1, figsize=(11, 2.1 * len(timelines) + 0.6), sharex=True)
    for axis, t in zip(axes, timelines):
        for stage, start, length, batch, backward in t["operations"]:
            shade = plt.cm.Oranges if backward else plt.cm.Blues
            axis.barh(stage, length, left=start, height=0.86, color=shade(0.35 + 0.4 * (batch % 5) / 4), edgecolor="white", linewidth=0.3)
        finish = max(start + length for _, start, length, _, _ in t["operations"])
        axis.axvline(finish, color="black", linewidth=1)
        axis.set_title(f"{t['method']} ({t['settings']}): {finish:.0f} ms", loc="left", fontsize=10)
        stages = 1 + max(op[0] for op in t["operations"])
        axis.set_yticks(range(stages), [f"stage {s}" for s in range(stages)])
        axis.invert_yaxis()
        axis.set_xlim(0, end * 1.01)
    axes[-1].set_xlabel("ms (blue: forward, orange: backward; first replica)")
    figure.tight_layout()
    figure.savefig(folder / "timelines.svg", metadata={"Date": None})


def draw_throughput(folder, curves):
    figure, axes = plt.subplots(2, 2, figsize=(11, 7))
    for row, model in zip(axes, ("gpt", "t5")):
        own = [c for c in curves if c["model"] == model]
        panels = (("max_seqlen", "maximum length (65,536 tokens)", [c for c in own if c["tokens"] == 65536]),
                  ("tokens", "tokens of a mini-batch (length 2048)", [c for c in own if c["max_seqlen"] == 2048]))
        for axis, (key, label, points) in zip(row, panels):
            points = sorted(points, key=lambda c: c[key])
            for name, title, colour, mark in (("dynapipe", "DynaPipe", OURS, "o-"), ("packing", "packing, best of a grid", PACKING, "s-"),
                                              ("artifact", "packing, artifact's configuration", ARTIFACT, "^--")):
                line = [(c[key], c[name] / 1000) for c in points if c[name] is not None]
                if line and not (name == "artifact" and key == "tokens"):
                    axis.plot(*zip(*line), mark, color=colour, label=title)
            axis.set_xscale("log", base=2)
            axis.set_xticks([c[key] for c in points], [f"{c[key]:,}" for c in points])
            axis.set_ylim(bottom=0)
            axis.set_xlabel(label)
            axis.set_ylabel("1000 tokens/s")
            axis.set_title(model.upper(), loc="left", fontsize=10)
            axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(folder / "throughput.svg", metadata={"Date": None})


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    data = json.loads((folder / "drawing.json").read_text())
    summary = json.loads((folder / "summary.json").read_text())
    summary["pictures"] = []
    if len(data["timelines"]) > 1:
        draw_timelines(folder, data["timelines"])
        summary["pictures"].append({"file": "timelines.svg", "caption": "One iteration of GPT at 2048 tokens on the same four stages: packing under 1F1B, and DynaPipe."})
    draw_throughput(folder, data["curves"])
    summary["pictures"].append({"file": "throughput.svg", "caption": "Real tokens per second over the maximum length and over the mini-batch, simulated."})
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    main()
