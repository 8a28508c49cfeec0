use std::process::ExitCode;

use crate::{
    architecture::Architecture,
    error_pages, graph, text,
    workspace::{self, File, Package},
};

/// Reads the project, prints what is wrong with it, and fails if anything is.
pub(crate) fn run() -> ExitCode {
    let (packages, files) = match workspace::packages().and_then(|packages| Ok((packages, workspace::files()?))) {
        Ok(project) => project,
        Err(reason) => {
            eprintln!("tidy: cannot read the project: {reason}");
            return ExitCode::FAILURE;
        }
    };
    text::long_files(&files).iter().for_each(|hint| println!("hint: {hint}"));
    let violations = violations(&packages, &files);
    violations.iter().for_each(|violation| eprintln!("tidy: {violation}"));
    if violations.is_empty() {
        println!("tidy: {} packages and {} files agree", packages.len(), files.len());
        ExitCode::SUCCESS
    } else {
        eprintln!("tidy: {} violations", violations.len());
        ExitCode::FAILURE
    }
}

fn violations(packages: &[Package], files: &[File]) -> Vec<String> {
    let mut violations = match files.iter().find(|file| file.path == Architecture::PATH) {
        Some(file) => {
            let architecture = Architecture::parse(&file.text);
            let mut found = architecture.problems.clone();
            found.extend(graph::arrows(packages, &architecture));
            found.extend(graph::folders(packages, files, &architecture));
            found
        }
        None => vec![format!("{} is missing: it holds the boxes and the arrows", Architecture::PATH)],
    };
    violations.extend(graph::layers(packages));
    violations.extend(graph::lints(packages));
    violations.extend(error_pages::check(files));
    violations.extend(text::forbidden(files));
    violations
}
