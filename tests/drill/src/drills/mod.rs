mod kills;
mod promotion;
mod queue_outage;
mod reads_apart;
mod replace;
mod two_writers;

use std::time::Duration;

use crate::{Report, Stage, Trouble};

/// What may be drilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drill {
    /// The whole queue is suspended or killed for a while under load, wiped and started again.
    QueueOutage,
    /// Every process is killed in turn, and each database, and one and two of the queue's servers.
    Kills,
    /// Two Command Services and very many clients write to one aggregate, beside other people's transactions.
    TwoWriters,
    /// Gateways and Command Services are drained and replaced.
    Replace,
    /// A standby of the Command Database is promoted: one that has every commit, then one that lacks the last.
    Promotion,
    /// Reads at nearly their peak, and what commands feel of it.
    ReadsApart,
}

/// How long and how much.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a fault lasts, or a measurement.
    pub span: Duration,
    /// Commands a second.
    pub rate: u32,
    /// Clients at once, where their number is the point.
    pub clients: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { span: Duration::from_secs(60), rate: 200, clients: 1000 }
    }
}

impl Drill {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::QueueOutage, Self::Kills, Self::TwoWriters, Self::Replace, Self::Promotion, Self::ReadsApart];

    /// What it is called on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueOutage => "queue-outage",
            Self::Kills => "kills",
            Self::TwoWriters => "two-writers",
            Self::Replace => "replace",
            Self::Promotion => "promotion",
            Self::ReadsApart => "reads-apart",
        }
    }

    /// What it does, for people.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::QueueOutage => {
                "Stops all NATS servers under load, wipes and starts them: reads stay fresh, nothing is lost"
            }
            Self::Kills => {
                "Kills every process and every server in turn under load: what was acknowledged is there once"
            }
            Self::TwoWriters => {
                "A thousand clients and two Command Services on one account, beside foreign transactions"
            }
            Self::Replace => "Drains and replaces gateways and Command Services under load, without a failed request",
            Self::Promotion => {
                "Promotes a standby of the Command Database, one with every commit and one without the last"
            }
            Self::ReadsApart => "Reads at four fifths of their peak: what commands feel, and who is asked",
        }
    }

    /// Carries it out on a system that is not used for anything else, and may be the worse for it.
    ///
    /// # Errors
    /// When something could not be carried out; what was found to be wrong is in the report instead.
    pub fn run(self, stage: &mut Stage, options: Options) -> Result<Report, Trouble> {
        let mut report = Report::new(self.name());
        match self {
            Self::QueueOutage => queue_outage::run(stage, options, &mut report)?,
            Self::Kills => kills::run(stage, options, &mut report)?,
            Self::TwoWriters => two_writers::run(stage, options, &mut report)?,
            Self::Replace => replace::run(stage, options, &mut report)?,
            Self::Promotion => promotion::run(stage, options, &mut report)?,
            Self::ReadsApart => reads_apart::run(stage, options, &mut report)?,
        }
        Ok(report)
    }
}
