# Everything here is one line that can be typed by hand as well.
.PHONY: test check check-events check-tags check-python check-cluster check-clients check-page check-book check-docker package load deny reference bench-peers growth compare-precision ablation emulate-avx512 sample golden

test:            ## what the README calls its test command
	cargo test --workspace

check: deny      ## what CI gates: formatting, lints, documentation, dependencies, tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --workspace --no-deps
	cargo test --workspace

deny:            ## licences and sources of the dependencies (cargo install cargo-deny --locked)
	cargo deny check licenses bans sources

check-events:    ## what `train` logs, read by TensorBoard; installs it into target/
	cargo build --release
	tools/check_events.sh

check-tags:      ## what `tag` writes, read by mutagen, mediafile and libsndfile; installs them into target/
	cargo build --release
	tools/check_tags.sh

package:         ## the three crates as they would be published: none over 10 MB, compiled from their packages, the library also by itself
	tools/check_packages.sh

check-python:    ## the Python package: built as by `pip install .`, its tests, its types, and tools/test_weights.py and test_teacher.py; installs pytest, mypy, beets, scipy, scikit-learn and others into target/
	tools/check_python.sh

check-cluster:   ## check-python, and Ray (a node is killed), S3 and Spark on this machine; needs Java 17, installs 1 GB into target/
	tools/check_python.sh --cluster

check-clients:   ## the service asked by its real clients and by schemathesis; installs them into target/ (see docs/serving.md)
	cargo build --release
	tools/check_clients.sh

check-book:      ## the commands and programs in the pages of the book, run as they stand there; builds the wheel as check-python does
	cargo build --release
	tools/check_book.sh

load:            ## the service under load, beside FastAPI and transformers, on a machine that does nothing else (see docs/serving.md)
	cargo build --release
	tools/reference.sh load.py $(or $(CARGO_TARGET_DIR),target)/release/messymash

check-page:      ## the page of `serve`, driven in Debian's chromium; pictures in tools/page/screenshots (see docs/page.md)
	cargo build --release
	tools/check_page.sh

check-docker:    ## the Dockerfile's steps without Docker: a static program that serves from an empty root; compiles everything anew
	tools/check_docker.sh

reference:       ## live parity with transformers and PyTorch; installs 3 GB of packages into target/ (see docs/parity.md)
	cargo build --release
	tools/reference.sh
	tools/reference_wheel.sh

bench-peers:     ## speed beside OpenVINO, torch and others, on a machine that does nothing else (see docs/benchmarks.md)
	cargo build --release
	cargo build --release --example bench
	tools/reference.sh bench_peers.py

growth:          ## how time and memory grow, a table and docs/growth.svg
	cargo build --release
	cargo build --release --example bench
	tools/reference.sh measure_growth.py

compare-precision: ## the same answers in eight bits as in f32, on the sound files of DATA
	cargo build --release
	python3 tools/compare_precision.py $(DATA)

ablation:        ## what each part of the recipe is worth: make ablation DATA="DIR ..." [NOISE="DIR ..."] [SEEDS="1 2 3"] [OUT=DIR]
	cargo run --release --example ablation -- $(DATA:%=--data %) $(NOISE:%=--noise %) --seeds $(or $(SEEDS),1 2 3) --out $(or $(OUT),runs/ablation)

emulate-avx512:  ## the tests of the kernels on an emulated CPU with AVX-512 and VNNI (needs Debian packages, see its head)
	tools/emulate_avx512.sh

sample:          ## the free sound in samples/, made again (needs numpy and soundfile)
	python3 tools/make_samples.py

golden:          ## the golden files of the tests, made again (needs the packages of `make reference`, and ffmpeg)
	tools/reference.sh golden_features.py
	tools/reference.sh golden_model.py
	tools/reference.sh golden_pipeline.py
	tools/reference.sh golden_resample.py
	tools/golden_audio.sh
