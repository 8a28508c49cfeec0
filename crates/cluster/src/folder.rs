use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::Error;

/// Who a server runs as.
#[derive(Clone, Debug)]
pub(crate) enum RunAs {
    /// Whoever runs this.
    Self_,
    /// This is root, and the server is run by somebody with less power.
    Other { name: String, uid: u32, gid: u32 },
}

impl RunAs {
    /// PostgreSQL refuses to run as root.
    pub(crate) fn not_root() -> Result<Self, Error> {
        let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        if !is_root {
            return Ok(Self::Self_);
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        users.lines().find_map(|line| user(line, "postgres")).ok_or(Error::NobodyToRunAs)
    }

    pub(crate) fn command(&self, program: &Path) -> Command {
        match self {
            Self::Self_ => Command::new(program),
            Self::Other { name, .. } => {
                let mut command = Command::new("setpriv");
                command
                    .args([&format!("--reuid={name}"), &format!("--regid={name}"), "--init-groups", "--"])
                    .arg(program);
                command
            }
        }
    }
}

fn user(line: &str, wanted: &str) -> Option<RunAs> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| *name == wanted)?.to_owned();
    let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(RunAs::Other { name, uid, gid })
}

/// A temporary folder that belongs to whoever the server runs as.
pub(crate) fn make(prefix: &str, owner: &RunAs) -> Result<TempDir, Error> {
    let place = std::env::temp_dir();
    let failed = |source: io::Error| Error::File { path: PathBuf::from(prefix), source };
    let folder = tempfile::Builder::new()
        .prefix(prefix)
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(place)
        .map_err(failed)?;
    if let RunAs::Other { uid, gid, .. } = owner {
        chown(folder.path(), Some(*uid), Some(*gid)).map_err(failed)?;
    }
    Ok(folder)
}

/// Copies a file into a server's folder, for its eyes only.
pub(crate) fn give(from: &Path, to: &Path, owner: &RunAs) -> Result<(), Error> {
    let failed = |source: io::Error| Error::File { path: to.to_owned(), source };
    fs::copy(from, to).map_err(failed)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    match owner {
        RunAs::Other { uid, gid, .. } => chown(to, Some(*uid), Some(*gid)).map_err(failed),
        RunAs::Self_ => Ok(()),
    }
}
