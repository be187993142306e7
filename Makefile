# `make` sets up and runs the study, `make test` sets up and runs the tests. All of ours is in .venv.
# Options of snakemake go into ARGS:  make ARGS="--config preset=smoke"
# PyTorch without CUDA, 1 GB instead of 6 (see `uv pip install --torch-backend`):  make TORCH_BACKEND=cpu

# Unset what points pip, uv, conda or Python at other environments. Keep what is about package sources, downloads, caches
# and Python's output.
FOREIGN := PIP_% UV_% PYTHON% VIRTUAL_ENV% \
	CONDA_PREFIX% CONDA_DEFAULT_ENV CONDA_PROMPT_MODIFIER CONDA_PYTHON_EXE CONDA_SHLVL
KEPT := PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_NO_INDEX PIP_TRUSTED_HOST PIP_CERT PIP_CLIENT_CERT \
	PIP_PROXY PIP_TIMEOUT PIP_DEFAULT_TIMEOUT PIP_RETRIES PIP_RESUME_RETRIES PIP_CACHE_DIR PIP_NO_CACHE_DIR \
	PIP_CONFIG_FILE PIP_KEYRING_PROVIDER PIP_NO_INPUT PIP_USE_FEATURE PIP_USE_DEPRECATED \
	UV_INDEX% UV_DEFAULT_INDEX UV_EXTRA_INDEX_URL UV_FIND_LINKS UV_NO_INDEX UV_OFFLINE UV_INSECURE_HOST UV_SYSTEM_CERTS \
	UV_NATIVE_TLS UV_KEYRING_PROVIDER UV_CREDENTIALS_DIR UV_API_KEY UV_AUTH_TOKEN UV_%_ENDPOINT_URL UV_HTTP_% \
	UV_REQUEST_TIMEOUT UV_CONCURRENT_% UV_CACHE_DIR UV_NO_CACHE UV_LINK_MODE UV_CONFIG_FILE UV_NO_CONFIG \
	UV_NO_SYSTEM_CONFIG PYTHON_KEYRING_BACKEND \
	PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX PYTHONUNBUFFERED PYTHONUTF8 PYTHONIOENCODING PYTHONCOERCECLOCALE
unexport $(filter-out $(KEPT),$(filter $(FOREIGN),$(.VARIABLES)))

USERS_PATH := $(PATH)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# A thread count is part of a record's provenance; --threads sets it, not what the shell happens to say.
unexport OMP_NUM_THREADS MKL_NUM_THREADS
UV_VERSION := 0.13.8
CHROMIUM_VERSION := 153.0.0
# A new set-up takes the last TORCH_BACKEND again; `make TORCH_BACKEND=` goes back to the default.
TORCH_BACKEND := $(or $(TORCH_BACKEND),$(shell cat .venv/torch-backend 2>/dev/null))
# Always into .venv. --python overrides `python` and `system` of a uv.toml, but not `target` and `prefix`: where those are
# set, --no-config leaves the file out.
UV_INSTALL = .venv/bin/uv pip install --quiet --python .venv/bin/python --constraints requirements.lock \
	$(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) \
	$$(.venv/bin/uv pip install --show-settings pip 2>/dev/null | grep -qE '^ +(target|prefix): Some' && echo --no-config)
# Snakemake's own report of what ran, with parameters, code and run times; after a dry run there is nothing to report.
ANNEX = $(if $(filter -n --dry-run --dryrun,$(ARGS)),,--report results/provenance.html --report-after-run)

.PHONY: study test torture demo space verify readme benchmark benchmark-scale simulations setup
study: setup
	.venv/bin/snakemake --cores all $(ANNEX) $(ARGS)

test: setup .venv/browser/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/snakefmt --check .
	.venv/bin/snakemake --lint
	.venv/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# What may go wrong around a study, at full counts: damaged files, full disks, hostile input, a cluster that fails.
torture: setup
	.venv/bin/python -m pytest tests/torture tests/slurm tests/test_scale.py --thorough $(ARGS)

# A page on which the published models read digits, shuffled or drawn: http://127.0.0.1:7860
demo: .venv/demo
	.venv/bin/snakemake --quiet --cores 1 fetch
	.venv/bin/python -m pixelpatch demo --weights results/full/weights --data data/mnist $(ARGS)

