# Each target is a line or two that can be run by hand. CARGO_TARGET_DIR is shared by all clones of one user.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/devart/target
DEVART = $(CARGO_TARGET_DIR)/release/devart

.PHONY: up down demo test check fmt bench devart

# A working control plane, from nothing. `devart up --foreground` stays in front.
up: devart
	$(DEVART) up

down: devart
	$(DEVART) down

# A pull request becomes a task, an agent finishes it; another agent spends a budget to its end.
demo: devart
	$(DEVART) demo

# Installs what the tests need, then runs all of them.
test: devart
	$(DEVART) setup --tests
	cargo test --release --locked

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
devart:
	cargo build --release --locked --bin devart
