//! What is spoken in plain text stays on this machine.

use std::net::IpAddr;

use http::Uri;

use crate::{Error, Settings, tls};

/// Refuses servers on other machines that are called without TLS: others could read everything and pretend to be anybody.
pub(crate) fn check(settings: &Settings) -> Result<(), Error> {
    let Settings { command_database, query_database, message_queue, .. } = settings;
    let (log, rows, queue) = (tls::LOG, tls::ROWS, "message_queue.ca_path");
    for (setting, addresses, is_plain, tls) in [
        ("command_database.url", &command_database.url, command_database.ca_path.is_empty(), log),
        ("query_database.url", &query_database.url, query_database.ca_path.is_empty(), rows),
        ("query_database.read_urls", &query_database.read_urls, query_database.ca_path.is_empty(), rows),
        ("message_queue.servers", &message_queue.servers, message_queue.ca_path.is_empty(), queue),
    ] {
        for address in addresses.split(',').map(str::trim).filter(|address| !address.is_empty()) {
            let host = named(setting, host(address))?;
            // NATS has a scheme for it, and then believes what the system believes.
            if is_plain && !address.starts_with("tls://") {
                loopback(setting, &host, tls)?;
            }
        }
    }
    Ok(())
}

/// Of `scheme://user:password@HOST:PORT/…`.
fn host(address: &str) -> Option<String> {
    Some(address.parse::<Uri>().ok()?.host()?.to_owned())
}

fn named(setting: &str, host: Option<String>) -> Result<String, Error> {
    // Not the address, which may have a password.
    host.ok_or_else(|| {
        Error::Settings(format!("{setting} is no address: write scheme://USER@HOST:PORT, several by commas"))
    })
}

fn loopback(setting: &str, host: &str, tls: &str) -> Result<(), Error> {
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return Ok(());
    }
    Err(Error::Settings(format!(
        "{setting} names {host}, and what is sent there is plain text: set {tls} to the file of the authorities by which it is \
         believed, for TLS, or name a server on this machine by its loopback address"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_another_machine_is_refused_by_name_and_without_its_password() {
        for (url, refused) in [
            ("postgres://shop:hush@127.0.0.1:5432/log", None),
            ("postgres://shop@localhost/log", None),
            ("postgres://shop@[::1]:5432/log", None),
            ("", None),
            ("postgres://shop:hush@10.0.0.7:5432/log", Some("names 10.0.0.7")),
            ("postgres://shop:hush@db.example/log", Some("names db.example")),
            ("postgres://shop@127.0.0.1/log,postgres://shop:hush@0.0.0.0/log", Some("names 0.0.0.0")),
            ("host=db.example password=hush", Some("is no address")),
        ] {
            let mut settings = Settings::default();
            settings.query_database.read_urls = url.to_owned();
            let said = check(&settings).err().map(|error| error.to_string());
            assert_eq!(said.is_some(), refused.is_some(), "{url}: {said:?}");
            let said = said.unwrap_or_default();
            assert!(said.contains(refused.unwrap_or_default()) && !said.contains("hush"), "{url}: {said}");
        }
    }

    #[test]
    fn a_server_on_another_machine_is_called_under_tls() {
        let mut settings = Settings::default();
        settings.command_database.url = "postgres://shop:hush@db.example/log".to_owned();
        settings.message_queue.servers = "tls://nats.example:4222".to_owned();
        let said = check(&settings).expect_err("refused").to_string();
        assert!(said.contains("set command_database.ca_path"), "{said}");
        settings.command_database.ca_path = "ca.pem".to_owned();
        assert!(check(&settings).is_ok());
        settings.message_queue.servers.push_str(",nats://nats-2.example:4222");
        let said = check(&settings).expect_err("refused").to_string();
        assert!(said.contains("names nats-2.example") && said.contains("set message_queue.ca_path"), "{said}");
        settings.message_queue.ca_path = "ca.pem".to_owned();
        assert!(check(&settings).is_ok());
        settings.command_database.url = "host=db.example password=hush".to_owned();
        assert!(check(&settings).is_err(), "what is no address is no address with TLS either");
    }
}
