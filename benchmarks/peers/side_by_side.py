"""A program of ours that answers call by call beside a peer in this process, in turns; and graphs for PyTorch."""
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import numpy as np
import torch

TURN_S = 0.02  # of one side before the other's


class Served:
    """`bench_<namespace> --serve DATASET CASE THREADS`, which makes as many calls as it is told."""

    def __init__(self, program, dataset, case, threads):
        self.program = program
        self.process = subprocess.Popen([program, "--serve", dataset, case, str(threads)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env={**os.environ, "OMP_WAIT_POLICY": "passive"})

    def seconds(self, calls):
        """Wall and processor seconds of the fastest of so many calls in a row."""
        self.process.stdin.write("%d\n" % calls)
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit("%s ended early" % self.program)
        return tuple(float(word) for word in line.split())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def measure(program, dataset, served_case, peer, threads, repeat, row):
    """Fastest calls of both in turns, on one thread in processor time, else in wall time.

    A turn is TURN_S of the peer's calls, at least five, and as many of ours: a short call right after the other
    side's finds cold caches and takes twice its time. `row` holds the case's name and its goal; it is completed and printed.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    our_times, peer_times = [], []
    with Served(program, dataset, served_case, threads) as ours:
        peer()
        begin = clock()
        peer()
        calls = max(5, int(TURN_S / max(clock() - begin, 1e-6)))
        for _ in range(repeat):
            our_times.append(ours.seconds(calls)[1 if threads == 1 else 0])
            for _ in range(calls):
                begin = clock()
                peer()
                peer_times.append(clock() - begin)
    our_s, peer_s = min(our_times), min(peer_times)
    row = {"dataset": dataset, "threads": threads, "ours_s": our_s, "peer": "PyTorch", "peer_s": peer_s,
           "ratio": peer_s / our_s, "same_result": "not compared", **row}
    print("%-24s %d thread(s) %9.3f ms   PyTorch %9.3f ms  %6.2f x  >= %g" % (
        row["case"], threads, our_s * 1e3, peer_s * 1e3, row["ratio"], row["goal"]), flush=True)
    return row


def machine():
    return {"processors": os.cpu_count(), "system": platform.platform(), "load_before": os.getloadavg()[0],
            "torch": torch.__version__}


def write_report(out, report):
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")


def csr(counts, indices, values, columns):
    indptr = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
    return torch.sparse_csr_tensor(indptr, torch.from_numpy(np.asarray(indices, np.int64)),
                                   torch.as_tensor(values), (len(counts), columns))


class GraphData:
    """A data set below $RESEARCHKIT_DATA/graphs, with what propagates (self loops or not) and sparse features."""

    def __init__(self, name, self_loops, sign=1):
        folder = pathlib.Path(os.environ["RESEARCHKIT_DATA"]) / "graphs" / name
        self.read = lambda part: np.load(folder / (part + ".npy"))
        self.labels = torch.from_numpy(self.read("labels").astype(np.int64))
        self.n, self.classes = len(self.labels), int(self.labels.max()) + 1
        edges = self.read("edges")
        edges = edges[edges[:, 0] != edges[:, 1]]
        loops = np.repeat(np.arange(self.n if self_loops else 0)[:, None], 2, 1)
        pairs = np.unique(np.concatenate([edges, edges[:, ::-1], loops]), axis=0)
        degree = np.bincount(pairs[:, 0], minlength=self.n)
        factor = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0)
        values = (sign * factor[pairs[:, 0]] * factor[pairs[:, 1]]).astype(np.float32)
        self.operator = csr(degree, pairs[:, 1], values, self.n)
        indptr, self.indices, x = self.read("feat_indptr"), self.read("feat_indices"), self.read("feat_values")
        self.columns = json.loads((folder / "meta.json").read_text())["num_features"]
        self.counts = np.diff(indptr)
        rows = np.repeat(np.arange(self.n), self.counts)
        sums = np.maximum(np.bincount(rows, x, minlength=self.n), 1)
        self.x = torch.from_numpy((x / sums[rows]).astype(np.float32))
        order = np.lexsort((rows, self.indices))
        self.order = torch.from_numpy(order)
        self.t_counts, self.t_indices = np.bincount(self.indices, minlength=self.columns), rows[order]

    def features(self, values, training):
        """The features with other values and, where a gradient will want it, their transpose."""
        transposed = csr(self.t_counts, self.t_indices, values[self.order], self.n) if training else None
        return csr(self.counts, self.indices, values, self.columns), transposed


class Product(torch.autograd.Function):
    """A constant sparse matrix times a dense one; the transpose is given."""

    @staticmethod
    def forward(ctx, matrix, transposed, dense):
        ctx.transposed = transposed
        return matrix @ dense

    @staticmethod
    def backward(ctx, gradient):
        return None, None, ctx.transposed @ gradient
