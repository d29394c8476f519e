# The commands that one types most. `just --list` shows them; each line can as well be typed as it stands.

# Everything that must hold before a change goes in; writes nothing but target/
verify:
    .ci/run

# Format, and do what clippy can do by itself
fix:
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
    cargo fmt --all

# All tests, or those of one crate: just test -p cluster
test *arguments='--workspace':
    cargo test --locked {{ arguments }}

# Whole clusters in virtual time: just simulate --seeds 0..1000
simulate *arguments:
    cargo run --release --locked -p horolog -- verify simulate {{ arguments }}

# Each rule broken on purpose, and what notices it: just mutants --only NoEndedMarker --shrink
mutants *arguments:
    cargo run --release --locked -p integration --features mutants --example mutants -- {{ arguments }}

# Throughput and latency: just bench transfer --dev
bench *arguments:
    cargo run --release --locked -p horolog -- bench {{ arguments }}
