"""Fit a line by gradient descent, with a bar for the epochs, one for the batches, and lines printed between."""

import random
import sys

from tqdm import tqdm

from t9k import em

random.seed(1)
samples = [(x / 100, 3 * x / 100 + 1 + random.gauss(0, 0.1)) for x in range(200)]
epochs = tqdm(range(4), desc="epochs", position=0, mininterval=0, ncols=70)
with em.create_run(name="line", hparams={"rate": 0.1, "batch": 20}) as run:
    slope = offset = 0.0
    for epoch in epochs:
        random.shuffle(samples)
        batches = tqdm(range(0, 200, 20), desc="batches", position=1, leave=False, mininterval=0, ncols=70)
        for start in batches:
            errors = [(slope * x + offset - y, x) for x, y in samples[start : start + 20]]
            slope -= run.hparams["rate"] * sum(error * x for error, x in errors) / 20
            offset -= run.hparams["rate"] * sum(error for error, _ in errors) / 20
            batches.set_postfix(loss=f"{sum(error**2 for error, _ in errors) / 20:.4f}")
        run.log("train", {"slope": slope, "offset": offset}, step=epoch)
    epochs.close()
    sys.stderr.write(f"slope {slope:.2f}, offset {offset:.2f}\n")
