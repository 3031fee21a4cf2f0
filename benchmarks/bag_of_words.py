"""The baseline without a language model: TF-IDF of words and word pairs, and a logistic regression.

    make bench-env
    .bench-venv/bin/python benchmarks/bag_of_words.py TRAIN.jsonl TEST.jsonl --label label

The strength of the penalty is chosen by cross-validation on the training records; nothing is drawn at random.
"""

import json
from pathlib import Path

import click
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

PENALTIES = [0.3, 1.0, 3.0, 10.0, 30.0, 100.0]


def read_texts(path: Path, label: str) -> tuple[list[str], list[str]]:
    """Reads the texts and their labels."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [record["text"] for record in records], [str(record[label]) for record in records]


@click.command()
@click.argument("train", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("test", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--label", default="label", show_default=True, help="The column of the class.")
def bag_of_words(train: Path, test: Path, label: str) -> None:
    """Learn the classes of TRAIN and print the accuracy on TEST as JSON."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    classifier = make_pipeline(vectorizer, LogisticRegression(max_iter=2000))
    search = GridSearchCV(classifier, {"logisticregression__C": PENALTIES}, cv=5)
    search.fit(*read_texts(train, label))
    click.echo(json.dumps({"accuracy": search.score(*read_texts(test, label)), **search.best_params_}))


if __name__ == "__main__":
    bag_of_words()
