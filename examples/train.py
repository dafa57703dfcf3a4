"""A training as a user writes one: it logs in with the T9k config, logs, keeps a model, and uploads both."""

from __future__ import annotations

import random
from pathlib import Path

from t9k import em

FOLDER = "demo"

em.login()
run = em.create_run(name="walk", hparams={"steps": 200, "seed": 7})
generator = random.Random(run.hparams["seed"])  # noqa: S311 - a walk, no secret
position = 0.0
for step in range(run.hparams["steps"]):
    position += generator.gauss(0, 1)
    run.log("train", {"position": position, "distance": abs(position)}, step=step)

Path("model.txt").write_text(f"{position}\n" * 100_000)
model = em.create_artifact(name="walk-model")
model.add_file("model.txt")
run.mark_output(model)
run.finish()
run.upload(folder=FOLDER, make_folder=True)
print(f"uploaded {run.name} to {FOLDER}")
