"""Train a perceptron on points around two centres, and tell of it by logging that was set up before the run."""

import logging
import random

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
log = logging.getLogger("perceptron")

from t9k import em  # noqa: E402 - as scripts have it whose first lines set up logging

random.seed(0)
points = [(random.gauss(side, 0.5), random.gauss(-side, 0.5), side) for side in (-1, 1) for _ in range(100)]
run = em.create_run(name="perceptron", hparams={"rate": 0.1, "epochs": 5})
weights = [0.0, 0.0]
for epoch in range(run.hparams["epochs"]):
    random.shuffle(points)
    wrong = 0
    for x, y, side in points:
        if side * (weights[0] * x + weights[1] * y) <= 0:
            wrong += 1
            weights[0] += run.hparams["rate"] * side * x
            weights[1] += run.hparams["rate"] * side * y
    log.info("epoch %d: %d of %d wrong", epoch, wrong, len(points))
    run.log("train", {"wrong": wrong}, step=epoch, epoch=epoch)
log.warning("weights %.3f %.3f", *weights)
run.finish()
