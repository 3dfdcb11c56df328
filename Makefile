# Two commands do everything: `make train` and `make test`. Both need only Python >= 3.11 with venv, and the package index.
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
VENV := .venv$(patsubst constraints%.txt,%,$(notdir $(CONSTRAINTS)))
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs-ready
ARGS ?=

CUDA_VENV ?= .venv-cuda
CUDA_TORCH := 2.14.1
STAGES ?=

ECOSYSTEM_VENV ?= .venv-ecosystem
# tests that need a package of the extra ecosystem, or change with one that is installed
ECOSYSTEM_TESTS := tests/ecosystem tests/docs/test_code.py tests/examples tests/cli/sweep tests/plugins/test_wandb.py tests/plugins/test_mlflow.py tests/plugins/test_optimizer.py \
	tests/parts/shared/trackers tests/engine/test_metric_objects.py tests/tasks/test_images.py tests/invariants/test_warmed_schedules.py

.PHONY: help setup train test quick durations lint types check rehearsal ecosystem gpu drill mutants bench wheel docs docs-serve clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

train: $(READY)  ## train on the embedded data set; ARGS="+plugins=[amp,onecycle]" for more
	$(BIN)/python -m accel.train $(ARGS)

# three processes for two cores: some tests wait for the end of others
test: $(READY)  ## the whole suite; CONSTRAINTS=constraints-oldest.txt for the oldest versions that are claimed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal -q $(ARGS)

quick: $(READY)  ## the tests that are not marked slow: two minutes, while one works
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not slow" $(ARGS)

durations: $(READY)  ## seconds of a core that each test takes; fails where one has more than docs/internals/tests.md allows
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p tests.support.core_seconds -q $(ARGS)

lint: $(READY)  ## ruff
	$(BIN)/ruff check .

types: $(READY)  ## mypy --strict
	$(BIN)/mypy

check: lint types test  ## lint, types and tests, as CI runs them

rehearsal:  ## a quarter of an hour: CUDA's host side on stand-ins, without a GPU; CUDA_VENV=DIR for another environment, STAGES="late waits"
	@PYTHON="$(PYTHON)" bash tests/rehearsal/venv.sh "$(CUDA_VENV)" "$(CUDA_TORCH)" $(CONSTRAINTS); status=$$?; \
	case $$status in 0) "$(CUDA_VENV)/bin/python" -m tests.rehearsal.stages $(STAGES);; 77) ;; *) exit $$status;; esac

ecosystem:  ## ten minutes: beside Lightning, Accelerate, transformers and others; ECOSYSTEM_VENV=DIR for another environment
	@PYTHON="$(PYTHON)" bash tests/ecosystem/venv.sh "$(ECOSYSTEM_VENV)" $(CONSTRAINTS) constraints-ecosystem.txt
	PYTHONPATH="$(CURDIR)" OMP_NUM_THREADS=1 "$(ECOSYSTEM_VENV)/bin/python" -m pytest -n 2 --dist worksteal -q $(ECOSYSTEM_TESTS) $(ARGS)

gpu:  ## 25 minutes on a GPU, the most valuable first, into benchmarks/results; CUDA_VENV=DIR has torch with CUDA, ARGS="--cifar ROOT"
	@$(firstword $(wildcard $(CUDA_VENV)/bin/python $(BIN)/python) $(PYTHON)) benchmarks/gpu.py --out benchmarks/results/$$(date +%F)-gpu.json $(ARGS)

drill: $(READY)  ## hours: runs are killed a thousand times, and compared bit for bit; results in benchmarks/results
	$(BIN)/python benchmarks/drills.py --out benchmarks/results/$$(date +%F)-drills.json
	ACCEL_DRILL=long OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/testing/drill tests/checkpoints tests/data/stores/test_crafted_stores.py tests/data/shards/test_crafted_shards.py tests/plugins/test_ddp.py tests/plugins/test_fsdp.py tests/plugins/test_finite_guard.py tests/plugins/test_common.py tests/plugins/test_cyclic.py tests/plugins/test_muon.py tests/plugins/test_schedule_free.py tests/plugins/test_recompute.py tests/plugins/test_augment_settings.py tests/plugins/test_distill.py tests/plugins/test_lowbit.py tests/plugins/test_qat.py tests/plugins/test_reparam.py tests/cli/submit/test_submit.py tests/invariants/test_unequal_ranks.py tests/invariants/test_rank_borders.py tests/engine/shaping/test_shaped_ranks.py tests/engine/shaping/test_shape_changes.py tests/invariants/test_random_runs.py tests/invariants/test_plugin_order.py tests/engine/test_rank_evaluation.py tests/cli/compose/test_fuzz.py tests/cli/compose/test_typos.py tests/diagnose/test_known_cases.py tests/diagnose/test_bottlenecks.py tests/cli/test_doctor_apply.py tests/cli/test_doctor_killed.py tests/diagnose/trials tests/benchmarks/test_ship.py tests/export/call/test_card_check.py tests/benchmarks/test_shapes.py tests/docs/test_commands.py tests/plugins/test_compile.py tests/cli/test_doctor_command.py tests/cli/test_killed_commands.py tests/examples/test_examples.py tests/cli/test_interruptions.py tests/cli/test_printed_document.py tests/cli/test_torchrun.py tests/diagnose/test_doctor.py tests/export/quantisation/test_quantised_exports.py tests/invariants/test_bad_data_loaders.py tests/invariants/test_evaluation_in_between.py tests/invariants/test_random_samples.py tests/invariants/test_resume.py tests/plugins/test_oom.py tests/plugins/test_prefetch.py tests/plugins/test_prune.py tests/system/cpu/test_malloc_thresholds.py tests/cli/test_lazy_imports.py tests/device/cpu/test_core_split.py tests/export/test_exported_recipes.py tests/plugins/test_tensorboard.py tests/plugins/test_average.py tests/plugins/test_lr_range.py tests/plugins/test_metrics.py $(ARGS) --deselect tests/testing/drill/test_drills.py

mutants: $(READY)  ## hours: slips are made in the files that decide what is computed, and the tests must notice
	$(BIN)/python benchmarks/mutants.py --out benchmarks/results/$$(date +%F)-mutants.json $(ARGS)

bench: $(READY)  ## what the figures were measured with
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/optimizers.py
	$(BIN)/python benchmarks/amp.py
	$(BIN)/python benchmarks/distributed.py
	$(BIN)/python benchmarks/saving.py --threads 1

wheel: $(READY)  ## dist/accel_train-*.whl
	$(BIN)/python -m build -q --wheel --no-isolation

docs: $(DOCS_READY)  ## the documentation, in site/; a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q --strict

docs-serve: $(DOCS_READY)  ## the documentation, shown at http://127.0.0.1:8000 and built anew as it is written
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

setup: $(READY)  ## the virtual environment alone

# torch comes first, and pinned: left to itself pip takes the newest, with several GB of CUDA libraries
$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "accel needs Python 3.11 or newer; say make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c $(CONSTRAINTS) torch
	$(BIN)/python -m pip install -q --disable-pip-version-check -c $(CONSTRAINTS) -e '.[demo,images,dev]'
	@touch $(READY)

# what builds the documentation is installed for these targets alone
$(DOCS_READY): $(READY) pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $(DOCS_READY)

clean:  ## remove the environment and everything that was built
	rm -rf .venv .venv-* build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
