//! One small domain in several versions, each differing from the first in one thing.

use std::fs;

use model::{Aggregate, Change, Context, EventTypes, FoldError, Indexes, Keys, Projection, Recorded, Registry};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{Mode, run};

/// A jar and its coins. `STEP` is what `evolve` adds for a coin, `VERSION` that of the state, `OLD` whether version 1 of
/// the event is still read where version 2 is written.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Jar<const STEP: u32, const VERSION: u32, Event> {
    coins: u32,
    #[serde(skip)]
    #[schemars(skip)]
    event: std::marker::PhantomData<Event>,
}

#[derive(Deserialize, JsonSchema)]
enum Command {}

trait Stored: Serialize + for<'a> Deserialize<'a> + JsonSchema + Default + Send + Sync + 'static {
    fn types() -> EventTypes;
}

#[derive(Serialize, Deserialize, JsonSchema)]
enum Added {
    Added { coin: u32 },
}

/// As [`Added`], with a field more under the same version.
#[derive(Serialize, Deserialize, JsonSchema)]
enum Wider {
    Added {
        coin: u32,
        #[serde(default)]
        owner: Option<Owner>,
    },
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Owner {
    name: String,
}

/// As [`Added`], with a comment that no program reads.
#[derive(Serialize, Deserialize, JsonSchema)]
enum Explained {
    /// A coin fell.
    Added {
        /// Its value.
        coin: u32,
    },
}

/// As [`Wider`], under a new version.
#[derive(Serialize, Deserialize, JsonSchema)]
enum Raised {
    Added {
        coin: u32,
        #[serde(default)]
        owner: Option<Owner>,
    },
}

/// As [`Raised`], without an upcast from the first version.
#[derive(Serialize, Deserialize, JsonSchema)]
enum Forgetful {
    Added {
        coin: u32,
        #[serde(default)]
        owner: Option<Owner>,
    },
}

macro_rules! stored {
    ($($event:ident $types:expr;)*) => {
        $(
            impl Default for $event {
                fn default() -> Self {
                    serde_json::from_str(r#"{"Added":{"coin":1}}"#).expect("an event")
                }
            }

            impl Stored for $event {
                fn types() -> EventTypes {
                    $types
                }
            }
        )*
    };
}

stored! {
    Added EventTypes::new([("Added", "jar.added", 1)]);
    Wider EventTypes::new([("Added", "jar.added", 1)]);
    Explained EventTypes::new([("Added", "jar.added", 1)]);
    Raised EventTypes::new([("Added", "jar.added", 2)]).upcast("jar.added", 1, |value| value);
    Forgetful EventTypes::new([("Added", "jar.added", 2)]);
}

impl<const STEP: u32, const VERSION: u32, Event: Stored> Aggregate for Jar<STEP, VERSION, Event> {
    const NAME: &'static str = "jar";
    const STATE_VERSION: u32 = VERSION;
    type Command = Command;
    type Event = Event;
    type Refusal = std::convert::Infallible;

    fn events() -> EventTypes {
        Event::types()
    }

    fn decide(&self, command: Command, _: &Context) -> Result<Vec<Event>, Self::Refusal> {
        match command {}
    }

    fn evolve(&mut self, _: &Event) {
        self.coins += STEP;
    }
}

/// Counts coins by `STEP`, under `VERSION`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Total<const STEP: u32, const VERSION: u32> {
    coins: u32,
}

impl<const STEP: u32, const VERSION: u32> Projection for Total<STEP, VERSION> {
    const NAME: &'static str = "total";
    const VERSION: u32 = VERSION;
    type Key = String;

    fn keys(event: &Recorded) -> Result<Keys<String>, FoldError> {
        Ok(Keys::one(event.id().to_owned()))
    }

    fn fold(_: &String, row: Option<Self>, _: &Recorded) -> Result<Change<Self>, FoldError> {
        Ok(Change::Put(Self { coins: row.map_or(0, |row| row.coins) + STEP }))
    }

    fn indexes() -> Indexes {
        Indexes::new().integer("coins")
    }
}

/// As [`Total`], without its index.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Unsorted {
    coins: u32,
}

impl Projection for Unsorted {
    const NAME: &'static str = "total";
    const VERSION: u32 = 1;
    type Key = String;

    fn keys(event: &Recorded) -> Result<Keys<String>, FoldError> {
        Ok(Keys::one(event.id().to_owned()))
    }

    fn fold(_: &String, row: Option<Self>, _: &Recorded) -> Result<Change<Self>, FoldError> {
        Ok(Change::Put(Self { coins: row.map_or(0, |row| row.coins) + 1 }))
    }
}

fn domain<A: Aggregate, P: Projection>() -> Registry {
    Registry::new().aggregate::<A>().and_then(Registry::projection::<P>).expect("the declarations are good")
}

fn first_domain() -> Registry {
    domain::<Jar<1, 1, Added>, Total<1, 1>>()
}

/// A folder with a corpus of two events, and a lock file that the first domain wrote.
struct Files {
    folder: TempDir,
}

impl Files {
    fn locked() -> Self {
        let files = Self::with_corpus(&[line(1), line(1)]);
        files.run(&first_domain(), Mode::Update).expect("a first lock file is written");
        files
    }

    fn with_corpus(lines: &[String]) -> Self {
        let files = Self { folder: TempDir::new().expect("a temporary folder") };
        files.set_corpus(lines);
        files
    }

    fn set_corpus(&self, lines: &[String]) {
        fs::write(self.folder.path().join("corpus.ndjson"), lines.join("\n")).expect("the corpus is written");
    }

    fn run(&self, domain: &Registry, mode: Mode) -> Result<(), String> {
        run(domain, &self.folder.path().join("lock.json"), &self.folder.path().join("corpus.ndjson"), mode)
    }

