"""Learn digits with scikit-learn, which prints by itself, and print a table of the results."""

import warnings

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from t9k import em

warnings.simplefilter("ignore")  # that one epoch is not enough
images, labels = load_digits(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(images / 16, labels, random_state=0)
with em.create_run(name="digits", hparams={"hidden": 32, "epochs": 5}) as run:
    model = MLPClassifier((run.hparams.hidden,), max_iter=1, warm_start=True, random_state=0, verbose=True)
    print(f"{'epoch':>5} {'loss':>8} {'accuracy':>8}")
    for epoch in range(run.hparams.epochs):
        model.fit(train_x, train_y)
        accuracy = model.score(test_x, test_y)
        print(f"{epoch:5} {model.loss_:8.4f} {accuracy:8.2%}", flush=epoch % 2 == 0)
        run.log("val", {"accuracy": accuracy}, step=epoch)