# What a host of Gradio apps expects, in build/space: its three files, the package and the weights.
space:
	rm -rf build/space
	mkdir -p build
	cp -r space build/space
	cp -r src/pixelpatch results/full/weights build/space/
	find build/space -name __pycache__ -prune -exec rm -rf {} +

# Does one seed of each cheap system land on its published record? Bit for bit on the same kind of machine.
verify: setup
	.venv/bin/snakemake --quiet --cores 1 fetch results/full/study.json --config preset=full seeds=recorded
	.venv/bin/python -m pixelpatch verify results/full/study.json --data data/mnist $(ARGS)

# The tables of README.md, from the published records (those of results/full that are committed) and benchmark.
readme: setup
	.venv/bin/snakemake --cores all --config preset=full seeds=recorded
	.venv/bin/python -m pixelpatch readme README.md verdicts=results/full/tables/claims.md \
		speeds=results/benchmark/training.md scale=results/benchmark/scale.md

# Each system beside what a user would run instead: results/benchmark/training.csv and .png, in a quarter of an hour.
# Nothing else should run on the machine. On a GPU:  make benchmark ARGS="--device cuda"
benchmark: setup
	$(UV_INSTALL) --editable ".[benchmark]"
	.venv/bin/snakemake --quiet --cores 1 fetch
	.venv/bin/python benchmarks/training.py --data data/mnist --output results/benchmark $(ARGS)

# Planning and analysing 1,000, 3,000 and 10,000 runs, nothing trained: results/benchmark/scale.csv, in some minutes.
benchmark-scale: setup
	.venv/bin/snakemake --quiet --cores 1 fetch
	.venv/bin/python benchmarks/scale.py --data data/mnist --output results/benchmark $(ARGS)

# How often the rule of verdicts errs, on simulated runs: results/benchmark/verdicts.csv and .md, in five minutes.
simulations: setup
	.venv/bin/python benchmarks/verdict_simulations.py --output results/benchmark $(ARGS)

setup: .venv/ready

# After a checkout is copied or moved, its .venv still runs the original's code, so it is made again.
WANTED := $(strip $(CURDIR) $(TORCH_BACKEND))
FOUND := $(strip $(shell test -x .venv/bin/python && test -x .venv/bin/snakemake && \
	cat .venv/ready .venv/torch-backend 2>/dev/null))
.PHONY: anew
.venv/ready: PATH := $(USERS_PATH)
.venv/ready: requirements.lock pyproject.toml $(if $(subst |$(WANTED)|,,|$(FOUND)|),anew)
	rm -f $@
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python3 is older than 3.11: install Python 3.11 or newer")'
	python3 -m venv --clear .venv
	echo '$(TORCH_BACKEND)' >.venv/torch-backend
	.venv/bin/python -m pip --python= install --quiet --disable-pip-version-check \
		--no-user --target= --prefix="$$PWD/.venv" --root=/ uv==$(UV_VERSION)
	$(UV_INSTALL) --editable ".[study,test]"
	@.venv/bin/snakemake --version >/dev/null 2>&1 && .venv/bin/python -c 'import pixelpatch' || \
		{ echo 'uv did not install snakemake or pixelpatch into .venv. A uv.toml may be the cause; to ignore it: UV_NO_CONFIG=1 make' >&2; exit 1; }
	pwd -P >$@

.venv/demo: .venv/ready
	$(UV_INSTALL) --editable ".[demo]"
	touch $@

# The browser that the tests look at pages with, and the libraries that a machine without a screen may lack.
.venv/browser/ready: .venv/demo
	$(UV_INSTALL) --editable ".[browser]"
	npm install --silent --no-audit --no-fund --location=project --prefix .venv/browser \
		@sparticuz/chromium@$(CHROMIUM_VERSION)
	cd .venv/browser && TMPDIR="$$PWD" AWS_EXECUTION_ENV=AWS_Lambda_nodejs22.x \
		node --input-type=module -e 'import chromium from "@sparticuz/chromium"; await chromium.executablePath()'
	touch $@

# The newest versions that fit together, for every platform; review and commit the result.
.PHONY: lock
lock:
	.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-header --no-annotate --upgrade \
		--output-file requirements.lock pyproject.toml
