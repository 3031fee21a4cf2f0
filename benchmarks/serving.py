"""How fast a GPT-2 of 124 million parameters is served: the SavedModel beside the ways that others have.

    make bench-env
    .venv/bin/python benchmarks/serving.py ../shared/data

The weights are random and the same for all; so are the prompts. Each contestant (`contestants.py`) runs in a process of
its own, one after the other, for some rounds, and its fastest answer counts: on a machine that others use too, that is
the one they disturbed least. `ideal` is the time to read every weight once, as fast as two threads read memory.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

REPOSITORY = Path(__file__).parents[1]
BENCH_PYTHON = REPOSITORY / ".bench-venv/bin/python"
TFFT = [sys.executable, "-c", "from tfft.commands.main import tfft; tfft()"]
PROMPT_TOKENS, NEW_TOKENS = 32, 64
BATCH_SIZES = (1, 8)
NUM_SENTENCES, NUM_PROMPTS = 1000, 20
WEIGHTS = ("float32", "bfloat16", "int8")


@dataclass(frozen=True)
class Contestant:
    """What answers a question.

    Attributes:
        title: What the table calls it.
        name: What `contestants.py` calls it.
        folder: The model, below the folder of the work.
    """

    title: str
    name: str
    folder: str


GENERATORS = [
    *(Contestant(f"SavedModel, {weights}", "savedmodel", f"{weights}/1") for weights in WEIGHTS),
    Contestant("transformers, TensorFlow graph", "transformers-tensorflow", "gpt2"),
    Contestant("transformers, TensorFlow XLA", "transformers-xla", "gpt2"),
    Contestant("transformers, PyTorch", "pytorch", "gpt2"),
    Contestant("KerasHub, TensorFlow XLA", "keras-hub", "preset"),
]
CLASSIFIERS = [
    Contestant("SavedModel", "savedmodel-classifier", "classes/1"),
    Contestant("transformers, PyTorch", "pytorch-classifier", "classifier"),
]
TOKENIZER = [Contestant("tokenizer in the SavedModel", "savedmodel-tokenizer", "float32/1")]


def prepare(work: Path, tokenizer_folder: Path) -> None:
    """Writes the models with random weights and all their exports, where they do not stand yet."""
    from transformers import AutoTokenizer, GPT2Config

    from tfft.models.gpt2 import build_model
    from tfft.models.weights import save_weights
    from tfft.runtime import set_up_training

    set_up_training(0, "float32")
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    for name, head in (("gpt2", "language-model"), ("classifier", "classifier")):
        if not (work / name).exists():
            config = GPT2Config(num_labels=2, pad_token_id=tokenizer.eos_token_id, architectures=[ARCHITECTURES[head]])
            model = build_model(head, config)
            (work / name).mkdir(parents=True)
            config.save_pretrained(work / name)
            tokenizer.save_pretrained(work / name)
            save_weights(model, work / name)
    settings = ["--temperature", "0", "--max-new-tokens", NEW_TOKENS]
    exports = {weights: ["gpt2", *settings, "--weights", weights] for weights in WEIGHTS}
    for name, arguments in {**exports, "classes": ["classifier"], "preset": ["gpt2", "--format", "keras"]}.items():
        if not (work / name).exists():
            call("export", work / arguments[0], *arguments[1:], "--output", work / name)


ARCHITECTURES = {"language-model": "GPT2LMHeadModel", "classifier": "GPT2ForSequenceClassification"}


def call(*arguments) -> None:
    """Runs tfft."""
    subprocess.run([*TFFT, *map(str, arguments), "--quiet"], cwd=REPOSITORY, check=True)


def cut_prompts(data: Path, tokenizer_folder: Path) -> list[tuple[str, list[int]]]:
    """Cuts texts of as many tokens as a prompt has, which the tokenizer reads as those very tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    prompts = []
    for text in read_texts(data / "imdb_counterfactual/orig_train.jsonl"):
        ids = tokenizer(text)["input_ids"][:PROMPT_TOKENS]
        cut = tokenizer.decode(ids)
        if len(ids) == PROMPT_TOKENS and tokenizer(cut)["input_ids"] == ids:
            prompts.append((cut, ids))
    return prompts


