# Everything here only calls cargo, or the program ipc-lab that cargo builds.

CARGO ?= cargo
LAB = $(CARGO) run --quiet --release --bin ipc-lab --

.PHONY: help build demo test lint copy-test bench docs ps clean-ipc pictures

help: ## what can be made
	@echo "make demo              build all, play every pair, send a real file through each (FILE=… for another)"
	@echo "make run-pipe          play one pair: pipe, mq, shm, mmap, socket or rpc"
	@echo "make ps                every channel of this machine: who holds it, how full it is, whether they are dead"
	@echo "make clean-ipc         remove what killed processes have left behind, and nothing else"
	@echo "make test              all tests"
	@echo "make lint              formatting, clippy and rustdoc, without a warning"
	@echo "make bench             what an item costs by each mechanism: rates, latencies, CPU time, system calls"
	@echo "make docs              the guide as a website in target/book, in English and Korean"
	@echo "make pictures          record the guide's time lines anew: who ran, who waited, which item crossed when"
	@echo "make copy-test         copy each mechanism out of this workspace as its README says, and run the copy"

build:
	$(CARGO) build --release --workspace

demo: build
	@$(LAB) demo $(if $(FILE),--file '$(FILE)')

run-%: build
	@$(LAB) play $*

ps clean-ipc:
	@$(LAB) $(@:-ipc=)

# Most of a test is waiting for what processes do: four at a time keep two cores busy.
test:
	$(CARGO) test --release --workspace --no-fail-fast -- --test-threads=4

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --document-private-items

copy-test: build
	@$(LAB) copy-test

bench: build
	@$(LAB) bench

pictures: build
	@$(LAB) record pipe --out docs/images/pipe-time.svg
	@$(LAB) record mq --out docs/images/message-queue-time.svg
	@$(LAB) record shm --out docs/images/shared-memory-time.svg
	@$(LAB) record mmap --out docs/images/mapped-file-time.svg
	@$(LAB) record socket --out docs/images/socket-time.svg
	@$(LAB) record rpc --out docs/images/rpc-time.svg

# What renders the guide is built once, below target/.
MDBOOK_VERSION = 0.5.4
MDBOOK = target/tools/mdbook-$(MDBOOK_VERSION)

docs: $(MDBOOK)/bin/mdbook
	@MDBOOK=$(MDBOOK)/bin/mdbook $(LAB) docs

$(MDBOOK)/bin/mdbook:
	$(CARGO) install mdbook --version $(MDBOOK_VERSION) --locked --root $(MDBOOK) --no-default-features --features search
