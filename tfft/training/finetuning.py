"""The main job: from records to a run folder with a tuned model in it."""

import contextlib
import dataclasses
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets

from tfft.config import FinetuneConfig
from tfft.data.records import Records
from tfft.data.token_counts import count_bytes_per_token
from tfft.models.adapter_files import put_on, read_adapter, save_adapter
from tfft.models.adapters import adapted_layers, start_adapters
from tfft.models.freezing import choose_blocks, count_trained, freeze_others
from tfft.models.loading import Model, Shape, build_scratch, load_config, load_model
from tfft.models.objective import Objective
from tfft.models.origin import describe_origin, name_base
from tfft.models.resuming import check_output, open_run
from tfft.models.run_folder import FINISHED, RunFolder
from tfft.models.tuned_model import TunedModel, save_tuned
from tfft.runtime import claim, package_versions
from tfft.tasks.classification import PAIR
from tfft.training.fitting import fit
from tfft.training.monitoring import Watch
from tfft.training.objectives import make_dropout
from tfft.training.optimizers import default_learning_rate
from tfft.training.outset import Outset, set_out
from tfft.training.precision import choose_precision
from tfft.training.preparation import Preparation
from tfft.training.row_checks import count_cut
from tfft.training.sampling import Samples
from tfft.training.signals import left_on_signal
from tfft.training.strategies import choose_strategy
from tfft.training.workers import Workers, check_alike

logger = logging.getLogger(__name__)

ALPHA_PER_RANK = 2  # as in TRL's ModelConfig, whose rank is 16 and whose alpha is 32


@dataclass(frozen=True)
class Finetuned:
    """What a finetune made.

    Attributes:
        run: Its folder.
        tuned: The model, with its best weights.
        validation_rows: Encoded rows that were not learned from; may be empty.
        validation_records: The records that those rows are of.
    """

    run: RunFolder
    tuned: TunedModel
    validation_rows: datasets.Dataset
    validation_records: Records


def finetune(sources: str | Path | Sequence[str], output: str | Path, config: FinetuneConfig) -> Finetuned | None:
    """Tunes a model on records, or goes on with a run that was interrupted.

    Args:
        sources: Files of records, folders, patterns or hub names; PATH=WEIGHT gives one of several a weight.
        output: The run folder: new, or holding a run of the same records and settings that has steps left to make.
        config: The settings.

    Returns:
        The run, whose model is written; `finish` completes run.json. None on a worker that is not the chief of several.

    Raises:
        UsageError: A file or folder is not as it must be, or settings do not fit together.
        DataError: The records cannot be learned from.
        OutOfMemoryError: The device cannot hold a batch.
        DivergedError: The loss is not finite any more.
        PreemptedError: A signal asked to stop, or another worker is gone; the state is saved.
    """
    workers = Workers(choose_strategy(config))  # before anything else of TensorFlow's: workers have to meet for it
    if not workers.is_chief:
        logging.getLogger("tfft").setLevel(logging.WARNING)
    with workers.loss_told():
        return _finetune(sources, Path(output), config, workers)


def _finetune(
    sources: str | Path | Sequence[str], output: Path, config: FinetuneConfig, workers: Workers
) -> Finetuned | None:
    precision = workers.from_chief(lambda: _settle_precision(output, config))
    outset = set_out(sources, dataclasses.replace(config, precision=precision), workers.strategy)
    prepared, config = outset.prepared, outset.config
    identity, files = {**dataclasses.asdict(config), **prepared.identity(config)}, prepared.files(config)
    check_alike(workers, identity, files)
    with contextlib.ExitStack() as stack:

        def open_here() -> None:
            stack.enter_context(claim(output))
            open_run(output, identity, files, config, outset.total_steps)

        workers.from_chief(open_here)
        # What another worker notes for itself is gone with it.
        path = output if workers.is_chief else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tuned = _tune(RunFolder(path), outset, workers)
    return tuned and Finetuned(RunFolder(output), tuned, prepared.validation_rows, prepared.validation_records)


def _settle_precision(output: Path, config: FinetuneConfig) -> str:
    check_output(output, config)
    before = RunFolder(output).read_manifest().get("identity", {}).get("precision")
    return choose_precision(config.precision, before)


def finish(run: RunFolder, metrics: dict) -> None:
    """Writes the final metrics into run.json: from here on the run is finished, and never changed."""
    run.write_manifest(status=FINISHED, metrics=metrics)


