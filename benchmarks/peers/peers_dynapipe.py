#!/usr/bin/env python3
"""Parts of the planner beside what one would install instead.

  peers_dynapipe.py --build build/release --out build/report/bench/dynapipe.json [--repeat 7]

Both sides get the same numbers and run on one thread. Their calls take turns, and the fastest call of each counts, in processor
time. Ours is the whole call of the operator. The peers are what DynaPipe's published planner calls: prtpy for dealing
micro-batches to replicas, scikit-learn and LKH (elkai) for the order of samples. The planner itself is no package.
"""
import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = "1"

import elkai
import numpy as np
import prtpy
import sklearn
from sklearn.cluster import AgglomerativeClustering

PARTITION_GOAL, ORDER_GOAL = 100, 20
NOT_MEASURED = ["DynaPipe's own planner (C++ dynamic programme, schedule search): a repository to be compiled, not a package; "
                "docs/dynapipe.md quotes times that were measured elsewhere"]


class Ours:
    """A bench_dynapipe that answers each line with the wall and processor seconds of one call."""

    def __init__(self, program, *arguments):
        self.out = arguments[-1]
        self.process = subprocess.Popen([program, "--serve", *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)

    def seconds(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit("bench_dynapipe ended early")
        return tuple(float(word) for word in line.split())

    def result(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            sys.exit("bench_dynapipe failed")
        return np.load(self.out)


def timed(call):
    begin, processor_begin = time.perf_counter(), time.process_time()
    result = call()
    processor = time.process_time() - processor_begin
    return (time.perf_counter() - begin, processor), result


def lengths(count, seed):
    """Log-normal pairs, like those of tasks: [count, 2] int32."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    pairs = np.stack([120 * np.exp(rng.standard_normal(count)), 12 * np.exp(1.2 * rng.standard_normal(count))], 1)
    return np.clip(np.rint(pairs), 1, 4096).astype(np.int32)


def path_length(pairs, order):
    return int(np.abs(np.diff(pairs[order].astype(np.int64), axis=0)).sum())


def peer_order(pairs):
    """Clusters of similar samples, then LKH through their centres, as the published planner does it; a free city makes the tour a path."""
    cluster = AgglomerativeClustering(n_clusters=None, distance_threshold=16, linkage="complete").fit_predict(pairs)
    centres = np.stack([pairs[cluster == c].mean(0) for c in range(cluster.max() + 1)])
    distance = np.rint(np.abs(centres[:, None] - centres[None]).sum(2)).astype(int)
    closed = np.zeros((len(centres) + 1, len(centres) + 1), int)
    closed[1:, 1:] = distance
    tour = [city - 1 for city in elkai.DistanceMatrix(closed.tolist()).solve_tsp(runs=1)[1:-1]] if len(centres) > 1 else [0]
    return np.concatenate([np.flatnonzero(cluster == c) for c in tour])


def peer_partition(weights, bins):
    """Who gets which item, as a planner needs it; the sums alone would not do."""
    dealt = prtpy.partition(algorithm=prtpy.partitioning.kk, numbins=bins, items=weights, outputtype=prtpy.out.PartitionAndSums)
    return np.sort(np.asarray(dealt.sums, float))


def compare(report, case, ours, peer_name, peer_call, repeat, goal, agree):
    our_times, peer_times, peer_result = [], [], None
    ours.seconds()
    for _ in range(repeat):
        our_times.append(ours.seconds())
        seconds, peer_result = timed(peer_call)
        peer_times.append(seconds)
    same, words = agree(ours.result(), peer_result)
    (our_wall, our_s), (peer_wall, peer_s) = ([min(column) for column in zip(*times)] for times in (our_times, peer_times))
    row = {"case": case, "ours_s": our_s, "peer": peer_name, "peer_s": peer_s, "ratio": peer_s / our_s, "goal": goal, "threads": 1,
           "same_result": bool(same), "agreement": words, "ours_wall_s": our_wall, "peer_wall_s": peer_wall}
    report["rows"].append(row)
    print("%-30s %9.3f ms  %-24s %9.3f ms  %7.1f x  >= %-4g %s" % (case, our_s * 1e3, peer_name, peer_s * 1e3, row["ratio"], goal, words),
          flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--repeat", type=int, default=7)
    arguments = parser.parse_args()
    program = arguments.build / "bench_dynapipe"
    report = {"machine": {"processors": os.cpu_count(), "system": platform.platform(), "load_before": os.getloadavg()[0],
                          "numpy": np.__version__, "sklearn": sklearn.__version__, "elkai": "2.0.1", "prtpy": "0.8.3"},
              "not_measured": NOT_MEASURED, "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for items, bins in ((64, 4), (256, 8), (1024, 16)):
            weights = np.rint(1000 * np.exp(np.random.Generator(np.random.Philox(key=items)).standard_normal(items)))
            np.save(folder / "weights.npy", weights)
            ours = Ours(program, "partition", folder / "weights.npy", bins, folder / "sums.npy")
            compare(report, "balanced_partition_%d_to_%d" % (items, bins), ours, "prtpy kk", lambda: peer_partition(weights, bins),
                    arguments.repeat, PARTITION_GOAL,
                    lambda a, b: (np.array_equal(np.sort(a), b), "the same sums" if np.array_equal(np.sort(a), b) else
                                  "largest sums %g and %g" % (a.max(), b.max())))
        for count in (128, 256, 512):
            pairs = lengths(count, count)
            np.save(folder / "lengths.npy", pairs)
            ours = Ours(program, "order", folder / "lengths.npy", folder / "perm.npy")
            compare(report, "order_path_%d" % count, ours, "scikit-learn + elkai", lambda: peer_order(pairs), arguments.repeat, ORDER_GOAL,
                    lambda a, b: (path_length(pairs, a) <= path_length(pairs, b),
                                  "path of %d and %d tokens" % (path_length(pairs, a), path_length(pairs, b))))
    for text in NOT_MEASURED:
        print("not measured:", text)
    reached = sum(row["ratio"] >= row["goal"] for row in report["rows"])
    print("%d of %d goals reached" % (reached, len(report["rows"])))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
