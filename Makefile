# Everything here only calls cargo, or the program ipc-lab that cargo builds.

CARGO ?= cargo
LAB = $(CARGO) run --quiet --release --bin ipc-lab --

.PHONY: help build demo test lint copy-test bench soak docs ps clean-ipc pictures fuzz fuzz-keep

help: ## what can be made
	@echo "make demo              build all, play every pair, send a real file through each (FILE=… for another)"
	@echo "make run-pipe          play one pair: pipe, mq, shm, mmap, socket or rpc"
	@echo "make ps                every channel of this machine: who holds it, how full it is, whether they are dead"
	@echo "make clean-ipc         remove what killed processes have left behind, and nothing else"
	@echo "make test              all tests"
	@echo "make fuzz              invent bytes for every decoder, ten minutes for each (TIME=60, TARGET=pipe); fuzz-keep: keep what is new"
	@echo "make lint              formatting, clippy and rustdoc, without a warning"
	@echo "make bench             what an item costs by each mechanism: rates, latencies, CPU time, system calls"
	@echo "make soak              kill, stop and restart all pairs for ten minutes, and compare what was lost (TIME=1m)"
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

soak: build
	@$(LAB) soak $(if $(TIME),--time '$(TIME)')

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

# What invents inputs for the functions in crates/fuzz: libFuzzer, with the sanitizers of a compiler that is not
# stable. The stable one has them, too, and gives them out when it is asked so.
FUZZ_VERSION = 0.13.1
FUZZ = target/tools/cargo-fuzz-$(FUZZ_VERSION)
CARGO_FUZZ = RUSTC_BOOTSTRAP=1 $(FUZZ)/bin/cargo-fuzz fuzz
FUZZ_IN = --fuzz-dir crates/fuzz/fuzz --target-dir target/fuzz
CORPUS = crates/fuzz/fuzz/corpus
TARGET = item pipe socket rpc_request rpc_reply mq shm mmap
TIME = 600

# New inputs go to target/fuzz/corpus; what went wrong to crates/fuzz/fuzz/artifacts.
fuzz: $(FUZZ)/bin/cargo-fuzz
	@for target in $(TARGET); do \
	  mkdir -p target/fuzz/corpus/$$target && \
	  $(CARGO_FUZZ) run $(FUZZ_IN) $$target target/fuzz/corpus/$$target $(CORPUS)/$$target crates/fuzz/regressions -- \
	    -max_total_time=$(TIME) -max_len=1024 -timeout=10 -print_final_stats=1 || exit; \
	done

# Of what was found, whatever reaches code that the corpus does not reach.
fuzz-keep: $(FUZZ)/bin/cargo-fuzz
	@for target in $(TARGET); do \
	  $(CARGO_FUZZ) run $(FUZZ_IN) $$target $(CORPUS)/$$target target/fuzz/corpus/$$target -- \
	    -merge=1 -use_counters=0 || exit; \
	done

$(FUZZ)/bin/cargo-fuzz:
	@c++ --version >/dev/null || { echo "libFuzzer is C++: install g++ or clang"; exit 1; }
	$(CARGO) install cargo-fuzz --version $(FUZZ_VERSION) --locked --root $(FUZZ)
