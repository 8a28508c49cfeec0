//! What is stored keeps its meaning.

#[test]
fn stored_shapes_and_folds_change_only_with_their_versions() {
    let domain = shop::registry().expect("the shop's declarations are right");
    testkit::lock::check(&domain, "tests/domain.lock.json", "tests/corpus.ndjson");
}
