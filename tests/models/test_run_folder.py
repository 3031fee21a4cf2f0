from tfft.models.run_folder import RunFolder


def test_the_layout_is_the_documented_one(tmp_path):
    run = RunFolder(tmp_path)
    parts = (run.manifest_file, run.model, run.checkpoints, run.logs, run.history_file, run.report, run.previous)
    assert [part.relative_to(tmp_path).as_posix() for part in parts] == [
        "run.json",
        "model",
        "checkpoints",
        "logs",
        "logs/history.csv",
        "report.html",
        "previous",
    ]
    assert run.checkpoint(500) == tmp_path / "checkpoints" / "step-00000500"
    assert run.read_manifest() == {}


def test_saved_steps_are_numbers_and_nothing_else_that_lies_there(tmp_path):
    run = RunFolder(tmp_path)
    assert run.saved_steps() == []
    for name in ("step-00000100", "step-00000020", "step-00000030.corrupt", ".step-00000040.partial", "other"):
        (run.checkpoints / name).mkdir(parents=True)
    assert run.saved_steps() == [20, 100]
