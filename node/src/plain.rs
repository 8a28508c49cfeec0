//! What is spoken in plain text stays on this machine.

use std::net::IpAddr;

use http::Uri;

use crate::{Error, Settings};

/// Refuses servers on other machines: between processes there is no TLS yet, so that others could read everything and pretend
/// to be anybody.
pub(crate) fn check(settings: &Settings) -> Result<(), Error> {
    let Settings { command_database, query_database, message_queue, .. } = settings;
    for (setting, addresses) in [
        ("command_database.url", &command_database.url),
        ("query_database.url", &query_database.url),
        ("query_database.read_urls", &query_database.read_urls),
        ("message_queue.servers", &message_queue.servers),
    ] {
        let addresses = addresses.split(',').map(str::trim).filter(|address| !address.is_empty());
        addresses.map(host).try_for_each(|host| loopback(setting, host))?;
    }
    Ok(())
}

/// Of `scheme://user:password@HOST:PORT/…`.
fn host(address: &str) -> Option<String> {
    Some(address.parse::<Uri>().ok()?.host()?.to_owned())
}

fn loopback(setting: &str, host: Option<String>) -> Result<(), Error> {
    // Not the address, which may have a password.
    let Some(host) = host else {
        return Err(Error::Settings(format!(
            "{setting} is no address: write scheme://USER@HOST:PORT, several by commas"
        )));
    };
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return Ok(());
    }
    Err(Error::Settings(format!(
        "{setting} names {host}, and what is sent there is plain text: name a server on this machine by its loopback address, \
         until there is TLS between processes"
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
}
