//! The feed that the tests run on.

use std::{
    env,
    fs::File,
    io::{self, Write},
    path::PathBuf,
    sync::Once,
};

use tempfile::TempDir;

/// Names the file of the real feed.
const REAL_FEED: &str = "DIPTYCH_RETAIL_FEED";

/// A feed on disk; a made-up one goes away with this.
pub(crate) struct TestFeed {
    pub(crate) path: PathBuf,
    pub(crate) is_real: bool,
    _directory: Option<TempDir>,
}

/// The real feed if the environment names it, a made-up one otherwise; says which, once, also when all tests pass.
pub(crate) fn feed() -> TestFeed {
    static SAID: Once = Once::new();
    let path = env::var_os(REAL_FEED).map(PathBuf::from);
    SAID.call_once(|| {
        let which = match &path {
            Some(path) => format!("the real one, {}", path.display()),
            None => format!("made up, 2,000 invoices of seed 1, because {REAL_FEED} names no file"),
        };
        // Not through `println!`, which the test harness keeps to itself unless a test fails.
        writeln!(io::stderr(), "feed: {which}").expect("standard error can be written to");
    });
    match path {
        Some(path) => TestFeed { path, is_real: true, _directory: None },
        None => made_up(1, 2_000),
    }
}

/// A made-up feed.
pub(crate) fn made_up(seed: u64, invoices: u32) -> TestFeed {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = directory.path().join("feed.csv");
    let mut file = std::io::BufWriter::new(File::create(&path).expect("a file can be made in it"));
    shop::feed::generate(seed, invoices, &mut file).expect("the feed can be written");
    file.into_inner().expect("the feed can be written");
    TestFeed { path, is_real: false, _directory: Some(directory) }
}