    fn lock(&self) -> String {
        fs::read_to_string(self.folder.path().join("lock.json")).unwrap_or_default()
    }

    /// The change fails in either mode with these words, and the lock file stays.
    fn refuses(&self, domain: &Registry, words: &[&str]) {
        let before = self.lock();
        for mode in [Mode::Check, Mode::Update] {
            let reason = self.run(domain, mode).expect_err("a change under the same version");
            words.iter().for_each(|word| assert!(reason.contains(word), "{word:?} in {reason:?}"));
        }
        assert_eq!(self.lock(), before);
    }

    /// The change fails until the lock file is updated, and passes from then on.
    fn asks_for_update(&self, domain: &Registry) {
        let reason = self.run(domain, Mode::Check).expect_err("the lock file does not know it yet");
        assert!(reason.contains("DIPTYCH_UPDATE_LOCK=1"), "{reason:?}");
        self.run(domain, Mode::Update).expect("it is written");
        self.run(domain, Mode::Check).expect("it is known now");
    }
}

fn line(version: u32) -> String {
    format!(r#"{{"aggregate":"jar","id":"j-1","type":"jar.added","version":{version},"payload":{{"coin":5}}}}"#)
}

#[test]
fn an_unchanged_domain_passes() {
    Files::locked().run(&first_domain(), Mode::Check).expect("nothing has changed");
}

#[test]
fn a_missing_lock_file_is_asked_for() {
    Files::with_corpus(&[line(1)]).asks_for_update(&first_domain());
}

#[test]
fn an_update_without_a_change_leaves_the_file_as_it_is() {
    let files = Files::locked();
    let before = files.lock();
    files.run(&first_domain(), Mode::Update).expect("nothing has changed");
    assert_eq!(files.lock(), before);
}

#[test]
fn a_changed_fold_needs_a_new_version() {
    let files = Files::locked();
    files.refuses(&domain::<Jar<1, 1, Added>, Total<2, 1>>(), &["projection total, VERSION 1", "folded"]);
    files.asks_for_update(&domain::<Jar<1, 1, Added>, Total<2, 2>>());
}

#[test]
fn a_changed_evolution_needs_a_new_state_version() {
    let files = Files::locked();
    files.refuses(&domain::<Jar<2, 1, Added>, Total<1, 1>>(), &["aggregate jar, STATE_VERSION 1", "evolve"]);
    files.asks_for_update(&domain::<Jar<2, 2, Added>, Total<1, 1>>());
}

#[test]
fn a_changed_index_needs_a_new_version() {
    Files::locked().refuses(&domain::<Jar<1, 1, Added>, Unsorted>(), &["projection total", "its indexes"]);
}

#[test]
fn a_version_never_goes_back() {
    let files = Files::with_corpus(&[line(1)]);
    files.run(&domain::<Jar<1, 2, Added>, Total<1, 2>>(), Mode::Update).expect("a first lock file is written");
    files.refuses(
        &first_domain(),
        &["STATE_VERSION of aggregate jar went from 2 back to 1", "VERSION of projection total"],
    );
}

#[test]
fn a_stored_event_never_changes_its_shape() {
    Files::locked()
        .refuses(&domain::<Jar<1, 1, Wider>, Total<1, 1>>(), &["the shape of event jar.added.v1 has changed"]);
}

#[test]
fn an_event_gains_versions_and_the_older_ones_stay_locked() {
    let files = Files::locked();
    let raised = domain::<Jar<1, 1, Raised>, Total<1, 1>>();
    let reason = files.run(&raised, Mode::Update).expect_err("the corpus has no event of the new version");
    assert!(reason.contains("jar.added.v2"), "{reason:?}");

    files.set_corpus(&[line(1), line(1), line(2)]);
    files.asks_for_update(&raised);
    assert!(files.lock().contains("jar.added.v1"), "an older version is still locked");
    assert!(files.lock().contains("jar.added.v2"));
    assert!(files.lock().contains("Owner"), "with the definitions that its shape uses");
}

#[test]
fn an_event_that_can_no_longer_be_read_is_missed() {
    let files = Files::locked();
    files.set_corpus(&[line(1), line(1), line(2)]);
    files.refuses(&domain::<Jar<1, 1, Forgetful>, Total<1, 1>>(), &["jar.added.v1"]);
}

#[test]
fn comments_are_no_shape() {
    let explained = domain::<Jar<1, 1, Explained>, Total<1, 1>>();
    Files::locked().run(&explained, Mode::Check).expect("only comments differ");
}

#[test]
fn events_of_the_corpus_are_added_at_its_end_only() {
    let files = Files::locked();
    files.set_corpus(&[line(1)]);
    files.refuses(&first_domain(), &["the first 2 events of the corpus are locked"]);
    files.set_corpus(&[line(1), line(1), line(1)]);
    files.asks_for_update(&first_domain());
}

#[test]
fn a_longer_corpus_hides_no_changed_fold() {
    let files = Files::locked();
    files.set_corpus(&[line(1), line(1), line(1)]);
    files.refuses(&domain::<Jar<1, 1, Added>, Total<2, 1>>(), &["projection total, VERSION 1"]);
}

#[test]
fn every_event_type_occurs_in_the_corpus() {
    let reason = Files::with_corpus(&[]).run(&first_domain(), Mode::Update).expect_err("an empty corpus");
    assert!(reason.contains("no event of type jar.added.v1"), "{reason:?}");
}

#[test]
fn a_corpus_that_is_no_json_is_refused_with_its_line() {
    let files = Files::with_corpus(&[line(1), "{".to_owned()]);
    let reason = files.run(&first_domain(), Mode::Update).expect_err("half a line");
    assert!(reason.contains("corpus.ndjson: line 2"), "{reason:?}");
}
