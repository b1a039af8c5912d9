#!/usr/bin/env python3
"""NFGNN beside PyTorch: sparse CSR products and autograd.

  peers_nfgnn.py --build build/release --out build/report/bench/nfgnn.json [--repeat 15] [--threads 1]

Both sides train the same model (K 10, rank 3, hidden 64, dropout, Adam with two groups) in float32 and take
turns; the fastest call of each counts, in processor time on one thread and in wall time on
more. An epoch is a training step and an evaluation. Data sets are read below $RESEARCHKIT_DATA/graphs.
--train DATASET trains the peer with the preset of train_nfgnn instead and prints its accuracies.
"""
import argparse
import math
import os
import pathlib
import sys

import numpy as np
import torch

from side_by_side import GraphData, Product, machine, measure, write_report

# Wanted ratios: whole epochs and the filter's forward and backward, by data set.
EPOCH_GOALS = {"cora": 4, "chameleon": 4, "texas": 6, "pubmed": 3, "squirrel": 3}
FILTER_GOAL = 5
SPMM_GOALS = {"spmm8": 3, "spmm64": 1.3}
DATASETS = ["cora", "chameleon", "pubmed", "texas", "squirrel"]


def graph_data(name):
    """With the scaled Laplacian, whose entries off the diagonal are negative."""
    return GraphData(name, self_loops=False, sign=-1)


class Filter(torch.nn.Module):
    def __init__(self, classes, order=10, rank=3):
        super().__init__()
        bound = 1 / math.sqrt(classes)
        uniform = lambda *shape: torch.nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.w, self.b = uniform(order + 1, classes, rank), uniform(order + 1, rank)
        self.gamma = torch.nn.Parameter(torch.randn(rank, order + 1) * math.sqrt(2 / (rank + order + 1)))

    def forward(self, a, x):
        t = [x, Product.apply(a, a, x)]
        for _ in range(2, len(self.w)):
            t.append(2 * Product.apply(a, a, t[-1]) - t[-2])
        t = torch.stack(t)
        h = torch.tanh(torch.bmm(t, self.w) + self.b[:, None])
        eta = torch.einsum("knr,rk->kn", h, self.gamma) / self.gamma.shape[0]
        return (eta[:, :, None] * t).sum(0)


class Model(torch.nn.Module):
    def __init__(self, data, dropout=0.5, dprate=0.5):
        super().__init__()
        self.data, self.dropout, self.dprate = data, dropout, dprate
        bound = 1 / math.sqrt(data.columns)
        self.w1 = torch.nn.Parameter(torch.empty(data.columns, 64).uniform_(-bound, bound))
        self.b1 = torch.nn.Parameter(torch.empty(64).uniform_(-bound, bound))
        self.second = torch.nn.Linear(64, data.classes)
        torch.nn.init.uniform_(self.second.weight, -1 / 8, 1 / 8)
        torch.nn.init.uniform_(self.second.bias, -1 / 8, 1 / 8)
        self.filter = Filter(data.classes)

    def forward(self):
        drop = torch.nn.functional.dropout
        data = self.data
        x = drop(data.x, self.dropout, self.training)
        hidden = torch.relu(Product.apply(*data.features(x, self.training), self.w1) + self.b1)
        logits = self.second(drop(hidden, self.dropout, self.training))
        return self.filter(data.operator, drop(logits, self.dprate, self.training))


def optimizer(model, lr=0.01, filter_lr=0.01, decay=5e-4, filter_decay=5e-4):
    dense = [p for name, p in model.named_parameters() if not name.startswith("filter.")]
    return torch.optim.Adam([{"params": dense, "lr": lr, "weight_decay": decay},
                             {"params": model.filter.parameters(), "lr": filter_lr, "weight_decay": filter_decay}])


