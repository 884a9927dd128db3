"""Extract every direction of the bundled task-routed checkpoints and prove it on Multi30k's test_2016_flickr.

    python -m benchmarks.results.proofs --data data/multi30k

Writes benchmarks/results/proofs.json, from which the page answers whether extraction keeps everything.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.decoding.translator import Translator
from workbench.evaluation.testset import load_testset
from workbench.subnetworks.extract import extract
from workbench.subnetworks.proof import prove

_HERE = Path(__file__).parent
PROOFS = _HERE / "proofs.json"
_CHECKPOINTS = _HERE.parent.parent / "checkpoints"
_BUNDLED = tuple(_CHECKPOINTS / f"captions-{name}" for name in ("task-moe", "hybrid-moe"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Prove and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="*", type=Path, default=_BUNDLED, metavar="CKPT")
    parser.add_argument("--data", type=Path, default=Path("data/multi30k"))
    parser.add_argument("--split", default="test_2016_flickr")
    parser.add_argument("--limit", type=int, help="sentences of each direction (default: all)")
    parser.add_argument("-o", "--output", type=Path, default=PROOFS)
    args = parser.parse_args(arguments)
    found = [
        proof
        for checkpoint in args.checkpoints
        for proof in prove_all(checkpoint, args.data, args.split, args.limit)
    ]
    args.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def prove_all(
    checkpoint: Path, data: Path, split: str, limit: int | None = None
) -> list[dict[str, Any]]:
    """The proofs of all directions, as JSON, with whether the sub-network is wholly dense."""
    model = Translator.load(checkpoint)
    found = []
    for task in model.config.directions:
        small = extract(model, [task])
        testset = load_testset(data, task, split, limit)
        proof = prove(model, small, testset.sources, task, batch_size=64)
        print(proof, file=sys.stderr)
        found.append({**proof.to_json(), "dense": small.config.is_dense})
    return found


def load_proofs(path: Path = PROOFS) -> list[dict[str, Any]]:
    """What `main` wrote; nothing if it never ran."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


if __name__ == "__main__":
    main()