def _tune(run: RunFolder, outset: Outset, workers: Workers) -> TunedModel | None:
    prepared = outset.prepared
    with outset.strategy.scope():
        model, config = build_learner(prepared, outset.config)
    _describe(run, prepared, model, outset.objective)
    tuned = TunedModel(
        model=model,
        tokenizer=prepared.tokenizer,
        task=prepared.task,
        labels=prepared.labels,
        sequence_length=prepared.sequence_length,
        folder=run.model,
        pairs=PAIR in prepared.records.rows.column_names,
    )
    watch = Watch(_measure_tokens(prepared), Samples(tuned, outset.prompts) if outset.prompts else None)
    facts = fit(model, prepared.rows, prepared.validation_rows, config, run, outset.objective, watch)
    run.write_manifest(**facts)
    if not workers.is_chief:
        return None
    with left_on_signal():
        if adapted_layers(model):
            save_adapter(model, run.adapter, name_base(config.model))
        if not run.model.exists():
            save_tuned(tuned)
    if outset.strategy.num_replicas_in_sync == 1:
        return tuned
    # Whoever asks it does so on one device.
    return dataclasses.replace(tuned, model=load_model(run.model, tuned.tokenizer, _shape(prepared, config)))


def build_learner(prepared: Preparation, config: FinetuneConfig) -> tuple[Model, FinetuneConfig]:
    """Builds the model that a run learns with, and says in its settings at what rate it does."""
    model = _build(prepared, config)
    _choose_what_learns(model, prepared, config)
    peak = config.learning_rate or default_learning_rate(config, model.config.n_embd, bool(adapted_layers(model)))
    return model, dataclasses.replace(config, learning_rate=peak)


def _measure_tokens(prepared: Preparation) -> float | None:
    is_validated = prepared.task.head == "language-model" and len(prepared.validation_rows)
    return count_bytes_per_token(prepared.validation_rows, prepared.tokenizer) if is_validated else None


def _build(prepared: Preparation, config: FinetuneConfig) -> Model:
    shape = _shape(prepared, config)
    if prepared.folder:
        logger.info("Weights: %s.", describe_origin(config.model, prepared.adapter or prepared.folder))
        return load_model(prepared.folder, prepared.tokenizer, shape)
    return build_scratch(prepared.architecture, prepared.tokenizer, shape)


def _shape(prepared: Preparation, config: FinetuneConfig) -> Shape:
    return Shape(prepared.task.head, prepared.labels, make_dropout(config), prepared.task.multi_label)


def _choose_what_learns(model: Model, prepared: Preparation, config: FinetuneConfig) -> None:
    if prepared.adapter:
        adapter = read_adapter(prepared.adapter)
        put_on(model, adapter, keeps_head=adapter.labels(load_config(prepared.folder)) == prepared.labels)
    elif config.adapter_rank:
        start_adapters(
            model,
            rank=config.adapter_rank,
            alpha=config.adapter_alpha or ALPHA_PER_RANK * config.adapter_rank,
            targets=config.adapter_targets,
            blocks=choose_blocks(config.train_layers, len(model.transformer.h)),
            seed=config.seed,
        )
    else:
        freeze_others(model, prepared.learned_layers)


def _describe(run: RunFolder, prepared: Preparation, model: Model, objective: Objective) -> None:
    run.write_manifest(
        task=prepared.task.name,
        formatting=prepared.task.formatting.to_dict(),
        overflow=prepared.task.overflow,
        labels=list(prepared.labels),
        class_weights=dict(zip(prepared.labels, objective.class_weights, strict=False)),
        multi_label=prepared.task.multi_label,
        sequence_length=prepared.sequence_length,
        records=prepared.records.name,
        columns=prepared.records.rows.column_names,
        allowed=prepared.allowed,
        training_rows=len(prepared.rows),
        validation_rows=len(prepared.validation_rows),
        parameters=model.count_params(),
        trained_parameters=count_trained(model),
        versions=package_versions(),
        dropped_records=prepared.dropped_records,
        **count_cut(prepared.rows),
    )
    logger.info(
        "Task %s%s: %s rows to train on, %s to validate on; %s parameters%s, of which %s learn.",
        prepared.task.name,
        ", several classes a record" if prepared.task.multi_label else "",
        f"{len(prepared.rows):,}",
        f"{len(prepared.validation_rows):,}",
        f"{model.count_params():,}",
        "" if prepared.folder else ", random ones",
        f"{count_trained(model):,}",
    )
