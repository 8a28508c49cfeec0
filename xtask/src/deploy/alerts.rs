#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a tool of its own, outside of what the simulator owns"
)]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Lines, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Deploy, Outcome, said_wrong, tools::Tool};

const RULES: &str = "deploy/prometheus/rules.yml";
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
const APPEAR_TIME_MAX: Duration = Duration::from_secs(30);

/// The rules, and the tests that lie beside them.
pub(super) fn rules(deploy: &Deploy) -> Outcome {
    let promtool = match deploy.tools.find(Tool::Promtool) {
        Ok(program) => program,
        Err(skipped) => return skipped,
    };
    let tests = deploy.path("deploy/prometheus/rules.test.yml");
    let wrong = said_wrong(Command::new(&promtool).args(["check", "rules"]).arg(deploy.path(RULES)))
        .or_else(|| said_wrong(Command::new(&promtool).args(["test", "rules"]).arg(tests)));
    Outcome::of(Vec::from_iter(wrong), "rules.yml and rules.test.yml")
}

/// A rule about a metric that there is not is never raised, and nobody would notice.
pub(super) fn metrics(deploy: &Deploy) -> Outcome {
    let rules = deploy.text(RULES).lines().filter_map(|line| line.trim().strip_prefix("expr:"));
    let asked: BTreeSet<&str> = rules.flat_map(names).collect();
    match missing(deploy, &asked) {
        Ok(missing) => Outcome::of(
            missing.iter().map(|name| format!("{RULES}: no process has a metric {name}")).collect(),
            format!("{} metrics of `shop dev`", asked.len()),
        ),
        Err(reason) => Outcome::Failed(vec![reason]),
    }
}

/// Those that a running process does not come to have: some begin with what they are about.
fn missing<'a>(deploy: &Deploy, asked: &BTreeSet<&'a str>) -> Result<Vec<&'a str>, String> {
    let (_running, address) = start(deploy)?;
    let began = Instant::now();
    loop {
        let text = ask(&address).map_err(|error| format!("cannot ask {address} for metrics: {error}"))?;
        let there = families(&text);
        let missing: Vec<&str> = asked.iter().copied().filter(|name| !there.contains(*name)).collect();
        if missing.is_empty() || began.elapsed() > APPEAR_TIME_MAX {
            return Ok(missing);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Ours in an expression.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let is_name = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
    expression.split(move |byte| !is_name(byte)).filter(|word| word.starts_with("diptych_"))
}

/// What a scraper sees of each family: a counter has an ending.
fn families(metrics: &str) -> BTreeSet<String> {
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() }).collect()
}

/// Ends with whoever started it. What it says is kept open to the end: it goes on to say things.
struct Running {
    process: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A process that is started for this, and where its admin listener is.
fn start(deploy: &Deploy) -> Result<(Running, String), String> {
    let mut shop = Command::new(&deploy.shop);
    shop.args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"]).arg(deploy.scratch.join("data"));
    let started = shop.env("RUST_LOG", "error").stdout(Stdio::piped()).spawn();
    let mut process = started.map_err(|error| format!("cannot run the shop: {error}"))?;
    let output = process.stdout.take().ok_or("the shop says nothing")?;
    let mut running = Running { process, said: BufReader::new(output).lines() };
    let said = running.said.by_ref().map_while(Result::ok).find(|line| line.contains("/status"));
    let address = said.as_deref().and_then(|line| line.split_once("http://")?.1.split_once('/'));
    let (address, _) = address.ok_or("the shop does not say where its admin listener is")?;
    Ok((running, address.to_owned()))
}

fn ask(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_ours_are_found_in_an_expression_and_known_by_what_a_scraper_sees() {
        let expression = "max by (instance) (diptych_a{mode=\"direct\"}) > rate(diptych_b_total[1m])";
        assert_eq!(names(expression).collect::<Vec<_>>(), ["diptych_a", "diptych_b_total"]);
        let there = families("# HELP diptych_a x\n# TYPE diptych_a gauge\n# TYPE diptych_b counter\ndiptych_a 1\n");
        assert_eq!(there, BTreeSet::from(["diptych_a".to_owned(), "diptych_b_total".to_owned()]));
    }
}
