use std::{collections::BTreeSet, fs, process::Command};

use super::{Deploy, Outcome, said_wrong};

const PREFIX: &str = "DIPTYCH__";

/// Every variable of ours with its value is given to the application, which refuses what it does not know.
pub(super) fn check(deploy: &Deploy) -> Outcome {
    let secret = deploy.scratch.join("secret");
    if let Err(error) = fs::write(&secret, "from-a-file") {
        return Outcome::Failed(vec![format!("cannot write {}: {error}", secret.display())]);
    }
    let (mut wrong, mut tried) = (Vec::new(), BTreeSet::new());
    for file in &deploy.files {
        for variable in variables(&file.text) {
            let Some(value) = variable.value else {
                wrong.push(format!("{}:{}: {} has no value that can be seen", file.path, variable.line, variable.name));
                continue;
            };
            // Where it is deployed there will be a file; here it is another one.
            let value = if variable.name.ends_with("_FILE") { secret.display().to_string() } else { value };
            if !tried.insert((variable.name, value.clone())) {
                continue;
            }
            let mut shown = Command::new(&deploy.shop);
            shown.env_clear().env("HOME", "/nonexistent").env(variable.name, value).args(["config", "show"]);
            wrong.extend(said_wrong(&mut shown).map(|said| format!("{}:{}: {said}", file.path, variable.line)));
        }
    }
    Outcome::of(wrong, format!("{} variables with their values, by `shop config show`", tried.len()))
}

struct Variable<'a> {
    name: &'a str,
    line: usize,
    value: Option<String>,
}

/// As systemd, Docker, Compose and Kubernetes write them: `NAME=VALUE`, `NAME: VALUE`, or `name: NAME` with `value: VALUE` on
/// the next line.
fn variables(text: &str) -> Vec<Variable<'_>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(start) = line.find(PREFIX).filter(|_| !line.trim_start().starts_with('#')) else { continue };
        let is_name = |byte: char| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == '_';
        let rest = &line[start..];
        let (name, rest) = rest.split_at(rest.find(|byte| !is_name(byte)).unwrap_or(rest.len()));
        let value = match rest.strip_prefix('=').or_else(|| rest.strip_prefix(':')) {
            Some(value) => Some(value),
            None => lines.get(index + 1).and_then(|next| next.trim().strip_prefix("value:")),
        };
        let value = value.map(|value| value.trim().trim_matches('"').to_owned());
        found.push(Variable { name, line: index + 1, value });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_in_every_spelling_and_in_no_comment() {
        let text = "DIPTYCH__A=1:2\n  DIPTYCH__B_C: \"x y\"\n- name: DIPTYCH__D_FILE\n  value: /d\n# DIPTYCH__E=5\nENV DIPTYCH__F=g\nDIPTYCH__H\n";
        let found = variables(text);
        let found: Vec<_> =
            found.iter().map(|variable| (variable.name, variable.line, variable.value.as_deref())).collect();
        let expected = [
            ("DIPTYCH__A", 1, Some("1:2")),
            ("DIPTYCH__B_C", 2, Some("x y")),
            ("DIPTYCH__D_FILE", 3, Some("/d")),
            ("DIPTYCH__F", 6, Some("g")),
            ("DIPTYCH__H", 7, None),
        ];
        assert_eq!(found, expected);
    }
}
