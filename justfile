# The everyday commands. Each is one line that works without `just` as well.

# lists the commands
default:
    @just --list

# everything that has to pass before a change is done
ci:
    .ci/run

# all tests
test *arguments:
    cargo xtask test {{arguments}}

# the shop, all boxes in one process
dev *arguments:
    cargo run --release -p shop -- dev {{arguments}}

# formats every file
fmt:
    cargo fmt --all

# clippy, as strict as CI
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# the project's own checks
tidy:
    cargo xtask tidy

# what lies in deploy/
deploy *arguments:
    cargo xtask deploy {{arguments}}

# a whole system of processes under load and faults, such as `just drill queue-outage`
drill *arguments:
    cargo xtask drill {{arguments}}

# the documentation of all crates
doc:
    cargo doc --no-deps --workspace --open

# the benchmarks
bench *arguments:
    cargo bench --workspace {{arguments}}

# dependencies: bans, licences, sources
deny:
    cargo deny check bans licenses sources
