# Each target is a line or two that can be run by hand. CARGO_TARGET_DIR is shared by all clones of one user.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/devart/target
DEVART = $(CARGO_TARGET_DIR)/release/devart

.PHONY: up down demo test test-assertions extension-sql check fmt bench devart

# A working control plane, from nothing. `devart up --foreground` stays in front.
up: devart
	$(DEVART) up

down: devart
	$(DEVART) down

# A pull request becomes a task, an agent finishes it; another agent spends a budget to its end.
demo: devart
	$(DEVART) demo

# Installs what the tests need, then runs all of them. DEVART_PG=17 or DEVART_PG=/path/of/pg_config
# chooses another installed PostgreSQL than the newest of Debian's packages.
test: devart
	$(DEVART) setup --tests
	cargo test --release --locked

# The same with a PostgreSQL that checks itself while it runs; builds it at the first time.
test-assertions: devart
	$(DEVART) with-assertions $(MAKE) test

# Writes pg_devart/sql/ from the library, after a change of a native function's signature.
extension-sql: devart
	$(DEVART) setup
	cargo run --release --locked --bin devart-extension-sql
	$(DEVART) setup

# Installs what the checks need, then runs all of them. Some by name: tests/check/run NAME...
check: devart
	$(DEVART) setup --tests
	tests/check/run

fmt:
	cargo fmt --all
	test ! -x .devart/venv/bin/ruff || .devart/venv/bin/ruff format agents tests

# Speed as ratios against bare SQL in the same run.
bench: devart
	$(DEVART) setup
	cargo run --release --locked --bin devart-bench

# All default members are selected, as in the builds that follow, so that dependencies compile once.
# The command then compiles the rest, with the extension, once PostgreSQL's headers are there.
devart:
	cargo build --release --locked --bin devart
