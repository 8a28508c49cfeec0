//! Every box a process of its own, on PostgreSQL and NATS: the feed goes in while processes are killed one after the other, and
//! the rows that come out are, byte for byte, those of the shop in one process.

use std::{
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use cluster::{Role, System as Apart};

use super::{
    client::Client,
    feed_over_http::{READ_MODELS, assert_equal, import},
    system::System,
};
use crate::{oracle, which_feed};

/// Every page of a list, as it came.
pub(super) fn pages(api: SocketAddr, read_model: &str) -> Vec<String> {
    let mut client = Client::new(api);
    let mut pages = Vec::new();
    let mut next = format!("/queries/{read_model}?page_size=500");
    loop {
        let answer = client.get(&next, &[]).expect("answered");
        assert_eq!(answer.status, 200, "{}", answer.body);
        let token = answer.json()["next_page_token"].as_str().map(str::to_owned);
        // The rows alone: what a token says is another system's business.
        let (rows, _) = answer.body.rsplit_once(']').expect("a list of rows");
        pages.push(rows.to_owned());
        match token {
            Some(token) => next = format!("/queries/{read_model}?page_size=500&page_token={token}"),
            None => return pages,
        }
    }
}

/// Kills one service after the other, each time waiting until it is back.
fn kill_in_turn(system: &mut Apart, is_over: &AtomicBool) -> usize {
    let roles = [Role::CommandService, Role::EventHandler, Role::ApiGateway, Role::QueryService];
    let mut killed = 0;
    for role in roles.into_iter().cycle() {
        for index in 0..2 {
            if is_over.load(SeqCst) {
                return killed;
            }
            let service = system.services_mut(role).nth(index).expect("two of each");
            service.kill().expect("it ran");
            service.restart().expect("it starts again");
            service.wait_until_ready().expect("it is ready again");
            killed += 1;
            std::thread::sleep(Duration::from_millis(300));
        }
    }
    killed
}

#[test]
fn the_feed_goes_in_while_services_are_killed_and_the_rows_are_those_of_one_process() {
    let _alone = super::alone();
    let feed = which_feed::feed();
    let expected = oracle::models(&oracle::read(&feed.path));
    let directory = tempfile::tempdir().expect("a directory");
    let mut apart = Apart::start(Path::new(env!("CARGO_BIN_EXE_shop"))).expect("every box starts");
    let api: SocketAddr = apart.api().trim_start_matches("http://").parse().expect("an address");

    let is_over = AtomicBool::new(false);
    let refused = directory.path().join("refused.csv");
    let (output, killed) = std::thread::scope(|threads| {
        let importing = threads.spawn(|| {
            let output = import(api, &feed.path, &refused);
            is_over.store(true, SeqCst);
            output
        });
        let killed = kill_in_turn(&mut apart, &is_over);
        (importing.join().expect("no panic"), killed)
    });
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    println!("{killed} services were killed meanwhile; {said}");
    assert_equal(&mut Client::new(api), &expected);

    let embedded = System::start(&directory.path().join("data"));
    let output = import(embedded.api, &feed.path, &directory.path().join("refused-embedded.csv"));
    assert_eq!(output.status.code(), Some(0));
    for (read_model, _) in READ_MODELS {
        assert_eq!(pages(api, read_model), pages(embedded.api, read_model), "{read_model}");
    }
    assert_eq!(embedded.stop(), Some(0));
}