def read_texts(path: Path) -> Iterator[str]:
    """Yields the texts of a JSONL file."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]


def ask(contestant: Contestant, work: Path, question: dict) -> dict:
    """Has a contestant answer, in a process of its own."""
    path = work / "question.json"
    path.write_text(json.dumps(question), encoding="utf-8")
    script = REPOSITORY / "benchmarks/contestants.py"
    command = [BENCH_PYTHON, script, contestant.name, work / contestant.folder, path]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{contestant.title} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def contend(contestants: list[Contestant], work: Path, question: dict, rounds: int) -> dict[str, dict]:
    """Has all answer in turn, some rounds long; keeps of each its fastest answer and its fastest start."""
    best = {}
    for _ in range(rounds):
        for contestant in contestants:
            found = ask(contestant, work, question)
            found["seconds"] = min(found["seconds"])
            before = best.get(contestant.title, found)
            fastest = {name: min(before[name], found[name]) for name in ("load", "first", "seconds")}
            best[contestant.title] = {**fastest, "answers": found["answers"]}
            click.echo(f"{contestant.title}: {found['seconds']:.3f} s", err=True)
    return best


def measure_bandwidth(threads: int = 2, megabytes: int = 400, repeats: int = 5) -> float:
    """Measures how fast threads read memory together, as the sums of a matrix product do: bytes a second."""
    import numpy as np

    arrays = [np.ones(megabytes * 250_000 // threads, np.float32) for _ in range(threads)]

    def read() -> float:
        jobs = [threading.Thread(target=np.dot, args=(array, array)) for array in arrays]
        start = time.perf_counter()
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        return time.perf_counter() - start

    return megabytes * 1e6 / min(read() for _ in range(repeats))


def make_table(best: dict[str, dict], unit: float, heading: str) -> str:
    """Writes what each took, and how many times as long as the first."""
    first = next(iter(best.values()))
    lines = [f"| {heading} | ms | times the first | loads, s | first answer, s | same answers |", "|---|" + 5 * "---|"]
    for title, found in best.items():
        same = sum(a == b for a, b in zip(found["answers"], first["answers"], strict=True))
        factor = found["seconds"] / first["seconds"]
        figures = f"{1000 * found['seconds'] / unit:.1f} | {factor:.2f} | {found['load']:.1f} | {found['first']:.1f}"
        lines.append(f"| {title} | {figures} | {same} of {len(first['answers'])} |")
    return "\n".join(lines)


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/serving"), show_default=True)
@click.option("--rounds", default=2, show_default=True, help="Times that each contestant starts.")
@click.option("--repeats", default=4, show_default=True, help="Answers of each start that are timed.")
@click.option("--only", multiple=True, help="Contestants whose title has this in it; repeatable. Default: all.")
def serving(data: Path, work: Path, rounds: int, repeats: int, only: tuple[str, ...]) -> None:
    """Time what serves a GPT-2, with the texts and the tokenizer of DATA."""
    work = work.resolve()
    prepare(work, data / "gpt2_tokenizer")
    prompts = cut_prompts(data, data / "gpt2_tokenizer")
    chosen = [
        [some for some in contestants if not only or any(part in some.title for part in only)]
        for contestants in (GENERATORS, CLASSIFIERS, TOKENIZER)
    ]
    bandwidth = measure_bandwidth()
    num_bytes = (work / "gpt2/model.safetensors").stat().st_size
    click.echo(f"Memory is read at {bandwidth / 1e9:.1f} GB/s: ideal {1000 * num_bytes / bandwidth:.1f} ms a token\n")
    for rows in BATCH_SIZES:
        texts, ids = zip(*prompts[:rows], strict=True)
        question = {"texts": texts, "ids": ids, "new_tokens": NEW_TOKENS, "repeats": repeats}
        best = contend(chosen[0], work, question, rounds)
        click.echo(make_table(best, NEW_TOKENS, f"batch {rows}, {PROMPT_TOKENS} + {NEW_TOKENS} tokens: a token") + "\n")
    sentences = list(read_texts(data / "sst2/train.jsonl"))[:NUM_SENTENCES]
    long = [" ".join(text.split()[:200]) for text in read_texts(data / "imdb_counterfactual/orig_train.jsonl")]
    for contestants, texts, heading in (
        (chosen[1], sentences, "classification: a sentence"),
        (chosen[2], long[:NUM_PROMPTS], "tokenizer: a prompt of 200 words"),
    ):
        if contestants:
            question = {"texts": texts, "ids": [], "new_tokens": 0, "repeats": 1}
            click.echo(make_table(contend(contestants, work, question, rounds), len(texts), heading) + "\n")


if __name__ == "__main__":
    serving()
