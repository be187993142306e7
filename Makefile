# `make` sets up and runs the study, `make test` sets up and runs the tests. All of ours is in .venv.
# Options of snakemake go into ARGS:  make ARGS="--config preset=smoke"

export PATH := $(CURDIR)/.venv/bin:$(PATH)
# A thread count is part of a record's provenance; --threads sets it, not what the shell happens to say.
unexport OMP_NUM_THREADS MKL_NUM_THREADS
UV_VERSION := 0.13.8
CHROMIUM_VERSION := 153.0.0
# Snakemake's own report of what ran, with parameters, code and run times; after a dry run there is nothing to report.
ANNEX = $(if $(filter -n --dry-run --dryrun,$(ARGS)),,--report results/provenance.html --report-after-run)

.PHONY: study test torture demo space verify readme benchmark benchmark-scale setup
study: setup
	snakemake --cores all $(ANNEX) $(ARGS)

test: setup .venv/browser/ready
	ruff check .
	ruff format --check .
	snakefmt --check .
	snakemake --lint
	python -m pytest tests/test_published.py
	python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --ignore tests/test_published.py $(ARGS)

# What may go wrong around a study, at full counts: damaged files, full disks, hostile input, a cluster that fails.
torture: setup
	python -m pytest tests/torture tests/slurm --thorough $(ARGS)

# A page on which the published models read digits, shuffled or drawn: http://127.0.0.1:7860
demo: .venv/demo
	snakemake --quiet --cores 1 fetch
	python -m pixelpatch demo --weights results/full/weights --data data/mnist $(ARGS)

# What a host of Gradio apps expects, in build/space: its three files, the package and the weights.
space:
	rm -rf build/space
	mkdir -p build
	cp -r space build/space
	cp -r src/pixelpatch results/full/weights build/space/
	find build/space -name __pycache__ -prune -exec rm -rf {} +

# Does one seed of each cheap system land on its published record? Bit for bit on the same kind of machine.
verify: setup
	snakemake --quiet --cores 1 fetch results/full/study.json --config preset=full seeds=recorded
	python -m pixelpatch verify results/full/study.json --data data/mnist $(ARGS)

# The tables of README.md, from the published records (those of results/full that are committed) and benchmark.
readme: setup
	snakemake --cores all --config preset=full seeds=recorded
	python -m pixelpatch readme README.md verdicts=results/full/tables/claims.md speeds=results/benchmark/training.md \
		scale=results/benchmark/scale.md

# Each system beside what a user would run instead: results/benchmark/training.csv and .png, in a quarter of an hour.
# Nothing else should run on the machine. On a GPU:  make benchmark ARGS="--device cuda"
benchmark: setup
	uv pip install --quiet --constraints requirements.lock --editable ".[benchmark]"
	snakemake --quiet --cores 1 fetch
	python benchmarks/training.py --data data/mnist --output results/benchmark $(ARGS)

# Planning and analysing 1,000, 3,000 and 10,000 runs, nothing trained: results/benchmark/scale.csv, in some minutes.
benchmark-scale: setup
	snakemake --quiet --cores 1 fetch
	python benchmarks/scale.py --data data/mnist --output results/benchmark $(ARGS)

setup: .venv/ready

.venv/ready: requirements.lock pyproject.toml
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python3 is older than 3.11: install Python 3.11 or newer")'
	python3 -m venv --clear .venv
	python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	uv pip install --quiet --constraints requirements.lock --editable ".[study,test]"
	touch $@

.venv/demo: .venv/ready
	uv pip install --quiet --constraints requirements.lock --editable ".[demo]"
	touch $@

# The browser that the tests look at pages with, and the libraries that a machine without a screen may lack.
.venv/browser/ready: .venv/demo
	uv pip install --quiet --constraints requirements.lock --editable ".[browser]"
	npm install --silent --no-audit --no-fund --prefix .venv/browser @sparticuz/chromium@$(CHROMIUM_VERSION)
	cd .venv/browser && TMPDIR="$$PWD" AWS_EXECUTION_ENV=AWS_Lambda_nodejs22.x \
		node --input-type=module -e 'import chromium from "@sparticuz/chromium"; await chromium.executablePath()'
	touch $@

# The newest versions that fit together, for every platform; review and commit the result.
.PHONY: lock
lock:
	uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-header --no-annotate --upgrade \
		--output-file requirements.lock pyproject.toml
