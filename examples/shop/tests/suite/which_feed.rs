//! The feed that the tests run on.

use std::{env, fs::File, path::PathBuf};

use tempfile::TempDir;

/// Names the file of the real feed.
const REAL_FEED: &str = "DIPTYCH_RETAIL_FEED";

/// A feed on disk; a made-up one goes away with this.
pub(crate) struct TestFeed {
    pub(crate) path: PathBuf,
    pub(crate) is_real: bool,
    _directory: Option<TempDir>,
}

/// The real feed if the environment names it, a made-up one otherwise; prints which.
pub(crate) fn feed() -> TestFeed {
    match env::var_os(REAL_FEED) {
        Some(path) => {
            println!("feed: the real one, {}", path.display());
            TestFeed { path: path.into(), is_real: true, _directory: None }
        }
        None => {
            println!("feed: made up, 2,000 invoices of seed 1, because {REAL_FEED} names no file");
            made_up(1, 2_000)
        }
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
