use std::{
    error::Error as _,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Arg, ArgMatches, Command, value_parser};
use flate2::{Compression, write::GzEncoder};

use super::{Error, INVOICES_MAX, generate};

/// The subcommand `feed`, which [`run`] handles.
#[must_use]
pub fn command() -> Command {
    Command::new("feed")
        .about("Writes a made-up feed with all the dirt of the real one")
        .arg(
            Arg::new("seed")
                .long("seed")
                .value_name("N")
                .value_parser(value_parser!(u64))
                .default_value("1")
                .help("Equal seeds make equal feeds"),
        )
        .arg(
            Arg::new("invoices")
                .long("invoices")
                .value_name("M")
                .value_parser(value_parser!(u32).range(1..=i64::from(INVOICES_MAX)))
                .default_value("1000")
                .help("How many invoices; a few more if these could not hold every kind of dirt"),
        )
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Where to, compressed if the name ends in .gz [default: standard output]"),
        )
}

/// Does what the arguments of [`command`] ask for.
#[must_use]
pub fn run(arguments: &ArgMatches) -> ExitCode {
    let seed = arguments.get_one("seed").copied().unwrap_or(1);
    let invoices = arguments.get_one("invoices").copied().unwrap_or(1000);
    let written = match arguments.get_one::<PathBuf>("out") {
        Some(path) => to_file(seed, invoices, path),
        None => to_standard_output(seed, invoices),
    };
    let Err(error) = written else { return ExitCode::SUCCESS };
    let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    eprintln!("error: {error}{cause}");
    ExitCode::FAILURE
}

fn to_file(seed: u64, invoices: u32, path: &Path) -> Result<(), Error> {
    let to = path.display().to_string();
    let file = File::create(path).map_err(|source| Error::Write { to: to.clone(), source })?;
    let mut output = BufWriter::new(file);
    let written = if path.extension().is_some_and(|extension| extension == "gz") {
        let mut encoder = GzEncoder::new(&mut output, Compression::default());
        generate(seed, invoices, &mut encoder).and_then(|()| encoder.finish().map(drop))
    } else {
        generate(seed, invoices, &mut output)
    };
    written.and_then(|()| output.flush()).map_err(|source| Error::Write { to, source })
}

fn to_standard_output(seed: u64, invoices: u32) -> Result<(), Error> {
    let mut output = BufWriter::new(io::stdout().lock());
    match generate(seed, invoices, &mut output).and_then(|()| output.flush()) {
        // Whoever reads has seen enough, as `head` has after ten lines.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|source| Error::Write { to: "standard output".to_owned(), source }),
    }
}
