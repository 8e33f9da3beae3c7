"""Time one engine on one model, alone in its process: prints a JSON object.

Usage: ``engine.py NAME MODEL ROWS WORK CORE``. An engine is a function (model, rows, folder) that gives a function of
a batch's number; it returns raw scores of 256 rows. Anything that can be made before rows come is made before.
"""
# Each engine lives in an environment of its own, so it is imported where it is used; all take the same arguments.
# ruff: noqa: PLC0415, ARG001, SLF001

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

ROUND_CALLS, ROUNDS = 16, 60


def fogline(model, rows, folder, *, rebuilt=False):
    """This library: request row and pair features included; node rows kept, or rebuilt for every call."""
    import lightgbm as lgb

    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    import workload

    from training.heads.lightgbm_trees import forest_from_lightgbm

    booster = lgb.Booster(model_file=model)
    forest = forest_from_lightgbm(booster, request=workload.REQUEST, node=workload.NODE, pair=workload.PAIR)
    slots = workload.slots()
    flat = np.empty(rows.shape[:1] + rows.shape[1:], np.float32).reshape(-1, rows.shape[2])
    flat[slots.ravel()] = rows.reshape(flat.shape)
    kept = forest.node_rows(flat[:, workload.NODE])
    request = np.ascontiguousarray(rows[:, 0, workload.REQUEST], np.float64)
    node, pair = (np.ascontiguousarray(rows[:, :, owned]) for owned in (workload.NODE, workload.PAIR))
    in_order = np.arange(rows.shape[1])

    def warm(i):
        return forest.score(forest.request_row(request[i]), kept, slots[i], pair[i])

    def cold(i):
        return forest.score(forest.request_row(request[i]), forest.node_rows(node[i]), in_order, pair[i])

    return cold if rebuilt else warm


def fogline_rebuilt(model, rows, folder):
    """This library with every candidate's node row rebuilt."""
    return fogline(model, rows, folder, rebuilt=True)


def lightgbm(model, rows, _):
    """Booster.predict of a batch."""
    import lightgbm as lgb

    booster = lgb.Booster(model_file=model, params={"num_threads": 1})
    return lambda i: booster.predict(rows[i], raw_score=True, num_threads=1)


def lightgbm_fast(model, rows, _):
    """LGBM_BoosterPredictForMatSingleRowFast, row by row; calls through ctypes cost some 300 ns of each."""
    import lightgbm as lgb

    library = lgb.basic._LIB
    booster = lgb.Booster(model_file=model)
    config = ctypes.c_void_p()
    raw, float32, parameters = 1, 0, ctypes.c_char_p(b"num_threads=1")
    library.LGBM_BoosterPredictForMatSingleRowFastInit(
        booster._handle,
        raw,
        0,
        -1,
        float32,
        rows.shape[2],
        parameters,
        ctypes.byref(config),
    )
    out, length = np.empty(rows.shape[1]), ctypes.c_int64()
    row_bytes, reference = rows.strides[1], ctypes.byref(length)
    call = library.LGBM_BoosterPredictForMatSingleRowFast
    call.argtypes = [ctypes.c_void_p] * 4

    def predict(i, _keep=booster):
        data, result = rows[i].ctypes.data, out.ctypes.data
        for c in range(rows.shape[1]):
            call(config, data + c * row_bytes, reference, result + 8 * c)
        return out

    return predict


def lleaves(model, rows, folder):
    """Compiled by LLVM; blocks as its author tunes them."""
    import lleaves

    compiled = lleaves.Model(model_file=model)
    compiled.compile(cache=folder / "lleaves.o", raw_score=True, fblocksize=34, use_fp64=False)
    return lambda i: compiled.predict(rows[i], n_jobs=1)


def tl2cgen(model, rows, folder):
    """Compiled C with quantized thresholds; the batches are wrapped beforehand."""
    import tl2cgen
    import treelite

    path = folder / "tl2cgen.so"
    if not path.exists():
        trees = treelite.frontend.load_lightgbm_model(model)
        tl2cgen.export_lib(trees, toolchain="gcc", libpath=path, params={"quantize": 1, "parallel_comp": 8})
    predictor = tl2cgen.Predictor(path, nthread=1)
    batches = [tl2cgen.DMatrix(batch) for batch in rows]
    return lambda i: predictor.predict(batches[i], pred_margin=True)


def onnxruntime(model, rows, folder):
    """ONNX Runtime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    return lambda i: session.run(["raw_score"], {"features": rows[i]})[0]


def daal4py(model, rows, _):
    """OneDAL through its model builder."""
    import daal4py
    import lightgbm as lgb

    daal4py.daalinit(1)
    built = daal4py.mb.convert_model(lgb.Booster(model_file=model))
    return lambda i: built.predict(rows[i])


def ydf(model, rows, folder):
    """Yggdrasil's engine, timed by its own C++ benchmark on a model of the same size that it trained itself."""
    import workload
    import ydf

    ydf.verbose(0)
    trees, leaves = workload.SHAPES[folder.name]
    path = folder / "ydf"
    if not path.exists():
        rng = np.random.default_rng(0)
        x = rng.normal(size=(60_000, workload.N_FEATURES)).astype(np.float32)
        learner = ydf.GradientBoostedTreesLearner(
            label="y",
            task=ydf.Task.REGRESSION,
            num_trees=trees,
            growing_strategy="BEST_FIRST_GLOBAL",
            max_num_nodes=leaves,
            max_depth=-1,
            early_stopping="NONE",
            validation_ratio=0.0,
        )
        columns = {f"f{k}": x[:, k] for k in range(workload.N_FEATURES)}
        learner.train(columns | {"y": workload.target(x, rng)}).save(str(path))
    loaded = ydf.load_model(str(path))
    sizes = [sum(1 for _ in leaves_of(tree.root)) for tree in loaded.get_all_trees()]
    columns = {f"f{k}": rows[:, :, k].ravel() for k in range(rows.shape[2])}
    times = [
        loaded.benchmark(columns, benchmark_duration=1, warmup_duration=0.5, batch_size=rows.shape[1], num_threads=1)
        for _ in range(3)
    ]
    note = f"{loaded.list_compatible_engines()[0]}, {len(sizes)} trees of {min(sizes)} to {max(sizes)} leaves"
    return {"ns_per_row": [1e9 * t.duration_per_example for t in times], "note": note}


def leaves_of(node):
    """Leaves below a node of a YDF tree."""
    if node.is_leaf:
        yield node
    else:
        yield from leaves_of(node.pos_child)
        yield from leaves_of(node.neg_child)


def measure(predict, n_batches):
    """Nanoseconds a row of many short rounds; each call takes another batch."""
    out, call = [], 0
    size = np.size(predict(0))
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        for _ in range(ROUND_CALLS):
            predict(call % n_batches)
            call += 1
        out.append((time.perf_counter_ns() - start) / ROUND_CALLS / size)
    return out


def main():
    """Print times and scores' distance from LightGBM's."""
    name, model, rows, folder, core = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    sys.path.insert(0, str(Path(__file__).parent))
    rows, folder = np.load(rows), Path(folder)
    start = time.perf_counter()
    predict = globals()[name](model, rows, folder)
    if isinstance(predict, dict):
        print(json.dumps(predict))
        return
    expected = np.load(folder / "expected.npy")
    error = max(float(np.abs(np.ravel(predict(i)) - expected[i]).max()) for i in range(0, len(rows), 16))
    setup = time.perf_counter() - start
    print(json.dumps({"ns_per_row": measure(predict, len(rows)), "max_error": error, "setup_s": setup}))


if __name__ == "__main__":
    main()