def balanced_split(data, seed):
    """Roles 1, 2, 3 as train_nfgnn draws them, by another generator."""
    random = np.random.default_rng(seed)
    labels, per = data.labels.numpy(), int(round(0.6 * data.n / data.classes))
    roles, rest = np.full(data.n, 3), []
    for c in range(data.classes):
        members = random.permutation(np.nonzero(labels == c)[0])
        roles[members[:per]] = 1
        rest.append(members[per:])
    rest = random.permutation(np.concatenate(rest))
    roles[rest[:int(round(0.2 * data.n))]] = 2
    return [torch.from_numpy(roles == role) for role in (1, 2, 3)]


def epoch_call(name):
    data = graph_data(name)
    model = Model(data)
    adam = optimizer(model)
    train, validation, _ = balanced_split(data, 0)
    loss_of = torch.nn.functional.cross_entropy

    def call():
        model.train()
        adam.zero_grad()
        loss_of(model()[train], data.labels[train]).backward()
        adam.step()
        model.eval()
        with torch.no_grad():
            loss_of(model()[validation], data.labels[validation]).item()
    return call


def filter_call(name):
    data = graph_data(name)
    module = Filter(data.classes)
    x = torch.randn(data.n, data.classes, requires_grad=True)
    upstream = torch.randn(data.n, data.classes)

    def call():
        module.zero_grad()
        x.grad = None
        module(data.operator, x).backward(upstream)
    return call


def spmm_call(name, columns):
    data = graph_data(name)
    x = torch.randn(data.n, columns)
    return lambda: data.operator @ x


def peer_call(name, case):
    if case == "epoch":
        return epoch_call(name)
    return filter_call(name) if case == "filter" else spmm_call(name, int(case[4:]))


def train(name, splits):
    """The recipe of train_nfgnn, on the peer."""
    data = graph_data(name)
    small = name in ("texas", "wisconsin", "cornell")
    lr, decay = (0.05, 5e-3 if name == "cornell" else 1e-3) if small else (0.01, 5e-4)
    accuracies = []
    for seed in range(splits):
        torch.manual_seed(seed)
        model = Model(data, dprate=0 if small else 0.5)
        adam = optimizer(model, lr, lr, decay)
        roles = balanced_split(data, seed)
        losses, best = [], (math.inf, 0)
        for epoch in range(1000):
            model.train()
            adam.zero_grad()
            torch.nn.functional.cross_entropy(model()[roles[0]], data.labels[roles[0]]).backward()
            adam.step()
            model.eval()
            with torch.no_grad():
                y = model()
                loss = torch.nn.functional.cross_entropy(y[roles[1]], data.labels[roles[1]]).item()
                right = (y.argmax(1) == data.labels)[roles[2]].float().mean().item()
            if loss < best[0]:
                best = (loss, right)
            stop = epoch > 200 and loss > np.mean(losses[-200:])
            losses.append(loss)
            if stop:
                break
        accuracies.append(best[1])
        print("%s split %d: %d epochs, test %.2f %%" % (name, seed, len(losses), 100 * best[1]), flush=True)
    print("%s: %.2f +- %.2f" % (name, 100 * np.mean(accuracies), 100 * np.std(accuracies)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose 'case dataset' contains this")
    parser.add_argument("--train", default="", help="train the peer on this data set instead")
    parser.add_argument("--splits", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if "RESEARCHKIT_DATA" not in os.environ:
        sys.exit("RESEARCHKIT_DATA does not name the data sets")
    if arguments.train:
        return train(arguments.train, arguments.splits)
    report = {"machine": machine(), "not_measured": ["PyTorch Geometric"], "rows": []}
    for case in ("epoch", "filter", "spmm8", "spmm64"):
        for name in DATASETS:
            if arguments.only not in case + " " + name:
                continue
            goal = (EPOCH_GOALS[name] if case == "epoch" else
                    FILTER_GOAL if case == "filter" else SPMM_GOALS[case])
            report["rows"].append(measure(arguments.build / "bench_nfgnn", name, case, peer_call(name, case),
                                          arguments.threads, arguments.repeat,
                                          {"case": case + ", " + name, "goal": goal}))
    reached = sum(r["ratio"] >= r["goal"] for r in report["rows"])
    print("%d of %d goals reached" % (reached, len(report["rows"])))
    write_report(arguments.out, report)


if __name__ == "__main__":
    main()
