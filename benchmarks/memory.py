"""Peak memory of our training, in a process of its own: 10⁶ bytes, of the GPU's memory or of the whole process.

With all of the spec's training data and one step of a whole batch, then one batch evaluated: what a run holds at most.

    python benchmarks/memory.py --spec "$SPEC" --data data/mnist
"""

import argparse
import json
from pathlib import Path
from typing import Any

from pixelpatch.checkpoint import State
from pixelpatch.data import load_mnist
from pixelpatch.memory import peak_memory_mb
from pixelpatch.models import build_model
from pixelpatch.training import build_optimiser, build_task, evaluate, set_up, training_step


def one_step(spec: dict[str, Any], folder: Path, device: str) -> None:
    """What every step of a run does, once."""
    training, size = spec["training"], spec["evaluation"]["batch"]
    set_up(training, 0, device=device, threads=1)
    spec = spec | {"data": spec["data"] | {"limit": {"validation": size, "test": size}}}
    task, rng = build_task(spec, 0, load_mnist(folder), device)
    model = build_model(spec["model"], image=task.image).to(device)
    step, _ = training_step(State(model, build_optimiser(model, training), rng), spec, task)
    step(*next(iter(task.batches(training["batch"], rng, drop_last=False))))
    evaluate(model, task, "test", spec, rng)


def main() -> None:
    """Measure one spec and print the number."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--spec", type=json.loads, required=True, help="as JSON")
    parser.add_argument("--data", type=Path, required=True, help="folder of the raw MNIST files")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    one_step(options.spec, options.data, options.device)
    print(peak_memory_mb(options.device))


if __name__ == "__main__":
    main()
