# Bucium: `make demo` to see it, `make test` to believe it. Each does the set-up it needs; none needs root.
VENV ?= .venv
RUN = $(VENV)/bin/python
CORE = $(wildcard cython_ext/*.pyx cython_ext/*.pxd) setup.py pyproject.toml scripts/setup
FLEET ?= .venv-fleet
PARTS = cython_ext lanes firmware_bridge edge controller bucium

$(FLEET)/.done: pyproject.toml scripts/setup
	@VENV=$(FLEET) sh scripts/setup fleet
	@touch $@

.PHONY: help setup demo docs simulate simulate-crashes faults faults-long test check bench fuzz crashes soak test-fleet reconnect sanitize aarch64 hostile clean
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.demo ## the virtual environment and the compiled core
$(VENV)/.demo $(VENV)/.test $(VENV)/.dev: $(CORE)
	@VENV=$(VENV) sh scripts/setup $(subst .,,$(notdir $@))
	@touch $@

demo: $(VENV)/.demo ## a flood and a fire, from real Modbus registers to a siren and a CAP message (DEMO="--speed 2 --headless")
	@$(VENV)/bin/bucium demo $(DEMO)

test: $(VENV)/.test ## all tests that this machine can run (TEST="-k name" for some)
	@$(RUN) -m pytest -n 2 $(TEST)

check: $(VENV)/.dev $(FLEET)/.done ## lint, types, import contracts, stubs of the compiled core
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports
	PATH=$(VENV)/bin:$$PATH $(VENV)/bin/cython-lint cython_ext
	$(RUN) -m mypy.stubtest cython_ext --ignore-missing-stub --concise
	$(FLEET)/bin/python tests/fleet/walls.py
	cd deploy/ansible && PATH=$(abspath $(FLEET))/bin:$$PATH ansible-lint --offline --profile production -q

bench: $(VENV)/.test ## the measured promise: core and wire, side by side with others
	@$(VENV)/bin/bucium bench core
	@$(VENV)/bin/bucium bench wire

simulate: $(VENV)/.test ## the real programs in virtual time, floods and faults by seed (SEEDS=1..1000 MINUTES=10); docs/simulator.md
	@$(RUN) -m tests.simulation --seeds $(or $(SEEDS),1..1000) --minutes $(or $(MINUTES),10) --jobs $(or $(JOBS),2) --twice $(or $(TWICE),5)

simulate-crashes: $(VENV)/.test ## the same while sirens sound: 1,000 crashes of all the rest (SEEDS=1..70 MINUTES=12)
	@$(RUN) -m tests.simulation --kind crashes --seeds $(or $(SEEDS),1..70) --minutes $(or $(MINUTES),12) --jobs $(or $(JOBS),2)

faults: $(VENV)/.test ## breaks real processes (as root: their disks too), 5 minutes; ends with "runs N, lost 0, invented 0, …"
	@$(RUN) -m tests.faults --seed $(or $(SEED),1)

faults-long: $(VENV)/.test ## the same 100 times over, an hour; the figures of docs/faults.md
	@$(RUN) -m tests.faults --long --seed $(or $(SEED),1) --table docs/faults.md

test-fleet: $(VENV)/.test $(FLEET)/.done ## the playbooks on real Debian hosts with systemd, in namespaces; as root, 15 minutes
	@$(RUN) -m pytest -x -s -p no:cacheprovider tests/fleet/real_hosts.py $(wildcard tests/fleet/*_on_hosts.py)

reconnect: $(VENV)/.test $(FLEET)/.done ## the broker is restarted under 1,000 nodes with certificates (NODES=1000); two minutes
	@$(RUN) -m tests.fleet.reconnect --nodes $(or $(NODES),1000)

docs: $(VENV)/.test ## the generated tables of docs/, brought up to date
	@$(RUN) -m tests.kit.docpages

fuzz: $(VENV)/.test ## long random campaigns against the core and the codecs (CASES=10000000)
	@$(RUN) -m tests.kit.campaign --cases $(or $(CASES),10000000)

hostile: $(VENV)/.test ## 100,000 hostile siren orders; must end with "activations 0"
	@$(RUN) -m tests.kit.hostile --orders $(or $(ORDERS),100000)

crashes: $(VENV)/.test ## 1,000 seeded crashes of everything beside a sounding siren; must end with "late 0"
	@$(RUN) -m tests.kit.crashes --seeds $(or $(SEEDS),1000)

soak: $(VENV)/.demo ## the demo's town for an hour (SECONDS=3600)
	@$(VENV)/bin/bucium demo --headless --seconds $(or $(SECONDS),3600)

sanitize: $(VENV)/.test ## the core's tests under AddressSanitizer and UBSan, in a copy of the tree
	@VENV=$(VENV) sh scripts/sanitize

aarch64: $(VENV)/.test ## the core's bits on aarch64 (cross-compiled, under QEMU) against this machine's
	@VENV=$(VENV) sh scripts/aarch64 $(or $(CASES),2000)

clean: ## remove everything that was built
	rm -rf build dist *.egg-info .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f cython_ext/*.so cython_ext/*.c
