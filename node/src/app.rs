use std::process::ExitCode;

use clap::{ArgMatches, Command};
use model::{Aggregate, Projection, Registry, RegistryError};

use crate::cli;

/// What runs an application's own subcommand.
pub type Handler = fn(&ArgMatches) -> ExitCode;

/// An application: its domain, and the command line around it.
///
/// ```no_run
/// # use node::App;
/// # fn app<Order: model::Aggregate, OrderSummary: model::Projection>() -> std::process::ExitCode {
/// App::new("shop").aggregate::<Order>().projection::<OrderSummary>().run()
/// # }
/// ```
#[must_use = "an application does nothing until it runs"]
pub struct App {
    pub(crate) name: &'static str,
    pub(crate) registry: Result<Registry, RegistryError>,
    pub(crate) subcommands: Vec<(Command, Handler)>,
    pub(crate) examples: Vec<&'static str>,
}

impl App {
    /// `name` is that of the binary and of the data: a directory of one application is refused by another.
    pub fn new(name: &'static str) -> Self {
        Self { name, registry: Ok(Registry::new()), subcommands: Vec::new(), examples: Vec::new() }
    }

    /// Adds an aggregate. A wrong declaration is reported when the application runs.
    pub fn aggregate<A: Aggregate>(mut self) -> Self {
        self.registry = self.registry.and_then(Registry::aggregate::<A>);
        self
    }

    /// Adds a projection. A wrong declaration is reported when the application runs.
    pub fn projection<P: Projection>(mut self) -> Self {
        self.registry = self.registry.and_then(Registry::projection::<P>);
        self
    }

    /// Adds a verb of the application's own to the command line.
    pub fn subcommand(mut self, command: Command, run: Handler) -> Self {
        self.subcommands.push((command, run));
        self
    }

    /// A line that `dev` prints for people to paste. `$API` in it becomes the public URL, and `$NEXT` a number that is one
    /// greater than that of the log's events, so that an id with it is free at each start.
    pub fn example(mut self, line: &'static str) -> Self {
        self.examples.push(line);
        self
    }

    /// Everything declared so far.
    ///
    /// # Errors
    /// [`RegistryError`] says what to change.
    pub fn registry(self) -> Result<Registry, RegistryError> {
        self.registry
    }

    /// Reads the command line, does what it says, and returns the process's exit code: 0 done, 1 failed, 2 wrong usage or
    /// configuration, 3 `verify` found a violation, 4 the system is not reachable, 130 interrupted.
    pub fn run(self) -> ExitCode {
        cli::run(self)
    }
}
