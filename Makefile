# make demo: the main job, offline, on examples/reviews.csv.    make test: the tests.    make lint: ruff.
PYTHON ?= python3
BIN := .venv/bin
TFFT := $(BIN)/tfft
DEMO_RUN := runs/demo
DEMO_SAVEDMODEL := savedmodels/reviews

.PHONY: demo test lint bench bench-env install clean

install: .venv/.installed

.venv/.installed: setup.cfg setup.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "tfft needs Python 3.10 to 3.13. Received: $$($(PYTHON) --version). Pass PYTHON=python3.12."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	touch $@

demo: $(DEMO_RUN)/predictions.jsonl $(DEMO_SAVEDMODEL)/1
	@echo; echo "== How good is it on reviews it never saw?"
	$(TFFT) evaluate $(DEMO_RUN) examples/reviews_test.csv --quiet
	@echo; echo "== Ask the SavedModel, in a process of its own"
	$(TFFT) query $(DEMO_SAVEDMODEL) "The soup was cold and the waiter was rude." "A wonderful hotel, we loved it."
	@echo
	@echo "$(DEMO_RUN)/model                 the tuned model: transformers loads it, on PyTorch too"
	@echo "$(DEMO_RUN)/report.html           what happened, to read in a browser"
	@echo "$(DEMO_RUN)/predictions.jsonl     a prediction for each record of examples/reviews_test.csv"
	@echo "$(DEMO_SAVEDMODEL)/1          the SavedModel, for TensorFlow Serving"

# A finished run is never overwritten: the demo is made anew after rm -r runs/demo savedmodels/reviews.
$(DEMO_RUN)/report.html: | .venv/.installed
	@echo; echo "== Fine-tune on examples/reviews.csv"
	$(TFFT) finetune examples/reviews.csv --config examples/reviews.yaml --output $(DEMO_RUN)

$(DEMO_RUN)/predictions.jsonl: | $(DEMO_RUN)/report.html
	@echo; echo "== Predict examples/reviews_test.csv"
	$(TFFT) predict $(DEMO_RUN) examples/reviews_test.csv --output $@ --quiet

$(DEMO_SAVEDMODEL)/1: | $(DEMO_RUN)/report.html
	@echo; echo "== Export a SavedModel and hold it to the model's answers"
	$(TFFT) export $(DEMO_RUN) --output $(DEMO_SAVEDMODEL)

test: .venv/.installed
	$(BIN)/python -m pytest

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: .venv/.installed
	$(BIN)/python benchmarks/tokenizer.py

bench-env: .bench-venv/.installed

.bench-venv/.installed: benchmarks/requirements.txt benchmarks/requirements-alone.txt
	test -x .bench-venv/bin/python || $(PYTHON) -m venv .bench-venv
	.bench-venv/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	.bench-venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/requirements-alone.txt
	touch $@

clean:
	rm -rf .venv .bench-venv build dist *.egg-info .pytest_cache .ruff_cache
