# Needs Python >= 3.11 and a package index; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
# All extras but `train`, which has a lock of its own: most never train.
# How long `make soak` lets a federation run.
SOAK_MINUTES ?= 60
LOCKED := demo pq pkcs11 aws vault nats amqp arrow

.PHONY: demo test check fmt bench soak lock venv

demo: venv            ## a Modbus plant, an attack, and its end with proof, on this machine
	$(BIN)/cronos demo

test: check           ## the gate: everything CI asks; real servers are started by the tests or skipped with a reason
	$(BIN)/pytest --numprocesses=auto --maxprocesses=4 --dist=loadscope

check: venv           ## format, lint, types twice, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

fmt: venv
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: venv           ## a file per promise
	set -e; for file in bench/bench_*.py; do PYTHONPATH=. $(BIN)/python $$file; done

soak: venv            ## property and fuzz tests, for long; then a federation under random kills (as root)
	$(BIN)/pytest tests/property tests/fuzz --hypothesis-profile=soak
	$(BIN)/python -m bench.soak_mesh $(SOAK_MINUTES)

lock: venv            ## resolve dependencies anew, with hashes for every platform
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" $(LOCKED:%=--extra %) --group dev --output-file requirements.lock pyproject.toml

venv: .venv/.ready

# The lock holds a hash for every file; the project itself is then laid on top without resolving anything.
.venv/.ready: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Cronos needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Run: make PYTHON=python3.11 (or newer)")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q src   # else each process of a node may compile it anew
	touch $@
