use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::Error;

/// A server's program, as a test needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Makes a PostgreSQL data folder.
    Initdb,
    /// PostgreSQL itself.
    Postgres,
    /// Copies a running PostgreSQL.
    PgBasebackup,
    /// Tells a PostgreSQL what to do.
    PgCtl,
    /// NATS with JetStream.
    Nats,
    /// A load balancer of others.
    Haproxy,
}

impl Program {
    /// Debian's package that has it.
    #[must_use]
    pub fn package(self) -> &'static str {
        match self {
            Self::Initdb | Self::Postgres | Self::PgBasebackup | Self::PgCtl => "postgresql",
            Self::Nats => "nats-server",
            Self::Haproxy => "haproxy",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Initdb => "initdb",
            Self::Postgres => "postgres",
            Self::PgBasebackup => "pg_basebackup",
            Self::PgCtl => "pg_ctl",
            Self::Nats => "nats-server",
            Self::Haproxy => "haproxy",
        }
    }

    /// Where it is: in the newest of PostgreSQL's folders on Debian, which are on nobody's `PATH`, or on the `PATH`.
    ///
    /// # Errors
    /// [`Error::NotInstalled`].
    pub fn find(self) -> Result<PathBuf, Error> {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = debian().into_iter().chain(env::split_paths(&path)).chain([PathBuf::from("/usr/sbin")]);
        let found = folders.map(|folder| folder.join(self.name())).find(|program| program.is_file());
        found.ok_or(Error::NotInstalled { program: self.name(), package: self.package() })
    }
}

/// Debian keeps the programs of each major version in a folder of its own. The newest first.
fn debian() -> Vec<PathBuf> {
    let Ok(versions) = fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            Some((version, path.join("bin")))
        })
        .collect();
    versions.sort_unstable_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, bin)| bin).collect()
}

/// Runs a program to its end.
pub(crate) fn run(program: &Path, command: &mut Command) -> Result<(), Error> {
    let output = command.output().map_err(|source| Error::Run { program: program.to_owned(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr });
    Err(Error::Failed { program: program.to_owned(), said: said.trim().to_owned() })
}
