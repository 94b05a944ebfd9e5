# Troupe: `make run` starts the studio, `make test` runs every check. See README.md.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
export PATH := $(CURDIR)/.tools/node/bin:$(CURDIR)/.tools/bin:$(HOME)/.cargo/bin:$(PATH)

DEMO := demo-out
DEMO_CHARACTER := Marzipan
DEMO_STEPS :=
TROUPE := target/release/troupe

.PHONY: help run demo cast test test-rust test-ui test-window test-kills bench bench-window check-cuda check-metal build cli ui package setup setup-test clean

help:
	@echo 'make run           install what is missing, build, start the studio'
	@echo 'make demo          teach a character and chat with it on the command line'
	@echo 'make cast          teach the characters that ship with what they learned; takes half an hour or more'
	@echo 'make test          everything that CI runs'
	@echo 'make cli           build only the command line ($(TROUPE)); needs no WebKit'
	@echo 'make test-kills    a hundred kills of a run; takes minutes, not part of make test'
	@echo 'make bench         speed and memory of mini; wants a quiet machine'
	@echo 'make bench-window  how quick and quiet the window is; wants a quiet machine'
	@echo 'make check-cuda    compile the CUDA build; needs no GPU'
	@echo 'make check-metal   compile the Metal build of the libraries; needs no Mac'
	@echo 'make package       build .deb and .rpm packages'
	@echo 'make test-rust | test-ui | test-window    parts of make test'

run:
	@.ci/display
	@.ci/setup studio
	@$(MAKE) --no-print-directory build
	target/release/troupe-studio

build: ui
	cargo build --release --locked -p troupe-cli -p troupe-studio

cli:
	@.ci/setup cli
	cargo build --release --locked -p troupe-cli

ui: ui/node_modules/.installed
	npm --prefix ui run build

ui/node_modules/.installed: ui/package-lock.json
	npm --prefix ui ci
	@touch $@

demo: cli
	@.ci/demo $(TROUPE) $(DEMO) $(DEMO_CHARACTER) $(DEMO_STEPS)

# After a change of mini's weights: an adapter fits the base that it was taught on.
cast: cli
	@.ci/cast $(TROUPE) cast-out

test:
	@.ci/setup test
	@.ci/test

test-rust:
	@.ci/setup cli
	@.ci/test rust

test-ui:
	@.ci/setup ui
	@.ci/test ui

test-window:
	@.ci/setup test
	@.ci/test window

# A hundred SIGKILLs of a run, each followed by going on; the weights must be those of one left alone.
test-kills:
	@.ci/setup cli
	TROUPE_KILLS=100 cargo test --locked -p troupe-tests --test journeys kills -- --nocapture

# Speed of mini: reading, decoding, one flow step. Numbers mean something on a quiet machine only.
bench:
	@.ci/setup cli
	cargo bench --locked -p troupe-model --bench mini

# Start, long chat, large gallery, idle load. `TROUPE_STUDIO` names another build of the window.
bench-window:
	@.ci/setup test
	@.ci/test bench-window

# The CUDA build compiles; what it computes can be tried only where there is a GPU.
check-cuda:
	@.ci/setup cli
	@.ci/check-cuda

# The same for Apple's GPUs, as far as it goes without a C compiler for macOS.
check-metal:
	@.ci/setup cli
	@.ci/check-metal

package: ui
	@.ci/setup studio
	cargo build --release --locked -p troupe-cli
	ui/node_modules/.bin/tauri build --bundles deb,rpm

setup:
	@.ci/setup studio

setup-test:
	@.ci/setup test

clean:
	cargo clean
	rm -rf ui/dist ui/node_modules .tools $(DEMO) cast-out
